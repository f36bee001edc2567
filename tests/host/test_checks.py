"""What a link brings is checked by the node's own schema: one message in words, before anything is sampled."""

from types import SimpleNamespace

import pytest
import torch

NAN = float("nan")
FOUR = torch.zeros(1, 16, 8, 8)


@pytest.fixture(scope="module")
def error(pack):
    return pack.module("infusenet.errors").InfuseNetError


@pytest.fixture
def applied(run, mini, mini_infusenet, conditioned):
    """`applied(...)`: Apply with its defaults and an identity of random tokens."""

    def call(**changes):
        tokens = torch.randn(1, 8, 96, generator=torch.Generator().manual_seed(5))
        given = {"positive": conditioned(), "infusenet": mini_infusenet, "vae": mini("mini-schnell")[2],
                 "identity": SimpleNamespace(tokens=tokens, recognizer=None, notices=()),
                 "strength": 1.0, "start_percent": 0.0,
                 "end_percent": 1.0, "gate": "step", "on_negative": False}  # fmt: skip
        return run("Apply", **(given | changes))

    return call


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strength": NAN}, "Apply InfuseNet Identity: strength must be a number from 0 to 3, got nan"),
        ({"strength": 3.5}, "strength must be a number from 0 to 3, got 3.5"),
        ({"start_percent": None}, "start_percent must be a number from 0 to 1, got nothing"),
        ({"gate": "steps"}, "gate must be one of \\(step, percent\\), got 'steps'"),
        ({"on_negative": "no"}, "on_negative must be true or false"),
        ({"positive": []}, "positive must be a CONDITIONING with at least one entry"),
        ({"positive": {"id_embedding": torch.zeros(1, 8, 96)}}, "ID embedding of another pack's InfiniteYou nodes"),
        ({"identity": "somebody"}, "identity must be an INFUSENET_IDENTITY, got 'somebody'"),
        ({"pose_image": torch.full((1, 128, 128, 3), NAN)}, "one with NaN or infinity"),
        ({"pose_image": torch.zeros(1, 128, 128, 2)}, r"got \[1, 128, 128, 2\]"),
        ({"pose_image": torch.zeros(128, 128, 3)}, "Expected an IMAGE of shape"),
        ({"pose_image": torch.zeros(1, 128, 128, 3, dtype=torch.uint8)}, "floats from 0 to 1, got uint8"),
        ({"mask": torch.full((1, 64, 64), NAN)}, "MASK with values from 0 to 1, got NaN"),
        ({"mask": "all"}, "mask must be a MASK, got 'all'"),
    ],
)  # fmt: skip
def test_apply_refuses_what_cannot_act(applied, error, changes, words):
    with pytest.raises(error, match=words):
        applied(**changes)


def test_another_packs_infusenet_on_the_conditioning_is_refused(applied, error, conditioned):
    """The official InfiniteYou pack's: as a ControlNet that carries an ID embedding, here or earlier in the chain."""
    other = SimpleNamespace(id_embedding=torch.zeros(1, 8, 96), previous_controlnet=None)
    later = SimpleNamespace(previous_controlnet=other)
    for control in (other, later):
        carrying = [[embedding, {**options, "control": control}] for embedding, options in conditioned()]
        for changes in ({"positive": carrying}, {"negative": carrying}):
            with pytest.raises(error, match="already carries another pack's InfuseNet"):
                applied(**changes)
    ours = applied()[0]
    assert applied(positive=ours)[0][0][1]["control"].previous_controlnet is ours[0][1]["control"], "two people"


def test_grey_poses_and_masks_a_little_outside_are_taken(applied):
    pose, mask = torch.full((1, 64, 64, 1), 1.5), torch.full((64, 64), 1.05)
    control = applied(pose_image=pose, mask=mask)[0][0][1]["control"]
    assert control.cond_hint_original.shape[1] == 4 and float(control.cond_hint_original.max()) == 1
    mask = control.whole.mask
    assert tuple(mask.shape) == (1, 64, 64) and float(mask.max()) == 1


