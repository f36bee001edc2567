"""Likeness Measure in the host: its own image encoders where a recognizer goes, on any model, and no word of faces."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_act": "quick_gelu",
    "image_size": 32,
    "patch_size": 8,
    "num_channels": 3,
    "projection_dim": 16,
}
DINO = {
    "model_type": "dinov2",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "layer_norm_eps": 1e-6,
    "use_swiglu_ffn": False,
    "image_size": 518,
    "patch_size": 14,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
OF_FACES = ("face", "person", "people", "stranger", "arcface")


def _drawn(name, value, generator):
    """Random weights of this shape; scales around 1."""
    if not value.is_floating_point():
        return value
    about = 1.0 if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "lambda1")) else 0.0
    return (torch.randn(value.shape, generator=generator) * 0.3 + about).to(value.dtype)


@pytest.fixture(scope="module")
def encoder(host, tmp_path_factory):
    """`encoder("clip")`: the host's own CLIP_VISION of small sizes, with random weights."""
    import comfy.clip_vision

    def make(kind, seed=3):
        path = tmp_path_factory.mktemp("clip_vision") / "config.json"
        configs = {"clip": CLIP, "dino": DINO, "siglip": {**CLIP, "model_type": "siglip_vision_model"}}
        path.write_text(json.dumps(configs[kind]))
        found = comfy.clip_vision.ClipVisionModel(str(path))
        generator = torch.Generator().manual_seed(seed)
        weights = {name: _drawn(name, value, generator) for name, value in sorted(found.get_sd().items())}
        missing, unknown = found.load_sd(weights)
        assert not missing and not unknown
        return found

    return make


@pytest.fixture(scope="module", params=["clip", "dino"])
def clip_vision(request, encoder):
    return encoder(request.param)


@pytest.fixture
def measure(run, clip_vision):
    return run("Measure", clip_vision=clip_vision)[0]


@pytest.fixture(scope="module")
def things(host):
    """`things(n)`: pictures of coloured patches, an IMAGE [n, 64, 48, 3]."""

    def draw(count, seed=1):
        patches = torch.rand(count, 3, 8, 6, generator=torch.Generator().manual_seed(seed))
        return torch.nn.functional.interpolate(patches, scale_factor=8).movedim(1, -1)

    return draw


def cosines(clip_vision, images, reference):
    """What the host itself says: its class token (of DINOv2) or image embedding, one picture at a time."""

    def embed(image):
        output = clip_vision.encode_image(image)
        dino = type(clip_vision.model).__name__ == "Dinov2Model"
        return (output["last_hidden_state"][:, 0] if dino else output["image_embeds"]).float()

    wanted = torch.nn.functional.normalize(torch.cat([embed(one[None]) for one in reference]), dim=1).mean(0)
    return [float(torch.cosine_similarity(embed(image[None]), wanted[None])) for image in images]


def of_faces(text):
    told = text.replace("There is no advice: it was tested on faces only", "").lower()
    return [word for word in OF_FACES if word in told]


# ------------------------------------------------------------------------------------------ the measure


def test_it_measures_what_the_host_encodes(measure, clip_vision, things, pack):
    images = things(5)
    pictures = pack.module("nodes.convert").image_to_pictures(images)
    eight_bit = (images * 255).round() / 255
    reference = measure.reference(pictures[:2])
    found = [reading.similarity for reading in measure.read(pictures, reference)]
    assert found == pytest.approx(cosines(clip_vision, eight_bit, eight_bit[:2]), abs=1e-4)
    assert len({round(value, 2) for value in found}) > 2, "they are told apart"
    odd = [*pictures[:2], pictures[2][:40]]
    mixed = [reading.similarity for reading in measure.read(odd, reference)]
    assert mixed[:2] == pytest.approx(found[:2], abs=1e-4), "sizes may differ"


def test_the_name_tells_the_weights(encoder, run):
    names = [
        run("Measure", clip_vision=encoder(*which))[0].name for which in (("clip",), ("clip",), ("clip", 4), ("dino",))
    ]
    assert names[0] == names[1] and len(set(names)) == 3
    assert names[0].startswith("CLIPVisionModelProjection-") and names[3].startswith("Dinov2Model-")
    assert "-32px " in names[0] and names[0].endswith(" (cpu)")


def test_an_encoder_without_one_embedding_is_refused(encoder, run):
    with pytest.raises(Exception, match="no single embedding of a picture.*SigLIP.*choose a CLIP"):
        run("Measure", clip_vision=encoder("siglip"))


