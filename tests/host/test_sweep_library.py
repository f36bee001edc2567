"""Identity Sweep and the library: the same noise, hint and text length give the same pictures, in float32."""

import csv
import io

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="the library's own pipeline needs diffusers, which a ComfyUI does not")
PROMPT, SEED = "a photo of a smiling person at the beach", 11
LATENTS = 1e-4  # of their RMS
ROUNDED = 1e-3  # cosine; pictures are measured in 8 bits, where float32's rounding moves a few pixels by one level


@pytest.fixture(scope="module")
def recognizer(run):
    return run("LoadFaceRecognizer", face_pack="miniature", device="cpu")[0]


@pytest.fixture(scope="module")
def person(pack):
    """A drawn person, RGB uint8."""
    return pack.module("infusenet.demo.run").drawn_subjects(12).reference


@pytest.fixture(scope="module")
def identity(pack, run, person):
    mini = dict.fromkeys(["image_proj", "arcface", "face_pack"], "miniature")
    (encoder,) = run("LoadIdentityEncoder", **mini, device="cpu")
    return encoder.encode([person])


@pytest.fixture(scope="module")
def hint(pack, mini, mini_infusenet):
    """The host's own latents of a black picture, packed. A constant picture leaves the VAE's normalisation next to
    nothing to divide by, so that two implementations differ in the third digit: both sides get this one."""
    with torch.inference_mode():
        latents = mini("mini-dev")[2].encode(torch.zeros(1, 128, 128, 3))
    return pack.module("infusenet.sampling").pack_latents(mini_infusenet.latent_format.process_in(latents))


@pytest.fixture(scope="module")
def in_the_library(pack, identity, recognizer, person, hint):
    """`in_the_library(backbone, ...)`: latents and similarity of one picture, as the command measures it."""
    pipelines = {}
    reference = pack.module("infusenet.probe").Reference.from_pictures(recognizer, [person])

    def make(backbone, *, seed=SEED, steps=4, guidance=3.5, strength=1.0):
        if backbone not in pipelines:
            pipelines[backbone] = pack.module("infusenet.loading").load_pipeline(backbone, device="cpu")
            pipelines[backbone].set_progress_bar_config(disable=True)
        pipeline = pipelines[backbone]
        made = [
            pipeline(
                prompt=PROMPT,
                identity=identity,
                num_inference_steps=steps,
                guidance_scale=guidance,
                controlnet_conditioning_scale=strength,
                control_image_latents=hint,
                width=128,
                height=128,
                generator=torch.Generator().manual_seed(seed),
                output_type=kind,
            ).images
            for kind in ("latent", "pil")
        ]
        latents, config = pack.module("infusenet.sampling").unpack_latents(made[0], 128, 128), pipeline.vae.config
        latents = latents / config.scaling_factor + config.shift_factor
        return latents, reference.similarities(recognizer, [np.asarray(made[1][0])])[0]

    return make


@pytest.fixture
def in_the_node(pack, run, mini, mini_infusenet, identity, recognizer, person, monkeypatch):
    """`in_the_node(backbone, axis, values)`: latents and similarity of each value, from the node's own outputs."""
    trials = pack.module("nodes.sweep.trials")
    original, seen = trials.run_trials, []

    def noting(*args, **named):
        for look in original(*args, **named):
            seen.append(look.latents)
            yield look

    monkeypatch.setattr(trials, "run_trials", noting)

    def sweep(backbone, axis, values):
        seen.clear()
        model, clip, vae, *_ = mini(backbone)
        text = clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT), add_dict={"guidance": 3.5})
        positive, negative = run(
            "Apply",
            positive=text,
            infusenet=mini_infusenet,
            identity=identity,
            vae=vae,
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
            gate="step",
            on_negative=False,
        )
        *_, table, _ = run(
            "Sweep",
            model=model,
            positive=positive,
            negative=negative,
            latent_image={"samples": torch.zeros(1, 16, 16, 16)},
            vae=vae,
            recognizer=recognizer,
            reference=torch.from_numpy(person.copy())[None].float() / 255,
            axis=axis,
            values=values,
            steps=4,
            cfg=1.0,
            seed=SEED,
            sampler_name="euler",
        )
        rows = csv.DictReader(io.StringIO(table))
        return list(zip(seen, [row["similarity"] for row in rows], strict=True))

    return sweep


SWEEPS = [
    ("mini-schnell", "steps", (1, 2, 4, 8)),
    ("mini-dev", "steps", (1, 4, 28)),
    ("mini-dev", "strength", (0.0, 0.25, 1.5)),
    ("mini-schnell", "strength", (0.5, 1.0)),
    ("mini-dev", "guidance", (0.0, 1.0, 5.0)),
    ("mini-dev", "seed", (3, 2**40)),
]


@pytest.mark.parametrize(("backbone", "axis", "values"), SWEEPS)
def test_every_value_is_the_librarys(in_the_node, in_the_library, deviation_of, backbone, axis, values):
    """Latents within 1e-4, and similarities as near as 8-bit pictures allow."""
    found = in_the_node(backbone, axis, ", ".join(map(str, values)))
    for value, (latents, similarity) in zip(values, found, strict=True):
        want, wanted = in_the_library(backbone, **{axis: value})
        assert deviation_of(latents, want) <= LATENTS, (axis, value)
        assert (similarity == "") == (wanted is None), (axis, value)
        if wanted is not None:
            assert float(similarity) == pytest.approx(wanted, abs=ROUNDED), (axis, value)
