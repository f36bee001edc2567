"""Runs, batches and sweeps measured on whole pictures or on a prompt: no word, record or chart is of faces."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infusenet.axes import AXES, Tried
from infusenet.axes import in_words as sweep_in_words
from infusenet.charts import contact_sheet, faces_sheet, scores_sheet, similarity_figure, values_figure
from infusenet.errors import SettingsError
from infusenet.measures import PictureMeasure, PromptMeasure, Rule, comparable
from infusenet.measures.scores import Scores
from infusenet.probe import ProbeRecorder, RunInfo, Trace
from infusenet.probe.advice import advise
from infusenet.probe.background import BackgroundRecorder
from infusenet.probe.batch import in_words as batch_in_words
from infusenet.probe.batch import measured_in_words
from infusenet.probe.drift import analyse, in_words
from infusenet.probe.lines import lines_of
from infusenet.probe.recorder import CAPACITY

PICTURE, PROMPT = Rule("colour 1", {}, "picture"), Rule("words 1", {}, "prompt")
OF_FACES = ("face", "person", "people", "identity", "stranger", "arcface")


def mean_colour(pictures: Any) -> torch.Tensor:
    return torch.stack([torch.from_numpy(picture.reshape(-1, 3).mean(0)) for picture in pictures]).float()


@pytest.fixture
def measure() -> PictureMeasure:
    return PictureMeasure("net 0123456789ab (cpu)", PICTURE, mean_colour)


@pytest.fixture
def prompted() -> PromptMeasure:
    return PromptMeasure("net 0123456789ab (cpu)", PROMPT, mean_colour, lambda prompts: (torch.eye(3)[:1], None))


RED = np.full((16, 16, 3), (200, 0, 0), np.uint8)
MIXES = (0.0, 0.5, 0.9, 1.0, 0.8)  # how red each step is, between green and red


def latents(red: float, batch: int = 1) -> torch.Tensor:
    """A picture [batch, 3, 16, 16] in 0..1 that serves as its own latents."""
    return torch.tensor([red, 1 - red, 0.0]).view(1, 3, 1, 1).expand(batch, 3, 16, 16).clone()


def record(
    measure: Any, reference: Any, batch: int = 1, kind: Any = ProbeRecorder, **settings: Any
) -> tuple[Any, Trace]:
    recorder = kind(measure, reference, lambda given: given, **settings)
    info = RunInfo(steps=len(MIXES), strength=0.5, end=0.5, sampler="euler")
    recorder.start(torch.linspace(1, 0, len(MIXES) + 1), run=info)
    for step, red in enumerate(MIXES, 1):
        recorder.on_step(step, 1 - step / 6, latents(red, batch))
    return recorder, recorder.finish(latents(MIXES[-1], batch))


@pytest.fixture
def traced(measure: PictureMeasure) -> Trace:
    return record(measure, measure.reference([RED]))[1]


@pytest.mark.parametrize("when", ["live", "after"])
def test_a_run_is_measured_in_every_step(measure: PictureMeasure, when: Any) -> None:
    recorder, trace = record(measure, measure.reference([RED]), when=when)
    want = [red / float(np.hypot(red, 1 - red)) for red in MIXES]
    assert trace.means == pytest.approx(want, abs=2e-3), "8-bit pictures"
    assert all(one.found == (True,) and one.alignment == (None,) and one.score == (None,) for one in trace.records)
    assert analyse(trace).peak is not None and analyse(trace).peak.step == 4 and trace.final is not None
    assert trace.mean(trace.final) == pytest.approx(want[-1], abs=2e-3) and trace.status == "complete"
    assert recorder.gallery.get(4)[0][50, 50].tolist() == [255, 0, 0], "a small picture in RGB"
    assert trace.recognizer == "net 0123456789ab (cpu)" and trace.detector is None and trace.rule == PICTURE


def test_nothing_waits_for_a_place_that_never_comes(measure: PictureMeasure) -> None:
    """Live, no latents are kept for filling back."""
    recorder = ProbeRecorder(measure, measure.reference([RED]), lambda given: given, when="live", keep_latents="none")
    recorder.start([1.0, 0.0])
    recorder.on_step(1, 1.0, latents(0.5))
    session = recorder._running()
    assert not session.unaligned and not session.pending
    with pytest.raises(KeyError):
        session.store.get(1)


def test_a_background_run_gives_the_same(measure: PictureMeasure) -> None:
    _, trace = record(measure, measure.reference([RED]), kind=BackgroundRecorder, when="live", capacity=CAPACITY)
    assert trace.means == record(measure, measure.reference([RED]))[1].means


def test_the_record_is_read_again_and_old_ones_are_of_faces(traced: Trace) -> None:
    assert Trace.from_json(traced.to_json()) == traced
    data = json.loads(traced.to_json())
    assert data["version"] == 1 and data["rule"]["subject"] == "picture"
    del data["rule"]["subject"]
    assert Trace.from_json(json.dumps(data)).wording.others == "other people", "as before there were others"
    data["rule"]["subject"] = "smell"
    with pytest.raises(Exception, match="rule.subject"):
        Trace.from_json(json.dumps(data))


def test_runs_of_different_measures_are_not_drawn_together(traced: Trace) -> None:
    other = dataclasses.replace(traced, rule=Rule("face 1"))
    with pytest.raises(SettingsError, match=r"measured by different rules.*colour 1; face 1.*same version"):
        similarity_figure([traced, other])
    comparable([traced.rule, traced.rule], "Two runs")


def written(figure: Any) -> str:
    """All that a figure says."""
    from matplotlib.text import Text

    return "\n".join(found.get_text() for found in figure.findobj(Text))


def of_faces(text: str) -> list[str]:
    return [word for word in OF_FACES if word in text.lower()]


def test_a_report_is_not_of_faces_and_gives_no_advice(measure: PictureMeasure, traced: Trace) -> None:
    words = "\n".join([in_words(traced), measured_in_words(traced)])
    assert of_faces(words.replace("There is no advice: it was tested on faces only", "")) == []
    assert "It peaked at step 4 of 5 with a similarity of 1.000." in words
    assert "There is no advice: it was tested on faces only, and this measure looks at whole pictures" in words
    assert "What other pictures score is unknown" in words and "For comparison, blank pictures score" in words
    assert "rule: colour 1." in words and advise(traced) == ()
    as_face = dataclasses.replace(traced, rule=Rule("face 1"))
    assert [one.kind for one in advise(as_face)], "the same run of a face gets some"
    others = measure.impostors(measure.reference([RED]), [np.full((8, 8, 3), (9, 200, 0), np.uint8)] * 6)
    known = dataclasses.replace(traced, strangers=others, blank=None)
    assert "The likeness was there at step 3 of 5" in in_words(known) and "other pictures score" in in_words(known)
    assert "above other pictures from step" in in_words(known)
    assert [line.name for line in lines_of(known)] == ["other pictures"]
    assert of_faces(in_words(known).replace("There is no advice: it was tested on faces only", "")) == []


def test_a_prompts_report_speaks_of_the_prompt(prompted: PromptMeasure) -> None:
    _, trace = record(prompted, prompted.reference(["red"]), batch=2)
    words = "\n".join([in_words(trace), *batch_in_words(trace)])
    assert "this measure looks at the prompt" in words and "came out closest to the prompt" in words
    assert "unknown" not in words and "score" not in words, "it has no lines"
    assert of_faces(words.replace("There is no advice: it was tested on faces only", "")) == []
    chart = written(similarity_figure(trace))
    assert "fit to the prompt (cosine)" in chart and of_faces(chart) == [] and "unknown" not in chart


def test_a_run_in_which_nothing_can_be_measured(measure: PictureMeasure) -> None:
    recorder = ProbeRecorder(measure, measure.reference([RED]), lambda given: given)
    recorder.start([1.0, 0.0])
    recorder.on_step(1, 1.0, torch.full((1, 3, 16, 16), float("nan")))
    trace = recorder.finish(torch.full((1, 3, 16, 16), float("nan")))
    assert trace.means == (None,) and trace.records[0].found == (False,)
    assert (
        in_words(trace).startswith("None of the 1 probed predictions could be measured")
        and of_faces(in_words(trace)) == []
    )


def test_a_batch_is_told_of_without_faces(measure: PictureMeasure) -> None:
    references = [measure.reference([RED]), measure.reference([RED[..., [1, 0, 2]]])]
    _, trace = record(measure, references, batch=2)
    words = "\n".join(batch_in_words(trace))
    assert "Picture 1 of 2 came out most like the reference" in words and of_faces(words) == []
    assert trace.reference.source == "one reference per picture: references"


def test_the_charts_are_not_of_faces(measure: PictureMeasure, traced: Trace) -> None:
    recorder, _ = record(measure, measure.reference([RED]))
    chart = written(similarity_figure(traced))
    assert "similarity of whole pictures (cosine)" in chart and "other pictures: unknown" in chart
    assert "blank pictures 0." in chart and of_faces(chart) == []
    assert faces_sheet(traced, recorder.gallery).std() > 10
    lost = Tried(2, (None, 0.5), 2, 1, 0.1)
    tried, axis = [Tried(1, (0.25, 0.5), 1, 1, 0.1), lost], AXES["steps"]
    swept = written(values_figure(tried, axis, recognizer=measure.name, subject="picture"))
    assert "3 of 4 pictures could be measured" in swept and "other pictures: unknown" in swept and of_faces(swept) == []
    assert "1 of 4 pictures could not be measured." in sweep_in_words(tried, axis, "picture")
    none = [Tried(1, (None,), 1, 1, 0.1)]
    assert sweep_in_words(none, axis, "picture").startswith("None of 1 pictures could be measured, so there is no best")
    sheets = [contact_sheet([RED] * 4, tried, axis, subject=subject) for subject in ("face", "picture")]
    assert (sheets[0] != sheets[1]).any(), "the picture without a value is labelled otherwise"


def test_scores_are_told_without_faces(measure: PictureMeasure) -> None:
    reference = measure.reference([RED])
    green, black = np.full((16, 16, 3), (0, 99, 0), np.uint8), np.zeros((16, 16, 3), np.uint8)
    scores = Scores.of(measure, [green, RED, black], [reference])
    words = scores.in_words()
    assert words.startswith("Most alike: picture 2: 1.000.") and "picture 3: the picture could not be encoded" in words
    assert "other pictures: unknown" in words and of_faces(words) == [] and scores.order == (1, 0, 2)
    assert Scores.of(measure, [black], [reference]).in_words().startswith("None of 1 pictures could be measured.")
    data = json.loads(scores.to_json())
    assert data["rule"]["subject"] == "picture" and data["pictures"][2]["similarity"] is None
    assert data["detector"] is None and data["published_line"] is None
    assert scores_sheet(scores, [green, RED, black]).std() > 5
    assert scores_sheet(scores, [green, RED, black], faces=True).std() > 5


def test_a_prompts_scores_have_no_lines(prompted: PromptMeasure) -> None:
    words = Scores.of(prompted, [RED], [prompted.reference("red")]).in_words()
    assert "For comparison" not in words and "unknown" not in words


def test_the_network_that_conditions_is_named_a_network(measure: PictureMeasure) -> None:
    recorder = ProbeRecorder(measure, measure.reference([RED]), lambda given: given)
    recorder.start([1.0, 0.0], run=RunInfo(conditioning_recognizer="net 0123456789ab"))
    recorder.on_step(1, 1.0, latents(1))
    (warning,) = recorder.finish().warnings
    assert warning.startswith("The same network is used for conditioning and for measuring")


def test_a_trace_is_saved_and_loaded(traced: Trace, tmp_path: Path) -> None:
    traced.save(tmp_path / "trace.json")
    assert Trace.load(tmp_path / "trace.json").wording == traced.wording
