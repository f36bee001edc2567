"""Nodes that sample several times, or number their steps in their own way: which run a report is of, and what it says.

Stand-ins do what such packs do: a detailer samples each face by itself, an XY plot each cell, a regional sampler a step
of each region in turn; another sampler unsamples, or counts its steps for display.
"""

import json
from types import SimpleNamespace

import pytest
import torch

STEPS = 4


@pytest.fixture(scope="module")
def text(conditioned):
    return conditioned("mini-schnell")


@pytest.fixture
def probed(run, mini, recognizer, person):
    """`probed(skip_below=...)`: (MODEL, trace)."""

    def make(when="after the run", **more):
        model, _, vae, _, _ = mini("mini-schnell")
        return run(
            "IdentityProbe", model=model, recognizer=recognizer, reference=person, when=when, every=1, vae=vae, **more
        )

    return make


@pytest.fixture
def sample(text):
    """`sample(model, side=16, seed=5)`: latents, as KSampler makes them."""

    def go(model, side=16, seed=5, steps=STEPS, latents=None, batch=1, sampler="euler", **more):
        import comfy.sample

        latents = torch.zeros(batch, 16, side, side) if latents is None else latents
        noise = comfy.sample.prepare_noise(latents, seed)
        return comfy.sample.sample(
            model, noise, steps, 1.0, sampler, "simple", text, text, latents, seed=seed, **more
        ).clone()

    return go


@pytest.fixture
def node():
    """`with node("7", prompt="p"):` what is sampled belongs to that node's execution."""
    from comfy_execution.utils import CurrentNodeContext

    return lambda name="7", prompt="p": CurrentNodeContext(prompt, name, 0)


@pytest.fixture
def find(pack):
    """`find(watch, samples, output=0, run=0, between=False, probe=False)`: the run for a report behind node 7."""

    def go(watch, latents=None, output=0, image=None, run=0, between=False, probe=False):
        watch.node = "1"
        link = ["8", 0] if between else ["7", output]
        inputs = {"samples": link} if image is None else {"image": link}
        prompt = {
            "5": {"inputs": inputs},
            "8": {"inputs": {"samples": ["7", 0]}},
            "7": {"inputs": {"model": ["1", 0]} if probe else {}},
        }
        samples = None if latents is None else {"samples": latents}
        return pack.module("nodes.probe.choice").find_run(watch, prompt, "5", samples, image, run)

    return go


def test_a_detailer_leaves_a_record_of_each_crop(probed, sample, node, find, run, pack):
    model, watch = probed()
    with node():
        made = [sample(model, side=side) for side in (8, 16, 12)]
    (execution,) = watch.executions.found()
    assert [(one.number, one.size) for one in execution.runs] == [(1, (64, 64)), (2, (128, 128)), (3, (96, 96))]
    largest = find(watch)
    assert largest.run.number == 2 and largest.which.startswith("This is run 2 of 3 by node 7, 128 x 128 pixels")
    assert "the last of the largest" in largest.which
    assert find(watch, made[0]).run.number == 1 and find(watch, made[2]).run.number == 3, "by what the latent holds"
    assert find(watch, torch.ones(1, 16, 8, 8), between=True).run.number == 1, "by its size"
    assert find(watch, image=torch.zeros(1, 96, 96, 3)).run.number == 3, "by the picture's size"
    assert find(watch, made[1], run=1).run.number == 1, "by its number"
    with pytest.raises(Exception, match="There is no run 4: node 7 made 3 runs"):
        find(watch, run=4)
    out = run("DriftReport", trace=watch, samples={"samples": made[1]}, run=1)
    told = json.loads(out[6])["report"]
    assert (told["run"], told["runs"]) == (1, 3)
    assert [(one["run"], one["width"], one["steps"]) for one in told["kept"]] == [(1, 64, 4), (2, 128, 4), (3, 96, 4)]
    assert pack.module("infusenet.probe").Trace.from_json(out[6]).steps == STEPS


