"""The probe in the host's own samplers: it changes nothing, sees every step, and stops where it should."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch

STEPS = 6
ALL = ["euler", "dpmpp_2m", "dpm_adaptive"]
LAST_IS_NOT_THE_OUTPUT = {"dpm_fast", "dpm_adaptive", "sa_solver_pece", "uni_pc", "uni_pc_bh2"}


@pytest.fixture(scope="module")
def text(conditioned):
    return conditioned("mini-schnell")


@pytest.fixture
def probe(run, mini, recognizer, person):
    """`probe(when=...)`: (MODEL, trace)."""

    def make(model=None, when="live", every=1, vae=None, **more):
        model = mini("mini-schnell")[0] if model is None else model
        vae = mini("mini-schnell")[2] if vae is None else vae
        return run(
            "IdentityProbe",
            model=model,
            recognizer=recognizer,
            reference=person,
            when=when,
            every=every,
            vae=vae or None,
            **more,
        )

    return make


@pytest.fixture
def sample(text):
    """`sample(model, "euler")`: KSampler's way."""

    def go(model, sampler="euler", *, batch=1, steps=STEPS, mask=False, seed=5, **more):
        import comfy.sample

        latents = torch.zeros(batch, 16, 16, 16)
        if mask:
            latents = torch.randn(batch, 16, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.2
            more["noise_mask"] = torch.zeros(1, 128, 128)
            more["noise_mask"][..., 30:] = 1
        noise = comfy.sample.prepare_noise(latents, seed)
        return comfy.sample.sample(
            model, noise, steps, 1.0, sampler, "simple", text, text, latents, seed=seed, **more
        ).clone()

    return go


def only(watch):
    """The only run of a probe."""
    (one,) = watch.runs.values()
    return one


@pytest.mark.exact
@pytest.mark.parametrize("when", ["live", "after the run"])
@pytest.mark.parametrize("sampler", ALL)
def test_it_changes_nothing_and_sees_every_step(probe, sample, mini, sampler, when):
    calls = []
    want = sample(mini("mini-schnell")[0], sampler, callback=lambda *call: calls.append(call[0]))
    model, watch = probe(when=when)
    again = []
    got = sample(model, sampler, callback=lambda *call: again.append(call[0]))
    assert torch.equal(got, want) and again == calls
    trace = only(watch).trace
    assert trace.status == "complete", trace.reason
    assert len(trace.records) == len(calls)
    assert any(value is not None for record in trace.records for value in record.similarity)
    assert trace.final is not None and trace.strangers is not None
    if sampler.startswith("dpm_"):
        own_pace = sampler in ("dpm_fast", "dpm_adaptive")
        assert all((record.sigma is None) == own_pace for record in trace.records)
    best = only(watch).recorder.best
    if sampler not in LAST_IS_NOT_THE_OUTPUT and best is not None and best.step == STEPS:
        assert torch.equal(best.latents, want)


def test_live_and_after_the_run_see_the_same(probe, sample):
    traces = []
    for when in ("live", "after the run"):
        model, watch = probe(when=when)
        sample(model, batch=3)
        traces.append(only(watch).trace)
    live, after = traces
    assert (live.evaluation, after.evaluation) == ("live", "after")
    for one, other in zip([*live.records, live.final], [*after.records, after.final], strict=True):
        assert (one.step, one.sigma, one.found, one.alignment) == (
            other.step,
            other.sigma,
            other.found,
            other.alignment,
        )
        for a, b in zip(one.similarity, other.similarity, strict=True):
            assert (a is None and b is None) or a == pytest.approx(b, abs=1e-4)


@pytest.mark.parametrize("when", ["live", "after the run"])
def test_a_record_that_is_kept_keeps_no_model(probe, sample, pack, when):
    spec = pack.module("infusenet.backbones").get_backbone("mini-schnell")
    model, watch = probe(pack.module("nodes.flux.miniature").load_model(spec, None), when=when)
    network = weakref.ref(model.model.diffusion_model)
    sample(model, steps=2)
    del model
    gc.collect()
    assert only(watch).trace.status == "complete" and network() is None


@pytest.mark.parametrize("index", [0, 1])  # as the last step again, or as one beyond it
def test_a_sampler_that_reports_its_last_step_twice_has_as_many_records_as_steps(probe, text, index):
    import comfy.k_diffusion.sampling
    import comfy.sample
    import comfy.samplers

    def twice(model, x, sigmas, extra_args=None, callback=None, disable=None):
        def told(state):
            callback(state)
            if state["i"] == len(sigmas) - 2:
                callback({**state, "i": state["i"] + index})

        return comfy.k_diffusion.sampling.sample_euler(model, x, sigmas, extra_args, told, disable)

    model, watch = probe()
    latents = torch.zeros(1, 16, 16, 16)
    noise = comfy.sample.prepare_noise(latents, 5)
    sigmas = torch.linspace(1, 0, 4)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(text, text)
    guider.set_cfg(1.0)
    guider.sample(noise, latents, comfy.samplers.KSAMPLER(twice), sigmas, seed=5)
    assert [record.step for record in only(watch).trace.records] == [1, 2, 3]


@pytest.mark.exact
def test_several_probes_may_be_stacked(probe, sample, mini):
    first, one = probe(when="live")
    second, two = probe(first, when="after the run")
    assert torch.equal(sample(second), sample(mini("mini-schnell")[0]))
    assert only(one).trace.means == pytest.approx(only(two).trace.means, abs=1e-4)


def test_the_report(probe, sample, run):
    model, watch = probe(when="after the run")
    latent = {"samples": sample(model)}
    chart, faces, best, step, peak, drift, text, table = run("DriftReport", trace=watch, samples=latent)[:8]
    assert chart.shape[0] == 1 and chart.shape[-1] == 3 and faces.shape[0] == 1
    trace = only(watch).trace
    assert step == trace.best.step and drift >= 0
    assert peak == max(value for value in [*trace.means, trace.mean(trace.final)] if value is not None)
    assert best["samples"].shape == latent["samples"].shape
    assert '"infusenet-trace"' in text and table.count("\n") == STEPS + 2


def test_the_report_without_a_sampler_says_what_to_do(probe, run):
    _, watch = probe()
    with pytest.raises(Exception, match="Connect the sampler's latent"):
        run("DriftReport", trace=watch)
    with pytest.raises(Exception, match="not seen any sampling"):
        run("DriftReport", trace=watch, samples={"samples": torch.zeros(1, 16, 16, 16)})


def test_each_sampler_node_has_a_record_of_its_own(probe, sample, pack, run):
    from comfy_execution.utils import CurrentNodeContext

    model, watch = probe(when="after the run")
    for prompt, node, steps in (("p", "10", 3), ("p", "11", 4), ("q", "10", 2)):
        with CurrentNodeContext(prompt, node, 0):
            latent = {"samples": sample(model, steps=steps)}
    assert {key[0]: len(kept.trace.records) for key, kept in watch.runs.items()} == {"10": 2, "11": 4}
    prompt = {
        "5": {"inputs": {"trace": ["1", 1], "samples": ["11", 0]}},
        "6": {"inputs": {"trace": ["1", 1], "image": ["9", 0]}},
        "9": {"inputs": {"samples": ["10", 0], "vae": ["2", 2]}},
    }
    choice = pack.module("nodes.probe.choice")
    assert choice.find_run(watch, prompt, "5") == choice.Choice(watch.runs["11", 0])
    assert choice.find_run(watch, prompt, "6") == choice.Choice(watch.runs["10", 0])
    latest = choice.find_run(watch, {"7": {"inputs": {"samples": ["99", 0]}}}, "7")
    assert latest.run is watch.runs["10", 0] and "not connected to this report" in latest.note
    assert len(run("DriftReport", trace=watch, samples=latent)) == 12


def test_a_report_is_of_the_run_that_gave_its_latent(probe, sample, run, pack):
    """The host may keep a sampler's result longer than the next run; and a sampler may not be watched any more."""
    from comfy_execution.utils import CurrentNodeContext

    model, watch = probe(when="after the run")
    results = []
    for seed in (1, 2):
        with CurrentNodeContext(f"prompt {seed}", "10", 0):
            results.append({"samples": sample(model, steps=2, seed=seed)})
    first, second = results
    prompt = {"5": {"inputs": {"trace": ["1", 1], "samples": ["10", 0]}}}
    choice = pack.module("nodes.probe.choice")
    (newest,) = watch.runs.values()
    assert choice.find_run(watch, prompt, "5", second) == choice.Choice(newest)
    found = choice.find_run(watch, prompt, "5", first)
    assert found.run is not newest and torch.equal(found.run.final, first["samples"]) and found.note is None
    found = choice.find_run(watch, prompt, "5", {"samples": first["samples"] + 1})
    assert found.run is newest and "record of an earlier run" in found.note
    between = {"5": {"inputs": {"samples": ["8", 0]}}, "8": {"inputs": {"samples": ["10", 0]}}}
    changed = choice.find_run(watch, between, "5", {"samples": first["samples"] * 2})
    assert changed == choice.Choice(newest), "changed on its way"


def test_a_slice_that_leaves_noise_has_no_finished_picture(probe, sample, run):
    model, watch = probe()
    latent = {"samples": sample(model, steps=8, last_step=4, force_full_denoise=False)}
    trace = only(watch).trace
    assert trace.status == "complete" and len(trace.records) == 4 and trace.final is None
    _, _, _, best_step, peak, drift, _, _ = run("DriftReport", trace=watch, samples=latent)[:8]
    assert best_step == trace.best.step and peak == max(trace.means) and drift != drift


@pytest.mark.parametrize("sampler", ["dpm_fast", "dpm_adaptive"])
def test_samplers_of_their_own_pace_are_counted_by_what_they_did(probe, sample, pack, sampler):
    model, watch = probe()
    sample(model, sampler, steps=6)
    trace = only(watch).trace
    assert trace.status == "complete" and trace.steps == len(trace.records) and trace.sigmas == ()
    words = pack.module("infusenet.probe.drift").in_words(trace)
    assert "end_percent" not in words and "separate run" not in words


def test_the_best_step_is_the_peaks(probe, sample, run, pack, monkeypatch):
    """Also where the finished picture is the peak: then it is the best."""
    from dataclasses import replace

    model, watch = probe(when="after the run")
    latent = {"samples": sample(model, steps=3), "noise_mask": torch.ones(1, 1, 16, 16)}
    one = only(watch)
    assert set(run("DriftReport", trace=watch, samples=latent)[2]) == {"samples", "noise_mask"}
    one.trace = replace(one.trace, final=replace(one.trace.final, similarity=(0.99,)))
    _, _, best, step, peak, drift, _, _ = run("DriftReport", trace=watch, samples=latent)[:8]
    assert (step, peak, drift) == (3, 0.99, 0.0) and torch.equal(best["samples"], latent["samples"])


@pytest.mark.exact
def test_a_probe_that_cannot_start_harms_no_picture(probe, sample, mini, pack, monkeypatch, caplog):
    watching = pack.module("nodes.probe.run")
    want = sample(mini("mini-schnell")[0])
    for broken in ("_begin", "_make_recorder"):
        with monkeypatch.context() as patch:
            patch.setattr(watching.Run, broken, None)
            assert torch.equal(sample(probe()[0]), want)
        assert "identity probe could not" in caplog.text
        caplog.clear()


@pytest.mark.exact
@pytest.mark.parametrize("when", ["live", "after the run"])
def test_an_interrupt_leaves_a_marked_partial_record(probe, sample, when, mini):
    import comfy.model_management

    model, watch = probe(when=when)

    def cancel(step, *_):
        if step == 2:
            raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(model, steps=8, callback=cancel)
    trace = only(watch).trace
    assert (trace.status, len(trace.records), trace.final) == ("interrupted", 3, None)
    assert torch.equal(sample(model), sample(mini("mini-schnell")[0]))
    assert only(watch).trace.status == "complete"


@pytest.mark.parametrize("live", ["in the loop", "in the background"])
def test_cancel_is_never_swallowed_by_the_probes_own_networks(
    run, sample, mini, recognizer, person, pack, monkeypatch, live
):
    """The host's networks take the notice of Cancel in whatever thread they run; it must still reach the sampler."""
    import threading

    import comfy.model_management as host

    noticed = threading.Event()
    decoders = pack.module("nodes.probe.decoders")

    def decode(latents):
        if host.processing_interrupted():
            noticed.set()
        host.throw_exception_if_processing_interrupted()
        return torch.zeros(latents.shape[0], 3, 64, 64)

    def progress(step, *_):
        if step == 2:
            host.interrupt_current_processing()
        if step == 3:
            assert noticed.wait(20)
        if step >= 4:
            host.throw_exception_if_processing_interrupted()  # as the host's progress bar does

    monkeypatch.setattr(pack.module("nodes.probe.run"), "small_decoder", lambda *_: decoders.Decoder("stub", decode))
    seen = SimpleNamespace(
        name="seen", provider="CUDA" if live == "in the loop" else "CPU",
        detect=recognizer.detect, crop=recognizer.crop, embed=recognizer.embed,
    )  # fmt: skip
    probed, watch = run(
        "IdentityProbe", model=mini("mini-schnell")[0], recognizer=seen, reference=person, when="live", every=1
    )
    try:
        with pytest.raises(host.InterruptProcessingException):
            sample(probed, steps=8, callback=progress)
    finally:
        host.interrupt_current_processing(False)
    assert only(watch).trace.status == "interrupted" and len(only(watch).trace.records) in (3, 5)


def test_an_error_in_the_sampler_is_told_and_passed_on(probe, sample):
    model, watch = probe()

    def fail(step, *_):
        if step == 1:
            raise ZeroDivisionError("custom")

    with pytest.raises(ZeroDivisionError):
        sample(model, callback=fail)
    trace = only(watch).trace
    assert (trace.status, len(trace.records)) == ("failed", 2) and "custom" in trace.reason


@pytest.mark.exact
@pytest.mark.parametrize("when", ["live", "after the run"])
def test_a_recognizer_that_fails_harms_no_picture(run, sample, mini, recognizer, person, pack, when):
    broken = SimpleNamespace(
        name="broken", provider="CPU", detect=recognizer.detect, crop=recognizer.crop, embed=recognizer.embed
    )
    model, _, vae, *_ = mini("mini-schnell")
    probed, watch = run("IdentityProbe", model=model, recognizer=broken, reference=person, when=when, every=1, vae=vae)
    broken.embed = None
    assert torch.equal(sample(probed), sample(model))
    assert only(watch).trace.status == "failed"
    assert len(run("DriftReport", trace=watch, samples={"samples": torch.zeros(1, 16, 16, 16)})) == 12
    broken.embed = recognizer.embed
    assert torch.equal(sample(probed), sample(model))
    assert only(watch).trace.status == "complete" and None not in only(watch).trace.means


def test_a_reference_without_a_face_is_refused(run, mini, recognizer):
    with pytest.raises(Exception, match="No face found in reference picture"):
        run(
            "IdentityProbe",
            model=mini("mini-schnell")[0],
            recognizer=recognizer,
            reference=torch.zeros(1, 64, 64, 3),
            when="live",
            every=1,
        )


@pytest.mark.parametrize("when", ["live", "after the run"])
def test_no_face_in_any_frame_gives_a_report_without_a_curve(run, sample, mini, recognizer, person, when):
    model = mini("mini-schnell")[0]
    blind = SimpleNamespace(
        name="blind", provider="CPU", detect=recognizer.detect, crop=recognizer.crop, embed=recognizer.embed
    )
    probed, watch = run("IdentityProbe", model=model, recognizer=blind, reference=person, when=when, every=1)
    blind.detect = lambda rgb: []
    latent = {"samples": sample(probed)}
    out = run("DriftReport", trace=watch, samples=latent)
    assert out[3] == 0 and out[4] != out[4] and out[5] != out[5]
    assert torch.equal(out[2]["samples"], latent["samples"])
