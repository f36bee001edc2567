"""The trace tells which recognizer conditions, where that can be known, and warns when it is the one that measures."""

from types import SimpleNamespace

import pytest
import torch

PULID = {
    "1": {"class_type": "UNETLoader", "inputs": {}},
    "2": {"class_type": "PulidFluxInsightFaceLoader", "inputs": {"provider": "CPU"}},
    "3": {"class_type": "ApplyPulidFlux", "inputs": {"model": ["1", 0], "face_analysis": ["2", 0]}},
    "4": {"class_type": "InfuseNet_LoadFaceRecognizer", "inputs": {"face_pack": "antelopev2", "device": "auto"}},
    "5": {"class_type": "InfuseNet_IdentityProbe", "inputs": {"model": ["3", 0], "recognizer": ["4", 0]}},
    "6": {"class_type": "KSampler", "inputs": {"model": ["5", 0], "seed": 1}},
    "7": {"class_type": "InstantIDFaceAnalysis", "inputs": {}},
}


def with_loader(kind, **inputs):
    return {**PULID, "2": {"class_type": kind, "inputs": inputs}}


@pytest.mark.parametrize(
    ("prompt", "want"),
    [
        (PULID, ("glintr100.onnx",)),
        (with_loader("PulidInsightFaceLoader", provider="CUDA"), ("glintr100.onnx",)),
        (with_loader("InstantIDFaceAnalysis"), ("glintr100.onnx",)),
        (with_loader("IPAdapterInsightFaceLoader", provider="CPU"), ("w600k_r50.onnx",)),
        (with_loader("IPAdapterInsightFaceLoader", model_name="antelopev2"), ("glintr100.onnx",)),
        (with_loader("IPAdapterUnifiedLoaderFaceID", preset="FACEID"), ("w600k_r50.onnx",)),
        (with_loader("SomethingElse", model_name="antelopev2"), ()),
        ({}, ()),
    ],
)
def test_what_a_prompt_tells(pack, prompt, want):
    assert pack.module("nodes.probe.others").recognizers_before("6", prompt) == want


def test_ancestors_are_told_once_and_nearest_first(pack):
    ancestors = pack.module("nodes.probe.others").ancestors
    assert ancestors("6", PULID) == ["5", "3", "4", "1", "2"]
    assert ancestors("1", PULID) == [] and ancestors("99", PULID) == []
    assert ancestors("1", {"1": {"inputs": {"a": ["2", 0]}}, "2": {"inputs": {"b": ["1", 0]}}}) == ["2"]


def renamed(recognizer, name):
    """The miniature's recognizer by another name."""
    return SimpleNamespace(
        name=name, provider="CPU", detect=recognizer.detect, crop=recognizer.crop, embed=recognizer.embed
    )


def traced(run, mini, recognizer, person, text):
    """The trace of a short run."""
    import comfy.sample

    model, _, vae, *_ = mini("mini-schnell")
    probed, watch = run(
        "IdentityProbe", model=model, recognizer=recognizer, reference=person, when="after the run", every=1, vae=vae
    )
    latents = torch.zeros(1, 16, 16, 16)
    noise = comfy.sample.prepare_noise(latents, 5)
    comfy.sample.sample(probed, noise, 2, 1.0, "euler", "simple", text, text, latents, seed=5)
    (one,) = watch.runs.values()
    return one.trace


@pytest.mark.parametrize(
    ("prompt", "measuring", "warned"),
    [
        (PULID, "glintr100.onnx 4ab1d6435d63 (CPUExecutionProvider)", True),
        (PULID, "rec_mini.onnx 0123456789ab (CPUExecutionProvider)", False),
        ({"6": PULID["6"]}, "glintr100.onnx 4ab1d6435d63 (CPUExecutionProvider)", False),
    ],
)
def test_another_packs_method_that_reads_with_the_measuring_network_is_told(
    run, mini, recognizer, person, conditioned, pack, monkeypatch, prompt, measuring, warned
):
    from comfy_execution.utils import CurrentNodeContext

    monkeypatch.setattr(pack.module("nodes.probe.chart"), "running_prompt", lambda identifier: prompt)
    with CurrentNodeContext("p", "6", 0):
        trace = traced(run, mini, renamed(recognizer, measuring), person, conditioned())
    assert trace.status == "complete", trace.reason
    assert trace.run.conditioning_recognizer == ("glintr100.onnx" if "2" in prompt else None)
    assert (
        any("same recognizer is used for conditioning and for measuring" in warning for warning in trace.warnings)
        is warned
    )


@pytest.mark.parametrize("same", [False, True])
def test_our_own_apply_tells_what_read_the_identity(
    run, mini, mini_infusenet, recognizer, person, conditioned, pack, same
):
    from comfy.controlnet import ControlNet

    encoder = run("LoadIdentityEncoder", image_proj="miniature", arcface="none", face_pack="none", device="cpu")[0]
    identity = run(
        "EncodeIdentity", encoder=encoder, image=person, batch="fuse", face="largest", face_index=0, on_no_face="error"
    )[0]
    text = run(
        "Apply", positive=conditioned(), infusenet=mini_infusenet, identity=identity, vae=mini("mini-schnell")[2],
        strength=1.0, start_percent=0.0, end_percent=1.0, gate="step", on_negative=False,
    )[0]  # fmt: skip
    reads = pack.module("infusenet.miniature").ARCFACE.name
    measures = renamed(recognizer, f"{reads} 0123456789ab (CPU)") if same else recognizer
    trace = traced(run, mini, measures, person, text)
    assert trace.run.conditioning_recognizer == reads and trace.run.strength == 1.0
    assert (
        any("same recognizer is used for conditioning and for measuring" in warning for warning in trace.warnings)
        is same
    )
    another = ControlNet(None)  # after ours in the chain
    another.get_control = lambda *given: another.previous_controlnet.get_control(*given)
    another.get_models = lambda: another.previous_controlnet.get_models()
    another.set_previous_controlnet(text[0][1]["control"])
    chained = traced(run, mini, measures, person, [[text[0][0], {**text[0][1], "control": another}]])
    assert chained.run == trace.run and chained.warnings == trace.warnings