def test_one_sampling_is_told_as_before(probed, sample, node, find, run):
    model, watch = probed()
    with node():
        made = sample(model)
    found = find(watch, made)
    assert (found.which, found.note) == ("", None)
    told = json.loads(run("DriftReport", trace=watch, samples={"samples": made})[6])["report"]
    assert (told["run"], told["runs"], told["kept"]) == (1, 1, [])


def test_the_cells_of_a_plot_are_curves_beside_each_other(probed, sample, node, find, run, pack, monkeypatch):
    model, watch = probed()
    with node():
        cells = [sample(model, seed=seed) for seed in (1, 2, 3)]
    together = torch.cat(cells)
    found = find(watch, together)
    assert (
        found.run.number == 3
        and found.note is None
        and "the last one whose result is part of the latent" in found.which
    )
    charts, drawn = pack.module("infusenet.charts"), []
    figure = charts.similarity_figure
    seen = lambda traces, **named: drawn.append((traces, named)) or figure(traces, **named)  # noqa: E731
    monkeypatch.setattr(charts, "similarity_figure", seen)
    run("DriftReport", trace=watch, samples={"samples": cells[1]})
    traces, named = drawn[0]
    assert len(traces) == 3 and named["names"] == ["run 1", "run 2, reported", "run 3"]


def test_another_execution_of_the_node_begins_anew(probed, sample, node, find):
    model, watch = probed()
    for prompt in ("p", "q"):
        with node(prompt=prompt):
            made = [sample(model, seed=seed) for seed in (1, 2)]
    (execution,) = watch.executions.found()
    assert execution.count == 2 and len(watch.executions.earlier) == 1
    assert find(watch, made[0]).run is execution.runs[0]


def regional(sample, model, regions=2, steps=STEPS):
    """A step of each region in turn, each going on from what the one before has made of the latents."""
    latents = torch.zeros(1, 16, 16, 16)
    for step in range(steps):
        last = step == steps - 1
        for region in range(regions):
            more = {"start_step": step, "last_step": step + 1, "force_full_denoise": last}
            latents = sample(model, latents=latents, disable_noise=bool(step or region), steps=steps, **more)
    return latents


@pytest.mark.parametrize("when", ["live", "after the run"])
def test_a_regional_sampler_gives_a_curve_of_each_region(probed, sample, node, find, run, when):
    model, watch = probed(when)
    with node():
        made = regional(sample, model)
    (execution,) = watch.executions.found()
    assert execution.count == 2
    for one in execution.runs:
        trace = one.trace
        assert [record.step for record in trace.records] == [1, 2, 3, 4]
        assert (trace.steps, trace.run.pieces, trace.status) == (4, 4, "complete")
        assert [record.sigma for record in trace.records] == list(trace.sigmas[:-1]) and trace.sigmas[-1] == 0
        assert trace.final is not None and trace.final.step == 4
        assert one.recorder.gallery.steps and set(one.recorder.gallery.steps) <= {1, 2, 3, 4}
        if trace.best is not None:
            assert one.recorder.best.step == trace.best.step
    assert find(watch, made).run is execution.runs[1]
    out = run("DriftReport", trace=watch, samples={"samples": made})
    assert out[3] > 0
    text = "\n".join(json.loads(out[6])["warnings"])
    assert "pieces" not in text


def test_two_samplers_in_one_node_are_one_run_if_one_goes_on_from_the_other(probed, sample, node, mini, pack):
    model, watch = probed()
    with node():
        begun = sample(model, steps=8, last_step=3, force_full_denoise=False)
        sample(model, steps=8, latents=begun, start_step=3, disable_noise=True)
    (execution,) = watch.executions.found()
    (one,) = execution.runs
    model, alone = probed()
    sample(model, steps=8)
    (whole,) = alone.runs.values()
    assert one.trace.sigmas == whole.trace.sigmas and one.trace.run.steps == 8
    assert one.trace.means[:3] == pytest.approx(whole.trace.means[:3], abs=1e-4)
    words = pack.module("infusenet.probe.drift").in_words(one.trace)
    assert "sampled in 2 passes" in words and "There is no advice because" in words


