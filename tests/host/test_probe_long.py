"""A long run, 1,000 steps of 8 pictures, keeps memory bounded, whenever it is measured."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch

STEPS, BATCH, SIDE = 1000, 8, 32  # latents of 524 kB a step, twice as much in all as is held in memory
MB = 2**20


class Still(torch.nn.Module):
    """A flow model that predicts the same, at once."""

    dtype = torch.float32

    def forward(self, x, t, context=None, control=None, transformer_options=None, **_):
        return x / (t.reshape(-1, 1, 1, 1) / 1000)


@pytest.fixture(scope="module")
def model(host):
    """A MODEL of FLUX's latents that costs nothing."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        def __init__(self):
            self.unet_config = {"disable_unet_model_creation": True}
            super().__init__(self.unet_config)
            self.latent_format = comfy.latent_formats.Flux()

    cpu = torch.device("cpu")
    base = comfy.model_base.BaseModel(Config(), comfy.model_base.ModelType.FLOW, cpu)
    base.diffusion_model = Still()
    return comfy.model_patcher.ModelPatcher(base, load_device=cpu, offload_device=cpu)


@pytest.fixture
def watched(run, pack, model, monkeypatch):
    """`watched(when, provider)`: (MODEL, trace) of a probe that sees a face everywhere, at once."""
    face = SimpleNamespace(bbox=(8, 8, 56, 56), kps=np.full((5, 2), 30.0), score=0.9)
    decoders = pack.module("nodes.probe.decoders")
    stub = decoders.Decoder("stub", lambda latents: torch.full((latents.shape[0], 3, 64, 64), 0.5))
    monkeypatch.setattr(pack.module("nodes.probe.run"), "small_decoder", lambda *_: stub)

    def make(when, provider):
        recognizer = SimpleNamespace(
            name="still",
            provider=provider,
            detect=lambda rgb: [face],
            crop=lambda rgb, kps: np.zeros((112, 112, 3), np.uint8),
            embed=lambda crops: np.ones((len(crops), 4), np.float32),
        )
        inputs = {"reference": torch.zeros(1, 64, 64, 3), "when": when, "every": 1}
        return run("IdentityProbe", model=model, recognizer=recognizer, **inputs)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("when", "provider"), [("after the run", "CPU"), ("live", "CPU"), ("live", "CUDA")])
def test_memory_stays_bounded(watched, run, pack, sibling, request, when, provider):
    import comfy.sample

    cap = pack.module("infusenet.probe.recorder").CAPACITY
    model, watch = watched(when, provider)
    latents = torch.zeros(BATCH, 16, SIDE, SIDE)
    noise = comfy.sample.prepare_noise(latents, 5)
    held, seen = sibling("held").held_bytes, []
    request.addfinalizer(tracemalloc.stop)
    started = held()

    def look(step, *_):
        if step % 100 == 99:
            seen.append(held() - started)

    out = comfy.sample.sample(
        model, noise, STEPS, 1.0, "euler", "simple", [[torch.zeros(1, 4, 8), {}]], [[torch.zeros(1, 4, 8), {}]],
        latents, seed=5, callback=look, disable_pbar=True,
    )  # fmt: skip
    ended = held() - started
    (one,) = watch.runs.values()
    trace = one.trace
    assert trace.status == "complete" and len(trace.records) == STEPS and trace.batch == BATCH
    print(f"\n{when}, {provider}: {max(seen) / MB:.0f} MB more while sampling, {ended / MB:.0f} MB more afterwards")
    assert STEPS * latents.numel() * 4 > 1.5 * cap, "the cap is reached"
    assert max(seen) < cap + 40 * MB  # the faces are 20 MB, a step's latents and pictures a few
    late = seen[len(seen) * 3 // 5 :]
    assert max(late) - late[0] < 16 * MB, "beyond the cap only records are added; latents kept would be 200 MB"
    kept = [crop for step in one.recorder.gallery.steps for crop in one.recorder.gallery.get(step)]
    assert len(kept) <= 512
    chart = pack.module("nodes.probe.chart")
    assert len(chart.curve(trace)["points"]) <= chart.POINTS + 2
    assert len(run("DriftReport", trace=watch, samples={"samples": out})) == 12