def test_one_that_only_turns_out_to_give_many_vectors_is_refused_too(run, clip_vision, monkeypatch, things, pack):
    measure = run("Measure", clip_vision=clip_vision)[0]
    monkeypatch.setattr(clip_vision, "encode_image", lambda image: {"image_embeds": torch.zeros(len(image), 4, 8)})
    with pytest.raises(Exception, match="no single embedding"):
        measure.reference(pack.module("nodes.convert").image_to_pictures(things(1)))


def test_it_has_the_recognizers_socket(pack):
    node = pack.nodes["Measure"]
    assert node.RETURN_TYPES == pack.nodes["LoadFaceRecognizer"].RETURN_TYPES
    assert node.INPUT_TYPES()["required"]["clip_vision"][0] == "CLIP_VISION"


# ------------------------------------------------------------------------------------------ score and sweep


def test_score_sorts_pictures_without_faces(run, pack, measure, clip_vision, things):
    images = things(5)
    want = cosines(clip_vision, images, images[3:4])
    node = pack.nodes["Score"]
    given = {"images": images, "recognizer": measure, "reference": images[3:4]}
    output = node.execute(**given, show="aligned faces")
    pictures, best, index, similarity, scores, text, data, sheet = output.args
    assert index == 3 and similarity == pytest.approx(1, abs=1e-3) and torch.equal(best, images[3:4])
    assert scores == pytest.approx(sorted(want, reverse=True), abs=2e-2), "8-bit pictures"
    assert pictures.shape == images.shape and 0.02 < float(sheet.std()) < 0.6
    assert "blank pictures" in text and "other pictures: unknown" in text and of_faces(text) == []
    told = json.loads(data)
    assert told["rule"]["subject"] == "picture" and told["rule"]["name"] == "clip vision 1" and told["detector"] is None
    others = node.execute(**given, show="pictures", strangers=things(6, seed=9)).args
    assert json.loads(others[6])["impostor"]["count"] == 6 and "unknown" not in others[5]
    few = node.execute(**given, show="pictures", strangers=things(3, seed=9))
    (words,) = few.ui["text"]
    assert "there is a value for 3 of 3 pictures, but 5 are needed. What other pictures score" in words
    assert of_faces(words.replace("strangers:", "")) == []


def test_score_of_each_picture_by_its_own_reference(run, measure, things):
    images = things(3)
    made = run(
        "Score", images=images, recognizer=measure, reference=images, show="pictures", references="one per image"
    )
    assert made[4] == pytest.approx([1, 1, 1], abs=1e-3)


def test_sweep_tells_of_pictures(pack, run, mini, conditioned, measure, person):
    text = conditioned("mini-schnell")
    model, _, vae, _, _ = mini("mini-schnell")
    output = pack.nodes["Sweep"].execute(
        model=model, positive=text, negative=text, latent_image={"samples": torch.zeros(1, 16, 16, 16)}, vae=vae,
        recognizer=measure, reference=person, axis="steps", values="1, 2", steps=2, cfg=1.0, seed=3,
        sampler_name="euler",
    )  # fmt: skip
    chart, sheet, _, best, table, _ = output.args
    (words,) = output.ui["text"]
    assert words.startswith("Best steps:") and best in (1.0, 2.0) and of_faces(words) == []
    assert "clip vision 1" in table and measure.name in table and chart.std() > 0.02 and sheet.std() > 0.02


# ------------------------------------------------------------------------------------------ the probe


@pytest.fixture
def sampled(run, mini, conditioned, measure, person):
    """`sampled(...)`: the run of a probed sampler, the probe, and its latent."""
    import comfy.sample

    def go(batch=1, steps=3, stop=None, backbone="mini-schnell", **changes):
        given = {"model": mini(backbone)[0], "recognizer": measure, "reference": person, "when": "live", "every": 1,
                 "vae": mini(backbone)[2]}  # fmt: skip
        model, watch = run("IdentityProbe", **(given | changes))
        if stop is not None:
            rule = {"patience": 2, "min_steps": 2, "tolerance": 0.01}
            (model,) = run("StopAtPeak", model=model, **(rule | stop))
        latents, text = torch.zeros(batch, 16, 16, 16), conditioned(backbone)
        noise = comfy.sample.prepare_noise(latents, 5)
        made = comfy.sample.sample(model, noise, steps, 1.0, "euler", "simple", text, text, latents, seed=5)
        return SimpleNamespace(run=next(iter(watch.runs.values())), watch=watch, latent={"samples": made.clone()})

    return go