def test_small_pictures_are_left_unmeasured_where_that_is_asked(probed, sample, node, find, mini):
    model, watch = probed(skip_below=100)
    with node():
        made = [sample(model, side=side) for side in (8, 16, 12)]
    (execution,) = watch.executions.found()
    assert (execution.count, execution.skipped) == (1, 2)
    assert find(watch, made[1]).which == "2 smaller ones were not measured (skip_below)."
    assert torch.equal(made[0], sample(mini("mini-schnell")[0], side=8))
    model, watch = probed(skip_below=1000)
    with node():
        made = sample(model)
    with pytest.raises(
        Exception, match=r"every picture sampled \(1\) is smaller than Identity Probe's skip_below of 1000 pixels"
    ):
        find(watch, made)


def test_a_thousand_tiles_are_bounded(pack):
    executions = pack.module("nodes.probe.executions")
    sampler = pack.module("nodes.probe.sampler_node").SamplerNode("7", 0, {}, (), "p")
    execution = executions.Execution(sampler)
    gallery = pack.module("infusenet.probe").Gallery()

    class Tile:
        predicted = goes_on = None

        def __init__(self, number):
            self.final = torch.zeros(1, 16, 64, 64)
            self.recorder = SimpleNamespace(best=None, gallery=gallery, kept={})
            self.size = (1024, 1024) if number == 3 else (512, 512)

    for number in range(1, 1001):
        execution.add(Tile(number))
    kept = [one.number for one in execution.runs]
    assert execution.count == 1000 and len(kept) == executions.KEPT
    assert kept[0] == 3 and kept[1:] == list(range(1001 - executions.KEPT + 1, 1001)), "the largest, and the latest"
    execution.runs[-1].final = torch.zeros(1, 16, 2048, 2048)
    execution.add(Tile(1001))
    assert execution.bytes <= executions.MEMORY and execution.runs[-1].number == 1001
    choice = pack.module("nodes.probe.choice")
    with pytest.raises(Exception, match="Run 5 of 1001 is no longer kept. Set run to one of"):
        choice.choose(execution, None, None, 5)


def test_the_prediction_that_a_node_hands_on_belongs_to_its_run(probed, sample, node, find, mini):
    model, watch = probed()
    seen = []
    with node():
        made = sample(model, steps=8, last_step=5, force_full_denoise=False, callback=lambda i, x0, *_: seen.append(x0))
    predicted = model.model.process_latent_out(seen[-1].cpu())
    assert not torch.equal(predicted, made)
    assert find(watch, predicted, output=1) == find(watch, made)
    assert find(watch, predicted, output=1).note is None


def test_a_latent_that_does_not_fit_the_record_is_always_said(probed, sample, node, find):
    model, watch = probed()
    with node():
        made = sample(model)
        for output in (0, 1, 3):
            assert "Node 7 changed the latent after sampling" in find(watch, made + 1, output=output).note
        assert "Node 7 changed the latent" in find(watch, torch.cat([made + 1] * 2), output=3).note
        assert find(watch, made + 1, run=1).note is None, "it was chosen"
    assert "record of an earlier run" in find(watch, made + 1, output=3).note, "no probe is before the sampler any more"
    assert "changed the latent after sampling" in find(watch, made + 1, output=3, probe=True).note
    larger = find(watch, torch.zeros(1, 16, 32, 32), between=True).note
    assert larger == "The latent connected here is 256 x 256 pixels, and this run made 128 x 128 pixels."
    assert "128 x 128 pixels, batch of 4" in find(watch, torch.zeros(4, 16, 16, 16), between=True).note
    assert find(watch, made + 1, between=True).note is None, "changed on its way"
    assert "The picture connected here is 512 x 512" in find(watch, image=torch.zeros(1, 512, 512, 3)).note


# ------------------------------------------------------------------------------------- steps for display alone


