"""Every node of the pack with settings that no one would choose: a right result or one clear refusal, nothing else."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

hypothesis = pytest.importorskip("hypothesis", reason="the attacks need hypothesis: pip install hypothesis")
pytestmark = pytest.mark.attack

NODES = [
    "LoadBackbone", "Sigmas", "LoadInfuseNet", "LoadIdentityEncoder", "EncodeIdentity", "FacePose", "Apply", "Score",
    "LoadFaceRecognizer", "LoadRecipe", "Measure", "IdentityProbe", "StopAtPeak", "DriftReport", "Sweep",
    "SaveResults", "DecoupledGuider", "LoadIPAdapter", "ApplyIPAdapter", "LoadMiniSDXL",
]  # fmt: skip
FIXED = {  # what else than its defaults a node is given, so that a case is cheap
    "LoadInfuseNet": {"infusenet": "miniature"},
    "LoadIdentityEncoder": {"image_proj": "miniature", "device": "cpu"},
    "LoadFaceRecognizer": {"face_pack": "miniature", "device": "cpu"},
    "LoadRecipe": {
        "text": '{"format": "infusenet recipe 1", "backbone": "schnell", "family": "flux", '
        '"variant": "schnell", "steps": 4}'
    },
    "FacePose": {"width": 128, "height": 128},
    "Sweep": {"values": "1, 2", "steps": 2},
    "Apply": {"negative": None, "pose_image": None, "mask": None},
    "DecoupledGuider": {"model_without_identity": None},
    "LoadIPAdapter": {"ip_adapter": "faceid.safetensors"},
    "ApplyIPAdapter": {"clip_vision": None},
    "IdentityProbe": {"strangers": None, "second_recognizer": None},
    "Score": {"strangers": None},
    "DriftReport": {"image": None, "vae": None},
    "SaveResults": {"image": None, "vae": None},
}
LARGEST = 1 << 21  # pixels of a picture that is made


@pytest.fixture(scope="module")
def attacks(sibling):
    return sibling("attacks")


@pytest.fixture(scope="module")
def world(
    pack, run, mini, mini_infusenet, recognizer, person, identity, conditioned, stable_diffusion, sibling,
    tmp_path_factory,
):  # fmt: skip
    """A usual value of every socket."""
    from comfy import clip_vision
    from safetensors.torch import save_file

    unet, faceid = stable_diffusion[0], tmp_path_factory.mktemp("faceid") / "faceid.safetensors"
    widths = [layer.width for layer in pack.module("nodes.ip_adapter.layers").layers_of(unet)]
    save_file(sibling("faceid_files").faceid(widths, text=16), faceid)

    with torch.inference_mode():
        model, clip, vae, *_ = mini("mini-schnell")
        names = dict.fromkeys(["image_proj", "arcface", "face_pack"], "miniature")
        (encoder,) = run("LoadIdentityEncoder", **names, device="cpu")
        live = {"recognizer": recognizer, "reference": person, "when": "live", "every": 1, "vae": vae}
        watched, watch = run("IdentityProbe", model=model, **live)
        text = conditioned()
        whole = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}
        applied, _ = run("Apply", positive=text, infusenet=mini_infusenet, identity=identity, vae=vae, **whole)
        samples = sampled(watched, text, torch.zeros(1, 16, 16, 16))
    vision = SimpleNamespace(
        image_size=32, load_device="cpu", patcher=None, model=torch.nn.Linear(2, 2), return_all_hidden_states=False,
        get_sd=lambda: {"weight": torch.ones(2, 2)}, encode_image=clip_vision.ClipVisionModel.encode_image,
    )  # fmt: skip
    return {
        "MODEL": model, "CLIP": clip, "VAE": vae, "IMAGE": person, "CONDITIONING": text, "CLIP_VISION": vision,
        "LATENT": {"samples": samples}, "MASK": torch.ones(1, 64, 64), "INFUSENET_MODEL": mini_infusenet,
        "INFUSENET_IDENTITY": identity, "INFUSENET_IDENTITY_ENCODER": encoder, "INFUSENET_RECOGNIZER": recognizer,
        "INFUSENET_TRACE": watch, "watched": watched, "applied": applied,
        "INFUSENET_RECOGNIZER,INFUSENET_IDENTITY_ENCODER": encoder, "unet": unet, "faceid": faceid,
        "INFUSENET_IP_ADAPTER": pack.module("nodes.ip_adapter.load").load(faceid),
    }  # fmt: skip


def sampled(model, text, latents, steps=2):
    """KSampler's way."""
    import comfy.sample

    noise = comfy.sample.prepare_noise(latents, 5)
    return comfy.sample.sample(model, noise, steps, 1.0, "euler", "simple", text, text, latents, seed=5).clone()