@pytest.mark.parametrize(
    ("node", "given", "words"),
    [
        ("LoadInfuseNet", {"infusenet": "miniature", "weight_dtype": "fp4"}, "must be one of \\(default, "),
        ("LoadInfuseNet", {"infusenet": 3, "weight_dtype": "default"}, "infusenet must be the name of a file, got 3"),
        ("Sigmas", {"model": None, "latent": {"samples": FOUR}, "steps": 4, "denoise": 1.0}, "a MODEL, got nothing"),
        ("Sigmas", {"model": object(), "latent": {}, "steps": 4, "denoise": 1.0}, "LATENT of floats"),
        ("Sigmas", {"model": object(), "latent": {"samples": FOUR[:0]}, "steps": 4, "denoise": 1.0}, "at least one"),
        ("Sigmas", {"model": object(), "latent": {"samples": FOUR}, "steps": 2.5, "denoise": 1.0}, "a whole number"),
        ("StopAtPeak", {"model": object(), "patience": 1, "min_steps": 1, "tolerance": 0, "mode": None}, "got nothing"),
        ("Measure", {"clip_vision": None}, "clip_vision must be a CLIP_VISION, got nothing"),
    ],
)  # fmt: skip
def test_other_nodes_do_likewise(run, error, node, given, words):
    with pytest.raises(error, match=words):
        run(node, **given)


@pytest.mark.parametrize(
    ("latent", "words"),
    [
        ({"samples": FOUR[:0]}, "latent_image must be a LATENT of floats that holds at least one picture"),
        ({"samples": FOUR.long()}, "latent_image must be a LATENT of floats"),
        ({"samples": FOUR * NAN}, "latent_image contains NaN"),
        (
            {"samples": FOUR, "noise_mask": torch.full((1, 64, 64), NAN)},
            "The latent sampled for the value 1 contains NaN",
        ),
        ({"samples": FOUR, "noise_mask": "half"}, "must be a LATENT"),
    ],
)
def test_a_sweep_refuses_latents_that_would_be_black(run, mini, recognizer, person, conditioned, error, latent, words):
    model, _, vae, *_ = mini("mini-schnell")
    text = conditioned()
    given = {"model": model, "positive": text, "negative": text, "vae": vae, "recognizer": recognizer, "cfg": 1.0}
    asked = {"axis": "steps", "values": "1", "steps": 1, "seed": 0, "sampler_name": "euler", "reference": person}
    with pytest.raises(error, match=words):
        run("Sweep", **given, **asked, latent_image=latent)


def test_a_name_that_no_file_can_have_is_not_found(pack, folders, tmp_path, error):
    folders("infinite_you", tmp_path)
    for name in ("x" * 5000, "\0"):
        with pytest.raises(error, match="was not found") as caught:
            pack.module("nodes.paths").find(name, "infinite_you")
        assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("levels", [(1.0, 0.5, NAN), (NAN, 0.0), (float("inf"), 0.0)])
def test_a_black_picture_is_no_complete_run_in_the_probes_record(run, mini, recognizer, person, conditioned, levels):
    import json

    import comfy.samplers

    model, _, vae, *_ = mini("mini-schnell")
    watched, watch = run("IdentityProbe", model=model, recognizer=recognizer, reference=person, when="live", every=1,
                         vae=vae)  # fmt: skip
    guider = comfy.samplers.CFGGuider(watched)
    guider.set_conds(conditioned(), conditioned())
    made = guider.sample(torch.ones(1, 16, 16, 16), torch.zeros(1, 16, 16, 16), comfy.samplers.sampler_object("euler"),
                         torch.tensor(levels), seed=5)  # fmt: skip
    assert not torch.isfinite(made).all()
    record = json.loads(run("DriftReport", trace=watch, samples={"samples": made})[6])
    assert record["status"] == "failed" and "NaN or infinity" in record["reason"]