def unsampling(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """From the picture to noise: the schedule is turned round inside the sampler."""
    rising = sigmas.flip(0)
    rising[0] = rising[1] / 8
    for i in range(len(rising) - 1):
        denoised = model(x, rising[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        x = denoised + (x - denoised) / rising[i] * rising[i + 1]
        callback({"x": x, "i": i, "sigma": rising[i], "denoised": denoised})
    return x


def resampling(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """From noise to the picture, with its steps counted down."""
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        x = denoised + (x - denoised) / sigmas[i] * sigmas[i + 1]
        callback({"x": x, "i": len(sigmas) - 2 - i, "sigma": sigmas[i], "denoised": denoised})
    return x


def chained(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As the second of a chain: its steps go on counting where the first one's ended."""
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        x = denoised + (x - denoised) / sigmas[i] * sigmas[i + 1]
        callback({"x": x, "i": i + 3, "sigma": sigmas[i], "denoised": denoised})
    return x


def stretched(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As the second of a chain whose schedule is padded: it begins in its middle, at that step's own level."""
    for i in (2, 3, 4):
        if i != 4:
            denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
            x = denoised + (x - denoised) / sigmas[i] * sigmas[i + 1]
        callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
    return x


@pytest.fixture
def custom(text):
    """`custom(model, function, sigmas)`: what the sampler function gives."""

    def go(model, function, sigmas):
        import comfy.sample
        import comfy.samplers

        latents = torch.zeros(1, 16, 16, 16)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(text, text)
        guider.set_cfg(1.0)
        sampler = comfy.samplers.KSAMPLER(function)
        return guider.sample(comfy.sample.prepare_noise(latents, 5), latents, sampler, sigmas, seed=5)

    return go


@pytest.mark.parametrize("function", [unsampling, resampling, chained, stretched])
@pytest.mark.parametrize("when", ["live", "after the run"])
def test_steps_for_display_have_no_noise_level_and_no_advice(probed, custom, pack, run, function, when):
    model, watch = probed(when)
    made = custom(model, function, torch.linspace(1, 0, 6))
    (one,) = watch.runs.values()
    trace = one.trace
    count = 3 if function is stretched else 5
    assert [record.step for record in trace.records] == list(range(1, count + 1))
    assert trace.sigmas == () and all(record.sigma is None for record in trace.records) and trace.run.steps is None
    assert (trace.final is None) == (function is unsampling), "noise is no finished picture"
    assert set(one.recorder.gallery.steps) <= {1, 2, 3, 4, 5}
    words = pack.module("infusenet.probe.drift").in_words(trace)
    assert "reports its progress in steps of its own" in words and "Try next" not in words
    assert len(run("DriftReport", trace=watch, samples={"samples": made})) == 12


def test_no_sampler_of_the_host_is_taken_for_one_of_those(probed, sample):
    import comfy.samplers

    pack_of = {}
    for sampler in comfy.samplers.KSampler.SAMPLERS:
        model, watch = probed()
        sample(model, sampler=sampler, steps=5)
        (one,) = watch.runs.values()
        pack_of[sampler] = one.trace
    own_pace = {"dpm_fast", "dpm_adaptive"}
    assert {name for name, trace in pack_of.items() if any(r.sigma is None for r in trace.records)} == own_pace
    assert not [name for name, trace in pack_of.items() if any("steps of its own" in each for each in trace.warnings)]


# ---------------------------------------------------------------------------------- samplers that end in their own way


def left_off(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As with a setting "steps to run": two steps of the schedule, and another sampler does the rest."""
    for i in range(2):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
        x = denoised + (x - denoised) / sigmas[i] * sigmas[i + 1]
    return x


def silent(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """As the cycles of a sampler that tells of its first one alone."""
    return model(x, sigmas[0] * x.new_ones([x.shape[0]]), **(extra_args or {}))


def untold_end(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """It goes to the end, and does not tell of its last step."""
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        if i < len(sigmas) - 2:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
        x = denoised + (x - denoised) / sigmas[i] * sigmas[i + 1]
    return x


def test_a_sampler_that_leaves_the_rest_to_another_has_no_finished_picture(probed, custom, pack):
    model, watch = probed()
    levels = torch.linspace(1, 0, 6)
    custom(model, left_off, levels)
    (one,) = watch.runs.values()
    assert one.trace.final is None and one.trace.steps == 2 and list(one.trace.sigmas) == levels[:3].tolist()
    assert "several samplers share this run" in pack.module("infusenet.probe.drift").in_words(one.trace)
    model, watch = probed()
    custom(model, untold_end, levels)
    (one,) = watch.runs.values()
    assert one.trace.final is not None and one.trace.steps == 5 and len(one.trace.sigmas) == 6


def test_inside_a_loop_the_run_is_found_by_its_result(probed, sample, node, pack):
    """Nodes of an expanded graph are not in the prompt that a node is shown."""
    model, watch = probed()
    made = []
    for step in range(3):
        with node(name=f"20.0.{step}.7"):
            made.append(sample(model, seed=step))
    find_run = pack.module("nodes.probe.choice").find_run
    found = find_run(watch, {"20": {"inputs": {}}}, "20.0.1.9", {"samples": made[1]})
    assert torch.equal(found.run.final, made[1]) and found.note is None
    other = find_run(watch, {"20": {"inputs": {}}}, "20.0.1.9", {"samples": made[1] + 1})
    assert torch.equal(other.run.final, made[2]) and "not connected to this report" in other.note


def test_a_cancel_in_a_further_piece_is_a_cancel(probed, custom, node):
    import comfy.model_management

    interrupt, levels = comfy.model_management.InterruptProcessingException, torch.linspace(1, 0, 6)

    def cancelled(*_, **__):
        raise interrupt

    model, watch = probed()
    with node():
        custom(model, left_off, levels)
        with pytest.raises(interrupt):
            custom(model, cancelled, levels[2:])
    (execution,) = watch.executions.found()
    (one,) = execution.runs
    assert one.trace.status == "interrupted" and len(one.trace.records) == 2 and one.trace.run.pieces == 2


def test_a_result_that_is_not_finite_is_still_its_runs(probed, sample, node, find, pack):
    model, watch = probed()
    with node():
        made = sample(model)
    (one,) = watch.runs.values()
    one.final = made = made.clone().index_fill_(1, torch.tensor([3]), float("nan"))
    assert find(watch, made).note is None


def test_what_a_long_list_keeps_is_bounded(pack, monkeypatch):
    executions = pack.module("nodes.probe.executions")
    sampler_node = pack.module("nodes.probe.sampler_node").SamplerNode
    monkeypatch.setattr(executions, "MEMORY", 10 * 4 * 16 * 64 * 64)
    gallery, kept = pack.module("infusenet.probe").Gallery(), executions.Executions()
    for index in range(50):
        execution = kept.of(sampler_node("7", index, {}, (), "p"))
        run = SimpleNamespace(final=torch.zeros(1, 16, 64, 64), predicted=None, size=(512, 512), goes_on=None,
                              recorder=SimpleNamespace(best=None, gallery=gallery, kept={}), number=0)  # fmt: skip
        kept.add(execution, run)
    assert [one.sampler.index for one in kept.found()] == list(range(40, 50))


def test_a_sampling_that_reports_no_step_does_not_hide_the_one_before(probed, custom, node, find):
    model, watch = probed()
    with node():
        made = custom(model, left_off, torch.linspace(1, 0, 6))
        custom(model, silent, torch.linspace(1, 0, 6))
    (execution,) = watch.executions.found()
    assert execution.count == 1 and find(watch, made).run is execution.runs[0]


def test_an_error_of_another_pack_is_told_with_its_name(probed, custom):
    import folder_paths

    home, names = folder_paths.get_folder_paths("custom_nodes")[0], {}
    code = "def wrap(*args, **named):\n    raise TypeError('unexpected argument')"
    exec(compile(code, f"{home}/Other-Pack/nodes.py", "exec"), names)
    model, watch = probed()

    def wrapped(model, x, sigmas, extra_args=None, callback=None, disable=None):
        callback({"x": x, "i": 0, "sigma": sigmas[0], "denoised": x})
        return names["wrap"]()

    with pytest.raises(TypeError, match="^unexpected argument$"):
        custom(model, wrapped, torch.linspace(1, 0, 6))
    (one,) = watch.runs.values()
    assert one.trace.reason == "TypeError: unexpected argument (in Other-Pack, another pack)"
