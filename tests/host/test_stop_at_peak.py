"""Stop at Identity Peak: a run cut short is the whole run up to there, then a tail; the first rule is as it was."""

import math

import pytest
import torch

STEPS, BLANK = 8, 16
PEAK = {"patience": 2, "min_steps": 2, "tolerance": 0.01, "mode": "at the peak"}
OLD = {"patience": 2, "min_steps": 2, "tolerance": 0.01}  # all that a workflow of before says
SAMPLERS = ["euler", "heun", "dpmpp_2m", "dpmpp_sde", "euler_ancestral", "dpmpp_2s_ancestral", "uni_pc", "dpm_2", "lcm"]


class Scripted:
    """A recognizer whose similarity to the reference follows a script, one value a picture."""

    name, provider = "scripted", "CPU"

    def __init__(self, real, values):
        self._real, self._values, self.asked = real, values, 0
        self.detect, self.crop = real.detect, real.crop

    def embed(self, crops):
        import numpy as np

        out = []
        if len(crops) == BLANK:  # the blank line: far below every script
            return np.array([[0.05 * place / BLANK - 0.5, 0.8] for place in range(BLANK)], np.float32)
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
    (stopping,) = run("StopAtPeak", model=watched, **PEAK)
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
    (stopping,) = run(
        "StopAtPeak", model=watched, patience=patience, min_steps=least, tolerance=tolerance, mode="at the peak"
    )
    sample(stopping, text, "euler")
    (one,) = watch.runs.values()
    assert len(one.trace.records) == steps
    sample(watched, text, "euler")  # the rule is in the copy alone
    (one,) = watch.runs.values()
    assert len(one.trace.records) == STEPS


def test_without_a_live_probe_it_is_refused(probed, run, mini):
    for model in (mini("mini-dev")[0], probed([0.5], when="after the run")[0]):
        with pytest.raises(Exception, match="when = live"):
            run("StopAtPeak", model=model, **PEAK)


@pytest.fixture
def within(pack, monkeypatch):
    """`with within(end_at_step=4):` as if a node with these inputs sampled."""
    from comfy_execution.utils import CurrentNodeContext

    def node(**inputs):
        monkeypatch.setattr(pack.module("nodes.probe.chart"), "running_prompt", lambda _: {"7": {"inputs": inputs}})
        return CurrentNodeContext("p", "7", 0)

    return node


@pytest.mark.parametrize(
    ("inputs", "advice"),
    [({"return_with_leftover_noise": "enable"}, "end_at_step"), ({"sigmas": ["3", 0]}, "end at 0")],
)
def test_a_slice_that_leaves_noise_is_refused_before_sampling(probed, run, text, within, inputs, advice):
    watched, watch = probed([0.5])
    (stopping,) = run("StopAtPeak", model=watched, **PEAK)
    seen = []
    with within(**inputs), pytest.raises(Exception, match=f"noise left .*{advice}"):
        sample(stopping, text, "euler", lambda step, *_: seen.append(step), last_step=4)
    assert seen == [] and not watch.runs


@pytest.mark.parametrize("mode", ["short tail", "finish, keep the best", "at the peak"])
def test_where_no_setting_would_help_a_slice_is_left_alone(probed, run, text, within, mini, mode):
    """As the pieces that a regional sampler or a tiler makes of one run."""
    watched, watch = probed([0.9] + [0.1] * 20)
    (stopping,) = run("StopAtPeak", model=watched, **{**PEAK, "mode": mode})
    with within(steps=STEPS):
        got = sample(stopping, text, "euler", last_step=4)
    assert torch.equal(got, sample(mini("mini-dev")[0], text, "euler", last_step=4))
    (one,) = watch.runs.values()
    assert one.trace.status == "complete" and any(
        "Stop at Identity Peak did nothing" in each for each in one.trace.warnings
    )


def test_noise_levels_that_uni_pc_has_written_to_are_not_refused(probed, run, text, mini):
    import comfy.sample
    import comfy.samplers

    watched, watch = probed([0.9 - 0.01 * look for look in range(30)])
    (stopping,) = run("StopAtPeak", model=watched, **{**PEAK, "tolerance": 0.005})
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
    (stopping,) = run("StopAtPeak", model=third, **PEAK)
    sample(stopping, text, "euler")
    traces = [next(iter(watch.runs.values())).trace for watch in (one, two, three)]
    assert [len(trace.records) for trace in traces] == [4, 4, 4]
    assert traces[2].final.step == 2 and {trace.status for trace in traces} == {"stopped at peak"}


# ------------------------------------------------------------------------------------------ cut short, with a tail