def usual(name, specs, world):
    """A node's inputs as a template has them."""
    given = {}
    for spec in specs:
        kind = str(spec.get_io_type())
        given[spec.id] = world.get(kind, getattr(spec, "default", None))
    if name == "StopAtPeak":
        given["model"] = world["watched"]
    if name == "ApplyIPAdapter":
        given["model"] = world["unet"]
    if name == "DecoupledGuider":
        given["positive"] = world["applied"]
    return given | FIXED.get(name, {})


# ------------------------------------------------------------------------------------------ what a right result is


def bad_pictures(*images):
    """What is wrong with pictures that are handed on."""
    for image in images:
        if image.ndim != 4 or 0 in image.shape or not torch.isfinite(image).all():
            return f"a picture {list(image.shape)}, or not finite"
        if float(image.max()) <= 0:
            return "a black picture"
    return None


def of_backbone(given, made):
    steps, guidance = {"mini-schnell": (4, 0.0), "mini-dev": (28, 3.5)}[given["backbone"]]
    return None if made[3:] == (steps, guidance) and all(made[:3]) else f"it is {made[3:]}"


def of_sigmas(given, made):
    sigmas, steps = made
    if not torch.isfinite(sigmas).all() or len(sigmas) != (steps + 1 if given["denoise"] > 0 else 0):
        return f"{len(sigmas)} levels for {steps} steps"
    if given["steps"] and given["denoise"] > 0 and steps != given["steps"]:
        return "other steps than asked for"
    return None if bool((sigmas[1:] < sigmas[:-1]).all()) else "not falling"


def of_identity(given, made):
    identity, faces, count = made
    good = torch.isfinite(identity.tokens).all() and len(faces) == count
    return bad_pictures(faces) if good else "tokens that are not finite, or too few"


def of_pose(given, made):
    right = tuple(made[0].shape[1:]) == (given["height"], given["width"], 3)
    return bad_pictures(made[0]) if right else f"another size: {list(made[0].shape)}"


def of_apply(given, made):
    positive, _ = made
    if given["strength"] == 0:
        same = all(one[0] is other[0] for one, other in zip(positive, given["positive"], strict=True))
        return None if same and not any("control" in options for _, options in positive) else "strength 0 changes it"
    controls = [options.get("control") for _, options in positive]
    if not controls or None in controls:
        return "no identity in positive"
    pictures = [picture for picture in (controls[0].cond_hint_original, controls[0].whole.mask) if picture is not None]
    if not all(bool(torch.isfinite(picture).all()) and picture.numel() for picture in pictures):
        return "a pose or mask with numbers that are none"
    return None if controls[0].strength == given["strength"] else "another strength"


def of_ip_adapter(given, made):
    model, faces = made
    if given["weight"] == 0:
        return None if model is given["model"] else "weight 0 changes it"
    binding = model.get_attachment("infusenet_ip_adapter")
    finite = bool(torch.isfinite(binding.face).all()) and all(map(math.isfinite, binding.strength))
    return bad_pictures(faces) if finite else "tokens or weights that are not finite"