@pytest.mark.parametrize("when", ["live", "after the run"])
def test_a_run_is_probed_and_reported(sampled, pack, mini, clip_vision, person, when):
    made = sampled(when=when)
    trace = made.run.trace
    assert trace.status == "complete" and len(trace.records) == 3 and trace.rule.subject == "picture"
    assert all(record.found == (True,) and record.similarity[0] is not None for record in trace.records)
    vae = mini("mini-schnell")[2]
    want = cosines(clip_vision, (vae.decode(made.latent["samples"]).clamp(0, 1) * 255).round() / 255, person)
    assert trace.final.similarity == pytest.approx(want, abs=5e-3)
    output = pack.nodes["DriftReport"].execute(trace=made.watch, samples=made.latent)
    (words,), (curve,) = output.ui["text"], output.ui["infusenet_drift"]
    assert "There is no advice: it was tested on faces only, and this measure looks at whole pictures" in words
    assert "It peaked at step" in words and of_faces(words) == []
    assert curve["labels"] == {"axis": "similarity of whole pictures", "unseen": "not measured",
                               "nothing": "Nothing could be measured, so there is no curve."}  # fmt: skip
    assert [line[:2] for line in curve["lines"]] == [["impostor", "other pictures"], ["blank", "blank pictures"]]
    assert made.watch.beside == {key: curve[key] for key in ("lines", "labels", "by")}
    assert (
        curve["by"].startswith("CLIPVision" if "CLIP" in trace.recognizer else "Dinov2Model")
        and "clip vision 1" in curve["by"]
    )
    chart, faces, _, best_step, peak, drift, data, table = output.args[:8]
    assert chart.std() > 0.02 and faces.std() > 0.02 and best_step in (1, 2, 3)
    assert peak == pytest.approx(max(v for v in [*trace.means, trace.mean(trace.final)])) and drift >= 0
    assert pack.module("infusenet.probe").Trace.from_json(data).records == trace.records
    assert "clip vision 1" in table and not math.isnan(peak)


def test_the_picture_is_the_same_with_and_without(sampled, mini, conditioned):
    import comfy.sample

    probed = sampled().latent["samples"]
    latents, text = torch.zeros(1, 16, 16, 16), conditioned("mini-schnell")
    noise = comfy.sample.prepare_noise(latents, 5)
    model = mini("mini-schnell")[0]
    alone = comfy.sample.sample(model, noise, 3, 1.0, "euler", "simple", text, text, latents, seed=5)
    assert torch.equal(probed, alone)


def test_a_batch_with_other_pictures_and_references_of_its_own(sampled, pack, person, things):
    both = torch.cat([person, person.flip(2)])
    made = sampled(batch=2, reference=both, references="one per image", strangers=things(6))
    trace = made.run.trace
    assert trace.strangers is not None and trace.strangers.count == 12 and trace.reference.pictures == 2
    assert trace.reference.source == "one reference per picture: reference image"
    (words,) = pack.nodes["DriftReport"].execute(trace=made.watch, samples=made.latent).ui["text"]
    assert "came out most like the reference" in words and "other pictures score" in words and of_faces(words) == []


@pytest.mark.parametrize(("bar", "cut"), [(-1.0, 4), (1.0, None)])
def test_the_short_tail_goes_by_what_it_measures(sampled, pack, monkeypatch, bar, cut):
    """Above the lines the run is cut short, else it is finished."""
    monkeypatch.setattr(pack.module("infusenet.probe").ProbeRecorder, "bar", bar)
    trace = sampled(steps=12, backbone="mini-dev", stop={"mode": "short tail", "share": 0.3, "tail_steps": 2}).run.trace
    assert trace.stopped_after == cut and trace.status == ("complete" if cut is None else "stopped at peak")
    assert len(trace.records) == (12 if cut is None else 6) and trace.final is not None


@pytest.mark.parametrize("mode", ["finish, keep the best", "at the peak"])
def test_the_other_modes_take_it_too(sampled, mode):
    trace = sampled(steps=12, backbone="mini-dev", stop={"mode": mode, "tolerance": 0.0}).run.trace
    assert trace.status in ("complete", "stopped at peak") and trace.final.similarity[0] is not None
    assert None not in trace.means


def test_another_measures_runs_are_kept_apart(sampled, recognizer, pack):
    by = {sampled(**change).watch.beside["by"] for change in ({}, {"recognizer": recognizer})}
    assert len(by) == 2