def told(seen):
    """A callback that keeps (step, prediction, total)."""
    return lambda step, x0, x, total: seen.append((step, x0.clone(), total))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_cut_short_is_the_whole_run_up_to_there_then_a_tail(probed, run, mini, text, sampler):
    model, whole, seen = mini("mini-dev")[0], [], []
    complete = sample(model, text, sampler, told(whole))
    watched, watch = probed([0.9])
    sample(watched, text, sampler)
    levels = next(iter(watch.runs.values())).trace.sigmas
    (stopping,) = run("StopAtPeak", model=watched, **OLD, share=0.5, tail_steps=2)
    got = sample(stopping, text, sampler, told(seen))
    assert [(step, total) for step, _, total in seen] == [(0, 8), (1, 8), (2, 8), (3, 8), (4, 6), (5, 6)]
    assert all(torch.equal(one[1], other[1]) for one, other in zip(seen[:4], whole[:4], strict=True)), "bit for bit"
    far = 1.0 if sampler == "lcm" else 0.5  # it draws new noise in every step
    assert torch.isfinite(got).all() and torch.nn.functional.mse_loss(got, complete) < far * complete.var()
    (one,) = watch.runs.values()
    trace = one.trace
    assert trace.status == "stopped at peak" and trace.stopped_after == 4 and trace.run.steps == 8
    assert [record.step for record in trace.records] == [1, 2, 3, 4, 5, 6] and len(trace.sigmas) == 7
    assert trace.final.step == 6 and trace.sigmas[-1] < 2e-3
    assert trace.sigmas[:5] == levels[:5] and trace.sigmas[5] == pytest.approx(levels[6], abs=1e-6)
    assert "cut short after step 4" in trace.reason


def trace_levels(model):
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS).tolist()


def test_with_euler_it_is_a_run_of_the_joined_schedule(probed, run, mini, text):
    """Euler remembers nothing: cutting the run or asking for the joined noise levels at once is the same."""
    import comfy.sample
    import comfy.samplers

    model = mini("mini-dev")[0]
    levels = trace_levels(model)
    joined = torch.tensor([*levels[:5], levels[6], levels[8]])
    latents = torch.zeros(1, 16, 16, 16)
    noise, sampler = comfy.sample.prepare_noise(latents, 3), comfy.samplers.sampler_object("euler")
    wanted = comfy.sample.sample_custom(model, noise, 1.0, sampler, joined, text, text, latents, disable_pbar=True)
    (stopping,) = run("StopAtPeak", model=probed([0.9])[0], **OLD, share=0.5, tail_steps=2)
    got = sample(stopping, text, "euler")
    assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max(), "the step between is computed here, not there"


def test_the_default_is_two_fifths_of_the_run_and_four_larger_steps(probed, run, text):
    watched, watch = probed([0.9])
    (stopping,) = run("StopAtPeak", model=watched, **OLD)
    import comfy.sample

    latents = torch.zeros(1, 16, 16, 16)
    comfy.sample.sample(
        stopping, comfy.sample.prepare_noise(latents, 3), 28, 1.0, "euler", "simple", text, text, latents, seed=3
    )
    (one,) = watch.runs.values()
    assert one.trace.stopped_after == 12 and one.trace.records[-1].step == 16 == len(one.trace.sigmas) - 1


@pytest.mark.parametrize(("steps", "tail"), [(4, 4), (8, 7)])
def test_where_nothing_would_be_saved_the_run_is_the_whole_run(probed, run, mini, text, steps, tail):
    import comfy.sample

    latents = torch.zeros(1, 16, 16, 16)
    noise = comfy.sample.prepare_noise(latents, 3)

    def once(model):
        return comfy.sample.sample(model, noise, steps, 1.0, "euler", "simple", text, text, latents, seed=3).clone()

    watched, watch = probed([0.9])
    (stopping,) = run("StopAtPeak", model=watched, **OLD, tail_steps=tail)
    assert torch.equal(once(stopping), once(mini("mini-dev")[0]))
    (one,) = watch.runs.values()
    assert one.trace.status == "complete" and one.trace.stopped_after is None


@pytest.mark.parametrize("values", [[0.1] * 20, [0.01, 0.02, 0.03, 0.1, 0.1, 0.1]])
def test_a_run_that_goes_astray_is_finished(probed, run, mini, text, values):
    """Its likeness is never above other people's by two deviations."""
    watched, watch = probed(values)
    (stopping,) = run("StopAtPeak", model=watched, **OLD, share=0.3, tail_steps=2)
    watch.strangers = type(watch.references[0].blank)(0.3, 0.1, 16)
    assert torch.equal(sample(stopping, text, "euler"), sample(mini("mini-dev")[0], text, "euler"))
    (one,) = watch.runs.values()
    assert one.trace.status == "complete"


@pytest.mark.parametrize("mode", ["short tail", "at the peak", "finish, keep the best"])
@pytest.mark.parametrize("fallback", [False, True])
def test_nothing_is_stopped_before_a_face_is_seen(probed, run, mini, text, mode, fallback, recognizer):
    """Values that rise and fall at a place where no face is seen, as in the first steps of a real photograph."""
    watched, watch = probed([0.2, 0.9, 0.5, 0.4, 0.3, 0.2])
    found = watch.recognizer.detect(None)
    weak = [type(found[0])(found[0].bbox, found[0].kps, 0.4)] if fallback else []
    watch.recognizer.detect = lambda rgb: weak
    (stopping,) = run("StopAtPeak", model=watched, **{**PEAK, "mode": mode, "share": 0.3, "tail_steps": 2})
    seen = []
    got = sample(stopping, text, "euler", told(seen))
    assert torch.equal(got, sample(mini("mini-dev")[0], text, "euler")) and len(seen) == STEPS
    (one,) = watch.runs.values()
    assert one.trace.status == "complete" and one.trace.best is None


