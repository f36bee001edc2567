"""Stop at Identity Peak gives back the full run's own prediction of the best step."""

import math

import pytest
import torch

STEPS = 8


class Scripted:
    """A recognizer whose similarity to the reference follows a script, one value a picture."""

    name, provider = "scripted", "CPU"

    def __init__(self, real, values):
        self._real, self._values, self.asked = real, values, 0
        self.detect, self.crop = real.detect, real.crop

    def embed(self, crops):
        import numpy as np

        out = []
        for _ in range(len(crops)):
            value = 1.0 if self.asked == 0 else self._values[min(self.asked - 1, len(self._values) - 1)]
            self.asked += 1
            out.append([value, math.sqrt(1 - value * value)])
        return np.array(out, np.float32)


@pytest.fixture(scope="module")
def text(conditioned):
    return conditioned("mini-dev")


@pytest.fixture
def probed(run, mini, recognizer, person):
    """`probed(values)`: (MODEL, trace) whose similarities are these as soon as a face is found."""

    def make(values, when="live"):
        model, _, vae, *_ = mini("mini-dev")
        scripted = Scripted(recognizer, values)
        found = recognizer.detect((person[0] * 255).to(torch.uint8).numpy())
        scripted.detect = lambda rgb: found
        return run("IdentityProbe", model=model, recognizer=scripted, reference=person, when=when, every=1, vae=vae)

    return make


def sample(model, text, sampler, keep=None, **more):
    import comfy.sample

    latents = torch.zeros(1, 16, 16, 16)
    noise = comfy.sample.prepare_noise(latents, 3)
    return comfy.sample.sample(
        model, noise, STEPS, 1.0, sampler, "simple", text, text, latents, seed=3, callback=keep, **more
    ).clone()


@pytest.mark.exact
@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "dpmpp_sde"])
def test_it_is_the_full_runs_prediction_bit_for_bit(probed, run, mini, text, sampler):
    model = mini("mini-dev")[0]
    whole = []
    sample(model, text, sampler, lambda step, x0, *_: whole.append(model.model.process_latent_out(x0.float()).clone()))
    watched, watch = probed([0.2, 0.5, 0.8, 0.7, 0.6, 0.5])
    (stopping,) = run("StopAtPeak", model=watched, patience=2, min_steps=2, tolerance=0.01)
    seen = []
    got = sample(stopping, text, sampler, lambda step, x0, *_: seen.append((step, x0)))
    assert torch.equal(got, whole[2])
    assert [step for step, _ in seen] == [0, 1, 2, 3, 4, 4]  # the last once more, with what is handed on:
    assert torch.equal(model.model.process_latent_out(seen[-1][1].float()), got)  # previews, denoised_output
    (one,) = watch.runs.values()
    assert one.trace.status == "stopped at peak" and one.trace.final.step == 3
    assert one.recorder.best.step == 3 and torch.equal(one.recorder.best.latents, got)
    assert "step 3" in one.trace.reason


@pytest.mark.parametrize(
    ("values", "settings", "steps"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], (2, 2, 0.01), 8),  # it rises to the end
        ([0.5, 0.495, 0.495, 0.495, 0.495, 0.5, 0.5], (2, 2, 0.01), 8),  # within the tolerance
        ([0.5, 0.4, 0.3, 0.3], (1, 2, 0.01), 2),
        ([0.5, 0.4, 0.3, 0.3], (1, 4, 0.01), 4),
        ([0.5, 0.4, 0.6, 0.4, 0.3, 0.3], (3, 2, 0.01), 6),
    ],
)
def test_patience_min_steps_and_tolerance(probed, run, text, values, settings, steps):
    watched, watch = probed(values)
    patience, least, tolerance = settings
    (stopping,) = run("StopAtPeak", model=watched, patience=patience, min_steps=least, tolerance=tolerance)
    sample(stopping, text, "euler")
    (one,) = watch.runs.values()
    assert len(one.trace.records) == steps
    sample(watched, text, "euler")  # the rule is in the copy alone
    (one,) = watch.runs.values()
    assert len(one.trace.records) == STEPS


def test_without_a_live_probe_it_is_refused(probed, run, mini):
    for model in (mini("mini-dev")[0], probed([0.5], when="after the run")[0]):
        with pytest.raises(Exception, match="when = live"):
            run("StopAtPeak", model=model, patience=2, min_steps=2, tolerance=0.01)


def test_a_slice_that_leaves_noise_is_refused_before_sampling(probed, run, text):
    watched, watch = probed([0.5])
    (stopping,) = run("StopAtPeak", model=watched, patience=2, min_steps=2, tolerance=0.01)
    seen = []
    with pytest.raises(Exception, match="noise left"):
        sample(stopping, text, "euler", lambda step, *_: seen.append(step), last_step=4)
    assert seen == [] and not watch.runs


def test_noise_levels_that_uni_pc_has_written_to_are_not_refused(probed, run, text, mini):
    import comfy.sample
    import comfy.samplers

    watched, watch = probed([0.9 - 0.01 * look for look in range(30)])
    (stopping,) = run("StopAtPeak", model=watched, patience=2, min_steps=2, tolerance=0.005)
    latents = torch.zeros(1, 16, 16, 16)
    levels = run("Sigmas", model=mini("mini-dev")[0], latent={"samples": latents}, steps=STEPS, denoise=1.0)[0]
    noise, sampler = comfy.sample.prepare_noise(latents, 3), comfy.samplers.sampler_object("uni_pc")
    for _ in range(2):  # the host keeps SIGMAS between runs; on the CPU uni_pc works on the very tensor
        comfy.sample.sample_custom(stopping, noise, 1.0, sampler, levels, text, text, latents, disable_pbar=True)
        (one,) = watch.runs.values()
        assert one.trace.status == "stopped at peak"
    assert 0 < float(levels[-1]) < 0.002


def test_of_two_probes_the_last_decides_and_both_are_marked(probed, run, text, recognizer, person, mini):
    first, one = probed([0.9, 0.1, 0.1, 0.1])
    vae = mini("mini-dev")[2]
    second, two = run(
        "IdentityProbe", model=first, recognizer=recognizer, reference=person, when="live", every=1, vae=vae
    )
    found = recognizer.detect((person[0] * 255).to(torch.uint8).numpy())
    scripted = Scripted(recognizer, [0.1, 0.9, 0.1, 0.1])
    scripted.detect = lambda rgb: found
    third, three = run(
        "IdentityProbe", model=second, recognizer=scripted, reference=person, when="live", every=1, vae=vae
    )
    (stopping,) = run("StopAtPeak", model=third, patience=2, min_steps=2, tolerance=0.01)
    sample(stopping, text, "euler")
    traces = [next(iter(watch.runs.values())).trace for watch in (one, two, three)]
    assert [len(trace.records) for trace in traces] == [4, 4, 4]
    assert traces[2].final.step == 2 and {trace.status for trace in traces} == {"stopped at peak"}
