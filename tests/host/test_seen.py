"""From the chart to the picture: what a step shows, which one is handed on, a second recognizer beside the first."""

import gc
import io
import json
import math

import pytest
import torch
from PIL import Image

STEPS = 4


class Narrow:
    """A recognizer that sees half of what another does: another network, for the record."""

    def __init__(self, recognizer, name="narrow.onnx (cpu)"):
        self._recognizer, self.name = recognizer, name

    def __getattr__(self, name):
        return getattr(self._recognizer, name)

    def embed(self, crops):
        rows = self._recognizer.embed(crops)
        return rows[:, : rows.shape[1] // 2]


@pytest.fixture(scope="module")
def probe(run, mini, recognizer, person, conditioned):
    """`probe(batch=1, when="live", **inputs)`: what a probed run of the miniature gives, (watch, latents, vae)."""

    def go(batch=1, when="live", **inputs):
        import comfy.sample

        model, _, vae, _, _ = mini("mini-schnell")
        with torch.inference_mode():
            given = {"recognizer": recognizer, "reference": person, "when": when, "every": 1, "vae": vae} | inputs
            model, watch = run("IdentityProbe", model=model, **given)
            text, latents = conditioned(), torch.zeros(batch, 16, 16, 16)
            noise = comfy.sample.prepare_noise(latents, 5)
            made = comfy.sample.sample(model, noise, STEPS, 1.0, "euler", "simple", text, text, latents, seed=5)
        return watch, {"samples": made.clone()}, vae

    return go


@pytest.fixture(scope="module")
def batch(probe):
    return probe(batch=3)


def opened(jpeg):
    return Image.open(io.BytesIO(jpeg))


@pytest.mark.parametrize("when", ["live", "after the run"])
def test_a_step_shows_its_faces_and_its_whole_pictures(pack, probe, when):
    seen = pack.module("nodes.probe.seen")
    watch, *_ = probe(batch=2, when=when)
    run = watch.latest
    assert seen.RUNS[run.name] is run
    for step in ("1", "4", seen.FINISHED):
        shown = seen.find(run, step)
        whole = opened(seen.strip(shown, whole=True))
        assert whole.size == (2 * 128 + seen.GAP, 128), "two small pictures side by side"
        assert opened(shown.pictures[0]).size == (128, 128)
    assert opened(seen.strip(seen.find(run, "2"), whole=True, only=1)).size == (128, 128)
    faces = opened(seen.strip(seen.find(run, seen.FINISHED)))
    assert faces.height == seen.SIDE and faces.width == 2 * seen.SIDE + seen.GAP
    for step in ("0", "5", "99", "x", "1" * 30):
        assert seen.strip(seen.find(run, step) or seen.find(run, "99")) is None


def test_a_run_that_nobody_holds_is_not_shown(pack, probe):
    seen = pack.module("nodes.probe.seen")
    watch, *_ = probe()
    name = watch.latest.name
    assert name in seen.RUNS
    del watch
    gc.collect()
    assert name not in seen.RUNS


def test_a_step_is_handed_on(run, batch):
    watch, samples, vae = batch
    made = watch.latest
    best = run("DriftReport", trace=watch, samples=samples, vae=vae)
    third = run("DriftReport", trace=watch, samples=samples, vae=vae, step=3)
    assert torch.equal(third[2]["samples"], made.recorder.kept[3]) and third[3] == 3
    assert third[4:6] == best[4:6], "the run's peak and drift are what they were"
    record = made.trace.records[2]
    index = max(range(3), key=lambda item: record.similarity[item])
    assert third[10] == index and third[11] == record.similarity[index]
    assert torch.equal(third[9]["samples"], made.recorder.kept[3][index : index + 1])
    assert third[8].shape == (1, 128, 128, 3) and not torch.equal(third[8], best[8])


def test_the_report_says_which_step_it_hands_on(pack, batch):
    watch, samples, _ = batch
    told = pack.nodes["DriftReport"].execute(trace=watch, samples=samples, step=2)
    assert "The best outputs give step 2" in told.ui["text"][0]


def test_a_step_that_is_not_there_is_refused(run, batch):
    watch, samples, _ = batch
    with pytest.raises(
        Exception, match=r"Step 9 of this run is not kept. Set step to one of 1, 2, 3, 4; 0 is the best"
    ):
        run("DriftReport", trace=watch, samples=samples, step=9)
    watch.latest.recorder.kept = {}
    with pytest.raises(Exception, match="The steps of this run are not kept any more. Queue it again"):
        run("DriftReport", trace=watch, samples=samples, step=2)


def test_a_second_recognizer_has_its_own_curve_and_says_whether_it_agrees(pack, probe, recognizer):
    watch, samples, _ = probe(second_recognizer=Narrow(recognizer))
    one, two = watch.latest, watch.second.latest
    assert one.trace.recognizer != two.trace.recognizer and one.trace.means != two.trace.means
    made = pack.nodes["DriftReport"].execute(trace=watch, samples=samples)
    words, curves = made.ui["text"][0], made.ui["infusenet_drift"]
    assert "narrow.onnx, the second recognizer, measured a peak of" in words
    assert [curve["title"] for curve in curves] == [watch.title, "narrow.onnx"]
    assert curves[0]["pair"] == curves[1]["pair"] == (curves[0]["by"], curves[1]["by"])
    second = json.loads(made.args[6])["report"]["second"]
    assert second["recognizer"] == two.trace.recognizer and math.isfinite(second["peak"])
    agree = (
        pack.module("infusenet.probe.second").above(one.trace),
        pack.module("infusenet.probe.second").above(two.trace),
    )
    assert second["agree"] == (None if None in agree else agree[0] == agree[1])


def test_a_second_recognizer_changes_no_picture_and_no_curve(probe, recognizer):
    alone, both = probe(), probe(second_recognizer=Narrow(recognizer))
    assert torch.equal(alone[1]["samples"], both[1]["samples"])
    assert alone[0].latest.trace.means == both[0].latest.trace.means


def test_the_same_recognizer_twice_is_refused(probe, recognizer):
    with pytest.raises(Exception, match="recognizer and second_recognizer are the same network"):
        probe(second_recognizer=recognizer)


def test_what_is_advised_names_the_widgets_that_it_sets(pack):
    chart = pack.module("nodes.probe.chart")
    kinds = pack.module("infusenet.probe.advice").Advice
    every = {
        "end": {"end": 1.0}, "strength": {"strength": 1.5}, "keep": {"step": 3}, "stop": {"step": 16, "tail": 4},
        "steps": {"steps": 12},
    }  # fmt: skip
    for kind, change in every.items():
        for types, widget, value in chart.changes(kinds(kind, "words", change)):
            for name in types:
                inputs = {one.id: one for one in pack.by_id[name].GET_SCHEMA().inputs}
                assert widget in inputs, (kind, name, widget)
                options = getattr(inputs[widget], "options", None)
                assert options is None or value in options
