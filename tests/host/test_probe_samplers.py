"""A probed run is the unprobed one, bit for bit: every sampler of the host, batches, masks.

Two probes are stacked, one live and one that measures after the run; each must see every step and measure something.
"""

import pytest
import torch

STEPS = 3
KINDS = [(1, False), (3, True), (1, True), (3, False)]  # batch, masked
WAYS = ["KSampler"]
LAST_IS_NOT_THE_OUTPUT = {"dpm_fast", "dpm_adaptive", "sa_solver_pece", "uni_pc", "uni_pc_bh2"}


@pytest.fixture(scope="module")
def person(pack):
    faces = pack.module("infusenet.miniature.faces")
    generator = torch.Generator().manual_seed(8_000_321)
    identity = faces.sample_identities(1, generator)
    return faces.render(identity, faces.sample_scenes(1, generator, plain=True)).images.movedim(1, -1).clamp(0, 1)


def latent_of(person, vae, batch, masked):
    """An empty latent, or a picture to be painted anew but for its left side."""
    if not masked:
        return {"samples": torch.zeros(batch, 16, 16, 16)}
    mask = torch.zeros(1, 128, 128)
    mask[..., 40:] = 1
    return {"samples": vae.encode(person).repeat(batch, 1, 1, 1), "noise_mask": mask}


def sampled(way, model, text, sampler, latent):
    """Through the host's own nodes."""

    import nodes

    return nodes.common_ksampler(model, 5, STEPS, 1.0, sampler, "simple", text, text, latent)[0]["samples"]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_bit_identity_of_every_sampler(run, mini, person, way, host):
    """Each sampler once each way, the batches and masks in turns."""
    from comfy.samplers import SAMPLER_NAMES

    for place, sampler in enumerate(SAMPLER_NAMES):
        check(run, mini, person, way, sampler, *KINDS[(place + WAYS.index(way)) % len(KINDS)])


def check(run, mini, person, way, sampler, batch, masked):
    model, clip, vae, *_ = mini("mini-schnell")
    text = clip.encode_from_tokens_scheduled(clip.tokenize("a photo of a person"), add_dict={"guidance": 3.5})
    recognizer = run("LoadFaceRecognizer", face_pack="miniature", device="cpu")[0]
    common = {"recognizer": recognizer, "reference": person, "every": 1, "vae": vae}
    one, live = run("IdentityProbe", model=model, when="live", **common)
    two, after = run("IdentityProbe", model=one, when="after the run", **common)
    latent = latent_of(person, vae, batch, masked)
    want = sampled(way, model, text, sampler, latent)
    got = sampled(way, two, text, sampler, latent)
    assert torch.equal(got, want), (sampler, batch, masked)
    for watch in (live, after):
        (record,) = watch.runs.values()
        trace = record.trace
        assert trace.status == "complete", (sampler, trace.reason)
        own_pace = sampler in ("dpm_fast", "dpm_adaptive")
        assert trace.records if own_pace else [step.step for step in trace.records] == [1, 2, 3], sampler
        assert any(value is not None for step in trace.records for value in step.similarity), sampler
        best = record.recorder.best
        if sampler not in LAST_IS_NOT_THE_OUTPUT and best is not None and best.step == STEPS:
            assert torch.allclose(best.latents, want.cpu(), atol=1e-5), sampler