def test_it_waits_for_a_face(probed, run, text):
    watched, watch = probed([0.9])
    found, asked = watch.recognizer.detect(None), []

    def late(rgb):
        asked.append(1)
        return found if len(asked) >= 5 else []

    watch.recognizer.detect = late
    (stopping,) = run("StopAtPeak", model=watched, **OLD, share=0.3, tail_steps=2)
    sample(stopping, text, "euler")
    (one,) = watch.runs.values()
    assert one.trace.stopped_after is not None and one.trace.stopped_after > 3, "0.3 of 8 steps is step 3"
    stopped = one.trace.records[one.trace.stopped_after - 1]
    assert stopped.found == (True,) and not any(r.found[0] for r in one.trace.records[: stopped.step - 1])


def test_inside_a_mask_the_rest_of_the_picture_stays(probed, run, mini, text):
    import comfy.sample

    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:] = 1
    given = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(5)) * 0.3
    noise = comfy.sample.prepare_noise(given, 3)

    def once(model):
        return comfy.sample.sample(
            model, noise, STEPS, 1.0, "euler", "simple", text, text, given, seed=3, noise_mask=mask
        ).clone()

    watched, watch = probed([0.9])
    (stopping,) = run("StopAtPeak", model=watched, **OLD, share=0.5, tail_steps=2)
    got, whole = once(stopping), once(mini("mini-dev")[0])
    (one,) = watch.runs.values()
    assert one.trace.stopped_after == 4
    assert torch.allclose(got[..., :8], given[..., :8], atol=1e-4) and torch.isfinite(got).all()
    assert (got[..., 8:] - whole[..., 8:]).pow(2).mean() < 0.5 * whole[..., 8:].var()


def test_an_interrupt_in_the_tail_is_an_interrupt(probed, run, text):
    import comfy.model_management

    watched, watch = probed([0.9])
    (stopping,) = run("StopAtPeak", model=watched, **OLD, share=0.5, tail_steps=3)

    def stop(step, x0, x, total):
        if step == 5:
            raise comfy.model_management.InterruptProcessingException

    with pytest.raises(BaseException) as raised:
        sample(stopping, text, "euler", stop)
    assert isinstance(raised.value, comfy.model_management.InterruptProcessingException)
    (one,) = watch.runs.values()
    assert one.trace.status == "interrupted" and one.trace.final is None
    assert [record.step for record in one.trace.records] == [1, 2, 3, 4, 5, 6]
    sample(stopping, text, "euler")  # and the next run is a run again
    (one,) = watch.runs.values()
    assert one.trace.status == "stopped at peak"


def test_of_two_probes_both_follow_the_tail(probed, run, text, recognizer, person, mini):
    vae, live = mini("mini-dev")[2], {"when": "live", "every": 1}
    first, one = probed([0.9])
    (stopping,) = run("StopAtPeak", model=first, **OLD, share=0.5, tail_steps=2)  # the outer probe decides
    inner, two = run("IdentityProbe", model=stopping, recognizer=recognizer, reference=person, vae=vae, **live)
    seen = []
    sample(inner, text, "euler", told(seen))
    assert [step for step, *_ in seen] == [0, 1, 2, 3, 4, 5]
    second, three = run("IdentityProbe", model=first, recognizer=recognizer, reference=person, vae=vae, **live)
    scripted = Scripted(recognizer, [0.9])
    scripted.detect = one.recognizer.detect
    third, four = run("IdentityProbe", model=second, recognizer=scripted, reference=person, vae=vae, **live)
    (stopping,) = run("StopAtPeak", model=third, **OLD, share=0.5, tail_steps=2)  # the inner one decides
    sample(stopping, text, "euler", told([]))
    for watch in (one, two, three, four):
        (made,) = watch.runs.values()
        assert [record.step for record in made.trace.records] == [1, 2, 3, 4, 5, 6] and made.trace.stopped_after == 4
        assert made.trace.sigmas == next(iter(one.runs.values())).trace.sigmas


def test_the_best_of_a_finished_run_is_kept_if_it_is_sharp(probed, run, mini, text):
    whole, seen = [], []
    complete = sample(mini("mini-dev")[0], text, "euler", told(whole))
    watched, watch = probed([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.4])
    (stopping,) = run("StopAtPeak", model=watched, **{**PEAK, "mode": "finish, keep the best"})
    got = sample(stopping, text, "euler", told(seen))
    (one,) = watch.runs.values()
    model = mini("mini-dev")[0].model
    kept = one.trace.final.step
    assert len(one.trace.records) == STEPS and kept in (7, 8)
    assert torch.equal(got, model.process_latent_out(whole[kept - 1][1].float()))
    if kept == 7:
        assert one.trace.status == "stopped at peak" and "step 7 was kept" in one.trace.reason
        assert [step for step, *_ in seen] == [*range(STEPS), STEPS - 1], "denoised_output is what is handed on"
    else:
        assert torch.equal(got, complete)