def test_a_report_looks_again_through_its_own_vae(sampled, run, mini):
    made = sampled(vae=None)
    _, _, _, _, _, _, data, _ = run("DriftReport", trace=made.watch, samples=made.latent, vae=mini("mini-schnell")[2])[
        :8
    ]
    final = json.loads(data)["final"]
    assert final["similarity"][0] is not None and final["found"] == [True]


@pytest.mark.parametrize("stop", [None, {"mode": "short tail", "share": 0.3, "tail_steps": 2}])
def test_without_room_on_the_gpu_it_measures_after_the_run_and_says_so(sampled, measure, monkeypatch, stop):
    asked = []
    monkeypatch.setattr(type(measure), "has_room", lambda self, model, shape: asked.append((model, shape)) or False)
    trace = sampled(steps=12, backbone="mini-dev", stop=stop).run.trace
    assert len(asked) == 1 and tuple(asked[0][1]) == (1, 16, 16, 16) and asked[0][0].latent_format is not None
    assert trace.evaluation == "after" and trace.status == "complete" and trace.stopped_after is None
    assert all(record.found == (True,) for record in trace.records) and len(trace.records) == 12
    (warning,) = [text for text in trace.warnings if "does not fit on the GPU" in text]
    assert ("Stop at Identity Peak therefore did nothing" in warning) == (stop is not None)


def test_room_is_what_the_host_would_need(measure, clip_vision, mini, monkeypatch):
    import comfy.model_management as management

    model, shape = mini("mini-dev")[0].model, [1, 16, 16, 16]
    assert measure.has_room(model, shape), "on the CPU"
    monkeypatch.setattr(management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(clip_vision.patcher, "loaded_size", lambda: 0)
    needed = 1.1 * clip_vision.patcher.model_size() + management.minimum_inference_memory()
    needed += model.memory_required([2, 16, 16, 16])
    for free, fits in ((needed * 1.01, True), (needed * 0.99, False)):
        monkeypatch.setattr(management, "get_free_memory", lambda device, free=free: free)
        assert measure.has_room(model, shape) is fits
    monkeypatch.setattr(management, "get_free_memory", lambda device: 1e18)
    monkeypatch.setattr(management, "DISABLE_SMART_MEMORY", True)
    assert not measure.has_room(model, shape), "the host would unload all"


# ------------------------------------------------------------------------------------------ another model


def test_a_stable_diffusion_is_probed_with_it(run, measure, clip_vision, things, pack):
    """A small network of Stable Diffusion's kind, sampled by the host; seen through the host's linear preview."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_patcher
    import comfy.ops
    import comfy.sample
    import comfy.supported_models

    unet = {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1],
        "channel_mult": (1, 2), "num_heads": 2, "use_spatial_transformer": True, "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1, "context_dim": 16,
        "use_linear_in_transformer": False, "legacy": False, "dtype": torch.float32, "adm_in_channels": None,
        "use_temporal_attention": False,
    }  # fmt: skip
    config = comfy.supported_models.SD15(dict(unet))
    config.custom_operations = comfy.ops.manual_cast
    with torch.inference_mode(False):
        torch.manual_seed(2)
        network = comfy.model_base.BaseModel(config, device=torch.device("cpu"))
        for weight in network.diffusion_model.parameters():
            weight.data = torch.randn_like(weight) * 0.05
    model = comfy.model_patcher.ModelPatcher(network, torch.device("cpu"), torch.device("cpu"))
    probed, watch = run("IdentityProbe", model=model, recognizer=measure, reference=things(1), when="live", every=1)
    latents = torch.zeros(2, 4, 8, 8)
    text = [[torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(1)), {}]]
    noise = comfy.sample.prepare_noise(latents, 5)
    made = comfy.sample.sample(probed, noise, 4, 2.0, "euler", "normal", text, text, latents, seed=5)
    (one,) = watch.runs.values()
    assert one.trace.status == "complete" and len(one.trace.records) == 4 and one.trace.batch == 2
    assert all(record.found == (True, True) for record in [*one.trace.records, one.trace.final])
    assert all(np.isfinite(record.similarity).all() for record in one.trace.records)
    assert one.trace.run.backbone == "BaseModel" and made.shape == latents.shape
    (words,) = pack.nodes["DriftReport"].execute(trace=watch, samples={"samples": made}).ui["text"]
    assert of_faces(words) == [] and "It peaked at step" in words
