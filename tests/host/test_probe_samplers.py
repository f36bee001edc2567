"""A probed run is the unprobed one, bit for bit: every sampler in every way of sampling; batch and mask in turn.

Each cell samples once without a probe, once with one that measures live, once with one that measures after the run;
each probe must see every step and measure something. Two minutes of one core for each host; with
INFUSENET_EVERY_CELL=1, where ways, batch and mask are crossed, ten.
"""

import os

import pytest
import torch

STEPS = 4
_LAST_BUT_ONE = "the host gives it the last noise level but one as its end: noise is left in the output"
_SMALL_NOISE = "the host ends it at noise level 0.001 instead of 0: the output is not quite the prediction"
NOT_THE_OUTPUT = {  # samplers whose last reported prediction is not what they return, and why
    "dpm_fast": f"{_LAST_BUT_ONE}; one report for up to three evaluations",
    "dpm_adaptive": f"{_LAST_BUT_ONE}; it chooses its own steps",
    "sa_solver_pece": "each prediction is made anew after it has been reported",
    "uni_pc": _SMALL_NOISE,
    "uni_pc_bh2": _SMALL_NOISE,
}
OWN_PACE = ("dpm_fast", "dpm_adaptive")  # their callbacks do not follow the noise levels they were given


@pytest.fixture(scope="module")
def text(conditioned):
    return conditioned()


@pytest.fixture(scope="module")
def painting(person, mini):
    """`painting(batch, masked)`: an empty LATENT, or a picture to be painted anew but for its left side."""
    with torch.inference_mode():  # fixtures of a module are made before a test's own
        picture = mini("mini-schnell")[2].encode(person)
    mask = torch.zeros(1, 128, 128)
    mask[..., 40:] = 1

    def make(batch, masked):
        if not masked:
            return {"samples": torch.zeros(batch, 16, 16, 16)}
        return {"samples": picture.repeat(batch, 1, 1, 1), "noise_mask": mask}

    return make


def ksampler(model, text, sampler, latent):
    import nodes

    return nodes.KSampler().sample(model, 5, STEPS, 1.0, sampler, "simple", text, text, latent)


def part(first, last, noise, left_over):
    """KSamplerAdvanced from one step to another."""

    def sample(model, text, sampler, latent):
        import nodes

        settings = (5, STEPS, 1.0, sampler, "simple", text, text, latent, first, last, left_over)
        return nodes.KSamplerAdvanced().sample(model, noise, *settings)

    return sample


def custom(model, text, sampler, latent):
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler

    guider = nodes_custom_sampler.Guider_Basic(model)
    guider.set_conds(text)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    node = nodes_custom_sampler.SamplerCustomAdvanced
    sample = node.execute if hasattr(node, "execute") else node().sample
    out = sample(
        nodes_custom_sampler.Noise_RandomNoise(5), guider, comfy.samplers.sampler_object(sampler), sigmas, latent
    )
    return getattr(out, "args", out)


WAYS = {  # name -> how to sample, and the steps of it; a slice goes on from the one before
    "KSampler": [(ksampler, STEPS)],
    "KSamplerAdvanced": [(part(0, 2, "enable", "enable"), 2), (part(2, STEPS, "disable", "disable"), 2)],
    "SamplerCustomAdvanced": [(custom, STEPS)],
}
PLAIN, MASKED = (1, False), (2, True)  # pictures of a batch, whether a mask is painted in
CELLS = [("KSampler", *PLAIN), ("KSamplerAdvanced", *MASKED), ("SamplerCustomAdvanced", *MASKED)]
if os.environ.get("INFUSENET_EVERY_CELL"):
    CELLS = [(way, batch, masked) for way in WAYS for batch in (1, 2) for masked in (False, True)]


@pytest.mark.slow
@pytest.mark.exact
@pytest.mark.parametrize(
    ("way", "batch", "masked"), CELLS, ids=[f"{way}-{n}-{'mask' if m else 'plain'}" for way, n, m in CELLS]
)
def test_bit_identity_of_every_sampler(run, mini, recognizer, person, text, painting, way, batch, masked):
    from comfy.samplers import SAMPLER_NAMES

    model, _, vae, *_ = mini("mini-schnell")
    inputs = {"model": model, "recognizer": recognizer, "reference": person, "every": 1, "vae": vae}
    probes = [run("IdentityProbe", when=when, **inputs) for when in ("live", "after the run")]
    faults = []
    for sampler in SAMPLER_NAMES:
        latent = painting(batch, masked)
        for sample, steps in WAYS[way]:
            want = sample(model, text, sampler, latent)
            for probed, watch in probes:
                got = sample(probed, text, sampler, latent)
                (one,) = watch.runs.values()
                faults += [(sampler, watch.when, fault) for fault in faults_of(one.trace, got, want, sampler, steps)]
            latent = want[0]
    assert not faults


def faults_of(trace, got, want, sampler, steps):
    """What is not as it should be in one probed run."""
    for name, a, b in zip(("output", "denoised_output"), got, want):
        if not torch.equal(a["samples"], b["samples"]):
            yield f"{name} differs by {float((a['samples'] - b['samples']).abs().max())}"
    if trace.status != "complete":
        yield trace.reason
    seen = [record.step for record in trace.records]
    if seen != [*range(1, (len(seen) if sampler in OWN_PACE and seen else steps) + 1)]:
        yield f"steps {seen}"
    if not any(value is not None for record in trace.records for value in record.similarity):
        yield "nothing was measured"


def test_the_last_prediction_is_the_output_but_for_the_samplers_listed(run, mini, recognizer, person, text, painting):
    import comfy.sample
    from comfy.samplers import SAMPLER_NAMES

    model, _, vae, *_ = mini("mini-schnell")
    probed, watch = run(
        "IdentityProbe", model=model, recognizer=recognizer, reference=person, when="after the run", every=1, vae=vae
    )
    latents = painting(1, False)["samples"]
    noise = comfy.sample.prepare_noise(latents, 5)
    others, reported = {}, []
    for sampler in SAMPLER_NAMES:
        output = comfy.sample.sample(
            probed, noise, STEPS, 1.0, sampler, "simple", text, text, latents, seed=5,
            callback=lambda step, x0, *_: reported.append(x0.clone()),
        )  # fmt: skip
        (one,) = watch.runs.values()
        last, final = one.trace.records[-1], one.trace.final
        distance = float((model.model.process_latent_out(reported[-1]) - output).abs().max())
        exact = distance < 1e-5
        if not exact:
            others[sampler] = distance
        looks = [(getattr(last, name)[0], getattr(final, name)[0]) for name in ("sharpness", "contrast")]
        assert all(abs(a / b - 1) < 1e-5 for a, b in looks) == exact, sampler
        assert not exact or last.similarity == pytest.approx(final.similarity, abs=1e-3), sampler
    assert sorted(others) == sorted(NOT_THE_OUTPUT), others
