"""The main job, in the host: unseen people's identities are in the pictures, as much as the command's hold them."""

import numpy as np
import pytest
import torch

PEOPLE = 32
pytestmark = pytest.mark.slow
PROMPT = "a portrait of a person"
_SEED = 9_000_000  # of people that no training used


@pytest.fixture(scope="module")
def people(pack):
    """Reference photos of drawn persons, RGB uint8."""
    faces, scenes = pack.module("infusenet.miniature.faces"), pack.module("infusenet.miniature.scenes")
    generator = torch.Generator().manual_seed(_SEED)
    identity = faces.sample_identities(PEOPLE, generator)
    drawn = faces.to_uint8(faces.render(identity, scenes.sample_scenes(PEOPLE, generator, plain=True)).images)
    return [picture.permute(1, 2, 0).numpy() for picture in drawn]


@pytest.fixture(scope="module")
def recognizer(pack):
    """The one that measures, not the one that conditions."""
    return pack.module("infusenet.faces").FaceRecognizer.from_pack(pack.module("infusenet.miniature").FACE_PACK)


def similarities(recognizer, references, pictures):
    """Cosines [references, pictures]; a picture without a face counts as 0."""
    embedded = [recognizer.embed_picture(picture) for picture in references]
    found = []
    for picture in pictures:
        face = recognizer.detect(picture)
        found.append(recognizer.embed([recognizer.crop(picture, face[0].kps)])[0] if face else np.zeros(256))
    reference = np.stack([np.asarray(row).reshape(-1) for row in embedded])
    return reference @ np.stack([np.asarray(row).reshape(-1) for row in found]).T


def sampled(run, mini, mini_infusenet, encoder, reference, seed):
    """One picture through the nodes and the host's sampler, RGB uint8."""
    import comfy.sample
    import comfy.samplers

    model, clip, vae, _, guidance = mini("mini-schnell")
    image = torch.from_numpy(reference)[None].float() / 255
    settings = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error"}
    identity = run("EncodeIdentity", encoder=encoder, image=image, **settings)[0]
    text = clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT), add_dict={"guidance": guidance})
    window = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}
    positive, negative = run("Apply", positive=text, infusenet=mini_infusenet, identity=identity, vae=vae, **window)
    empty = torch.zeros(1, 16, 16, 16)
    sigmas, _ = run("Sigmas", model=model, latent={"samples": empty}, steps=0, denoise=1.0)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(1.0)
    noise = comfy.sample.prepare_noise(empty, seed)
    latents = guider.sample(noise, empty, comfy.samplers.sampler_object("euler"), sigmas, seed=seed)
    return (vae.decode(latents)[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy(), identity


def test_identity_is_carried_as_in_the_command(pack, run, mini, mini_infusenet, people, recognizer):
    none = {"arcface": "miniature", "face_pack": "miniature", "device": "cpu"}
    (encoder,) = run("LoadIdentityEncoder", image_proj="miniature", **none)
    made = [sampled(run, mini, mini_infusenet, encoder, photo, seed) for seed, photo in enumerate(people)]
    table = similarities(recognizer, people, [picture for picture, _ in made])
    own = np.diag(table)
    others = table[~np.eye(PEOPLE, dtype=bool)]
    spread = others.std() / np.sqrt(PEOPLE)
    first = (table.argmax(0) == range(PEOPLE)).mean()
    print(
        f"mini-schnell, 4 steps, {PEOPLE} people: own {own.mean():.3f}, strangers {others.mean():.3f} "
        f"(3 standard deviations of their mean: {3 * spread:.3f}), rank 1 {first:.2f}"
    )
    assert own.mean() > others.mean() + 3 * spread

    pytest.importorskip("diffusers", reason="the command's own pipeline needs diffusers")
    pipeline = pack.module("infusenet.loading").load_pipeline("mini-schnell", device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    pictures = [
        np.asarray(
            pipeline(
                prompt=PROMPT,
                identity=identity,
                num_inference_steps=4,
                guidance_scale=0.0,
                width=128,
                height=128,
                max_sequence_length=40,
                generator=torch.Generator().manual_seed(seed),
            ).images[0]
        )
        for seed, (_, identity) in enumerate(made)
    ]
    command = np.diag(similarities(recognizer, people, pictures))
    difference = own - command
    half = 2.04 * difference.std(ddof=1) / np.sqrt(PEOPLE)  # Student's t, 31 degrees of freedom
    print(f"command: {command.mean():.3f}; host - command: {difference.mean():+.5f} +- {half:.5f} (95 %)")
    assert abs(difference.mean()) <= 0.02


def test_a_pose_picture_moves_the_face(pack, run, mini, mini_infusenet, people, recognizer):
    """One person in the poses of others: the landmarks come where the pose picture has them."""
    import comfy.samplers

    model, clip, vae, _, guidance = mini("mini-dev")
    (encoder,) = run(
        "LoadIdentityEncoder", image_proj="miniature", arcface="miniature", face_pack="miniature", device="cpu"
    )
    faces, scenes = pack.module("infusenet.miniature.faces"), pack.module("infusenet.miniature.scenes")
    generator = torch.Generator().manual_seed(_SEED + 1)
    others = faces.render(faces.sample_identities(8, generator), scenes.sample_scenes(8, generator))
    photos = faces.to_uint8(others.images).permute(0, 2, 3, 1).float() / 255
    settings = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error"}
    identity = run("EncodeIdentity", encoder=encoder, image=torch.from_numpy(people[0])[None] / 255, **settings)[0]
    poses = run("FacePose", encoder=encoder, image=photos, width=128, height=128)[0]
    text = clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT), add_dict={"guidance": guidance})
    empty = torch.zeros(8, 16, 16, 16)
    sigmas, _ = run("Sigmas", model=model, latent={"samples": empty}, steps=0, denoise=1.0)
    window = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}
    errors = []
    for pose in (poses, None):
        bound = {"positive": text, "infusenet": mini_infusenet, "identity": identity, "vae": vae, "pose_image": pose}
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(*run("Apply", **bound, **window))
        guider.set_cfg(1.0)
        noise = torch.randn(empty.shape, generator=torch.Generator().manual_seed(3))
        pictures = vae.decode(guider.sample(noise, empty, comfy.samplers.sampler_object("euler"), sigmas, seed=3))
        found = [recognizer.detect((picture.clamp(0, 1) * 255).to(torch.uint8).numpy()) for picture in pictures]
        distances = [
            np.abs(face[0].kps - there.numpy()).mean() for face, there in zip(found, others.landmarks, strict=True)
        ]
        errors.append(float(np.mean(distances)))
    print(f"landmarks {errors[0]:.2f} pixels from the pose picture's; {errors[1]:.2f} without one")
    assert errors[0] < 0.5 * errors[1]
