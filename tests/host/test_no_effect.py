"""Where a setting has no effect, the node says so, and so does the report of the run."""

import pytest
import torch

SIDE, STEPS = 16, 2
APPLY = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}


@pytest.fixture
def shown(pack, monkeypatch):
    """What the nodes show: [(module, text)]."""
    texts = []
    for place in ("infusenet.apply", "infusenet.adapter", "infusenet.encode", "probe.probe"):
        module = pack.module(f"nodes.{place}")
        for name in {"tell", "show"} & set(vars(module)):
            monkeypatch.setattr(module, name, lambda _, text, place=place: texts.append((place, text)))
    return texts


@pytest.fixture
def reported(pack, run, mini, mini_infusenet, identity, person, recognizer, conditioned):
    """`reported(strength=0.0)`: what Identity Drift Report says of a run with these inputs of Apply."""

    def go(latents=None, denoise=1.0, strangers=None, **apply):
        import comfy.sample

        model, _, vae, *_ = mini("mini-schnell")
        given = {"positive": conditioned(), "infusenet": mini_infusenet, "identity": identity, "vae": vae, **APPLY}
        positive, negative = run("Apply", **{**given, **apply})
        looks = {"recognizer": recognizer, "reference": person, "strangers": strangers}
        probed, watch = run("IdentityProbe", model=model, **looks, when="after the run", every=1, vae=vae)
        latents = torch.zeros(1, 16, SIDE, SIDE) if latents is None else latents
        noise = comfy.sample.prepare_noise(latents, 5)
        how = (STEPS, 1.0, "euler", "simple", positive, negative, latents)
        made = {"samples": comfy.sample.sample(probed, noise, *how, denoise=denoise, seed=5)}
        return pack.nodes["DriftReport"].execute(trace=watch, samples=made).ui["text"][0]

    return go


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strength": 0.0}, "no effect at strength 0"),
        ({"start_percent": 0.8, "end_percent": 0.2}, "no effect because its start (0.8) is after its end (0.2)"),
        ({"start_percent": 0.5, "end_percent": 0.5}, "not active in any step of this run"),
        ({"start_percent": 0.3, "end_percent": 0.4}, "not active in any step of this run"),
        ({"mask": torch.zeros(1, SIDE, SIDE)}, "The mask is black everywhere"),
    ],
    ids=["strength 0", "start after end", "start at end", "no whole step", "black mask"],
)
def test_an_identity_without_effect(reported, shown, settings, words):
    report = reported(**settings)
    assert [words in text for _, text in shown] == [True]
    assert report.count(words) == 1 and report.count("no effect") == words.count("no effect") + ("mask" in settings)


def test_settings_that_act_are_not_remarked_on(reported, shown):
    report = reported(start_percent=0.0, end_percent=0.5, mask=torch.ones(1, SIDE, SIDE))
    assert shown == [] and "no effect" not in report and "not active" not in report


def test_two_faces_in_a_photo(reported, shown, run, person):
    names = dict.fromkeys(["image_proj", "arcface", "face_pack"], "miniature")
    (encoder,) = run("LoadIdentityEncoder", **names, device="cpu")
    chosen = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error"}
    (two, *_) = run("EncodeIdentity", encoder=encoder, image=torch.cat([person, person], 2), **chosen)
    (text,) = (text for place, text in shown if place == "infusenet.encode")
    assert "shows 2 faces, and the largest was used" in text and "--" not in text
    assert f"Encode Identity: {text}" in reported(identity=two).splitlines()


def test_two_identities_of_which_one_has_no_effect(reported, shown, run, mini, mini_infusenet, identity, conditioned):
    given = {
        "positive": conditioned(),
        "infusenet": mini_infusenet,
        "identity": identity,
        "vae": mini("mini-schnell")[2],
    }
    (before, _) = run("Apply", **{**given, **APPLY, "strength": 0.0})
    report = reported(positive=before, mask=torch.zeros(1, SIDE, SIDE))
    assert report.count("no effect at strength 0") == report.count("The mask is black everywhere") == 1
    assert len(shown) == 2


def test_strangers_without_a_face(reported, shown):
    report = reported(strangers=torch.zeros(5, 128, 128, 3))
    (text,) = (text for place, text in shown if place == "probe.probe")
    assert "a face was found in 0 of 5 pictures, but 5 are needed" in text and text in report.splitlines()


@pytest.fixture
def stranger(pack, mini):
    """The latents of another drawn person's picture."""
    faces, generator = pack.module("infusenet.miniature.faces"), torch.Generator().manual_seed(8_000_777)
    one = faces.sample_identities(1, generator)
    drawn = faces.render(one, faces.sample_scenes(1, generator, plain=True)).images.movedim(1, -1).clamp(0, 1)
    return mini("mini-schnell")[2].encode(drawn)


def test_a_denoise_too_low(reported, shown, stranger):
    report = reported(latents=stranger, denoise=0.5)
    assert ["started below full noise" in text and "0.48" in text for _, text in shown] == [True]
    assert report.count("started below full noise") == 1
    shown.clear()
    assert "started below full noise" not in reported(latents=stranger) and shown == []


def test_a_run_that_another_sampler_began_is_not_remarked_on(run, mini, mini_infusenet, identity, conditioned, shown):
    import comfy.sample

    model, _, vae, *_ = mini("mini-schnell")
    given = {"positive": conditioned(), "infusenet": mini_infusenet, "identity": identity, "vae": vae}
    positive, negative = run("Apply", **given, **APPLY)
    latents = torch.zeros(1, 16, SIDE, SIDE)
    noise = comfy.sample.prepare_noise(latents, 5)
    how = (4, 1.0, "euler", "simple", positive, negative)
    half = comfy.sample.sample(model, noise, *how, latents, last_step=2, seed=5)
    comfy.sample.sample(model, torch.zeros_like(noise), *how, half, start_step=2, disable_noise=True, seed=5)
    assert shown == []