def of_guider(given, made):
    guidance, conds = made[0].guidance, made[0].original_conds
    if not all(math.isfinite(value) for value in (*guidance.a, *guidance.b)):
        return f"weights {guidance.a}, {guidance.b}"
    expected = {"positive", "negative"} if given["kind"] == "direction" else {"positive", "negative", "identity"}
    return None if set(conds) == expected and guidance.kind == given["kind"] else "other branches"


def of_score(given, made):
    pictures, _, index, value, scores, text, told, sheet = made
    known = [score for score in scores if not math.isnan(score)]
    if (index == -1) != math.isnan(value) or len(scores) != len(pictures) or any(abs(s) > 1.001 for s in known):
        return f"scores {scores}, best {index}: {value}"
    json.loads(told)
    return bad_pictures(sheet) if text else "no words"


def of_probe(given, made):
    return None if made[1].every == given["every"] and made[1].when == given["when"] else "other settings"


def of_report(given, made):
    chart, _, best, step, *_ = made
    return bad_pictures(chart) if json.loads(made[6]) and "samples" in best and step >= 0 else "no record"


def of_save(given, made):
    paths = [Path(line) for line in made[0].splitlines()]
    import folder_paths

    home = Path(folder_paths.get_output_directory()).resolve()
    inside = all(path.is_file() and path.resolve().is_relative_to(home) for path in paths)
    return None if inside and len(paths) >= 4 else f"files {made[0]}"


def of_sweep(given, made):
    chart, sheet, best, _, table, pictures = made
    if not torch.isfinite(best["samples"]).all():
        return "a latent that is not finite"
    return bad_pictures(chart, sheet, pictures) if len(table.splitlines()) > 1 else "an empty table"


RIGHT = {
    "LoadBackbone": of_backbone, "Sigmas": of_sigmas, "EncodeIdentity": of_identity, "FacePose": of_pose,
    "Apply": of_apply, "Score": of_score, "IdentityProbe": of_probe, "DriftReport": of_report, "Sweep": of_sweep,
    "SaveResults": of_save, "DecoupledGuider": of_guider, "ApplyIPAdapter": of_ip_adapter,
}  # fmt: skip


def too_dear(name, changes):
    """Whether a case would take the machine's memory or minutes, as any picture of that size does."""
    if name == "FacePose":
        sizes = [changes.get(key, 128) for key in ("width", "height")]
        whole = all(isinstance(size, int) and not isinstance(size, bool) and 0 < size <= 16384 for size in sizes)
        return whole and sizes[0] * sizes[1] > LARGEST
    return False


@pytest.mark.parametrize("name", NODES)
def test_a_node_gives_a_right_result_or_one_clear_refusal(name, pack, world, attacks, tmp_path, monkeypatch, folders):
    import folder_paths

    for kind in ("infinite_you", "insightface", "opencv_zoo", "diffusion_models", "text_encoders", "vae", "ipadapter"):
        folders(kind, tmp_path)  # so that names are looked for somewhere
    shutil.copy(world["faceid"], tmp_path)
    (tmp_path.parent / "outside").write_bytes(b"secret")

    node, error = pack.nodes[name], pack.module("infusenet.errors").InfuseNetError
    specs = node.define_schema().inputs
    tally, by_id = attacks.Tally(name), {spec.id: spec for spec in specs}
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    node.execute(**usual(name, specs, world))  # what is imported or made once is imported and made

    @attacks.attack(changes=attacks.changes_of(specs))
    def one(changes):
        if too_dear(name, changes):
            return
        given = usual(name, specs, world) | {key: attacks.make(value, world) for key, value in changes.items()}

        def right(made):
            silent = [key for key, value in changes.items() if attacks.must_refuse(by_id[key], value)]
            if silent:
                return f"{' and '.join(silent)}: no word of what cannot be"
            return RIGHT.get(name, lambda *_: None)(given, made.args)

        with attacks.inside(tmp_path) as left:
            tally.judge(changes, lambda: node.execute(**given), right, error)
        for what in left:
            tally.add("wrong", f"outside the host's folders: {what}", changes)

    one()
    tally.close()


def test_the_attacks_know_every_node(pack):
    assert set(NODES) == set(pack.nodes)
