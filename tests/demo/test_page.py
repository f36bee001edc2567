"""The demo's findings and page, from invented figures: no network runs here."""

import base64
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from infusenet.demo.findings import (
    BackboneResults,
    DemoResults,
    MeasuredPicture,
    reading,
    rounded,
    spread,
    summarise,
    table,
)
from infusenet.demo.page import demo_page
from infusenet.measures import Baseline, ReferenceInfo, Rule
from infusenet.probe import RunInfo, StepRecord, Trace

PROMPTS = ("a person", "a person with <b>hats</b> & more")


def trace_of(backbone: str, *similarities: float) -> Trace:
    sigmas = tuple(1 - i / len(similarities) for i in range(len(similarities) + 1))
    none = (None,)
    records = tuple(
        StepRecord(i + 1, sigmas[i], (value,), (True,), ("detected",), none, none, none)
        for i, value in enumerate(similarities)
    )
    return Trace(
        records=records,
        final=replace(records[-1], sigma=0.0),
        batch=1,
        every=1,
        sigmas=sigmas,
        reference=ReferenceInfo(1),
        strangers=Baseline(-0.2, 0.05, 30),
        ceiling=None,
        recognizer="rec.onnx 0123",
        detector="det.onnx 4567",
        rule=Rule("face 1"),
        blank=Baseline(0.1, 0.05, 16),
        evaluation="after",
        status="complete",
        reason=None,
        warnings=(),
        seconds_in_loop=0.0,
        seconds_after=0.0,
        run=RunInfo(backbone=backbone, steps=len(records), versions={"torch": "9.9"}),
    )


@pytest.fixture
def results(tmp_path) -> DemoResults:
    for name in ("reference", "quick", "slow", "sheet"):
        Image.fromarray(np.full([8, 8, 3], len(name) * 20, np.uint8)).save(tmp_path / f"{name}.png")

    def of(name, colour, steps, seconds, similarities, trace):
        file = tmp_path / f"{'quick' if steps == 4 else 'slow'}.png"
        pictures = tuple(MeasuredPicture(file, value) for value in similarities)
        sheet = tmp_path / "sheet.png"
        return BackboneResults(name, colour, steps, seconds, pictures, trace, sheet, sheet.read_bytes())

    quick = of("mini-schnell", "curve-2", 4, 0.1, [0.5, None], trace_of("mini-schnell", 0.2, 0.4))
    slow = of("mini-dev", "curve-1", 28, 0.4, [0.25, 0.75], trace_of("mini-dev", 0.1, 0.5, 0.3))
    return DemoResults(tmp_path / "reference.png", "somebody", PROMPTS, 0, (quick, slow), (-0.1, 0.1), (0.8,), 3)


def test_summary_counts_what_is_undefined(results):
    summary = summarise(results)
    quick = summary["backbones"]["mini-schnell"]
    assert quick["similarity"] == 0.5
    assert quick["similarity_std"] is None
    assert quick["faces_found"] == 1
    assert quick["pictures"] == 2
    assert summary["backbones"]["mini-dev"]["similarity"] == 0.5
    assert summary["backbones"]["mini-dev"]["similarity_std"] == pytest.approx(math.sqrt(0.125), abs=1e-4)
    assert summary["stranger_similarity"] == 0
    json.dumps(summary, allow_nan=False)


def test_spread_and_rounding():
    assert spread([0.5]) is None
    assert rounded(None) is None
    assert rounded(0.123456) == 0.1235


def test_table_is_aligned_and_short(results):
    lines = table(summarise(results)).splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines[:3]}) == 1
    assert "1/2" in lines[1]
    assert lines[3].startswith("strangers")


def test_reading_says_only_what_is_there(results):
    assert len(reading(results)) == 3
    assert "4.0 times as long" in reading(results)[-1]
    without = replace(results, genuine=())
    assert len(reading(without)) == 2
    nobody = replace(without, backbones=tuple(replace(each, pictures=()) for each in results.backbones))
    assert len(reading(nobody)) == 1


def test_page_escapes_and_shows_everything(results):
    page = demo_page(results, summarise(results))
    assert "<b>hats</b>" not in page
    assert "a person with &lt;b&gt;hats&lt;/b&gt; &amp; more" in page
    assert page.count('<article class="card">') == 2
    assert page.count("other people score −0.200 ± 0.050") == 2, "what each trace says, with a true minus sign"
    assert "no face" in page
    assert "rec.onnx 0123" in page and "det.onnx 4567" in page
    assert "the same person, drawn again" in page
    assert "strangers: mean 0.00, 2 dots; mini-schnell, 4 steps: mean 0.50, 1 dots" in page, "in words beside the chart"
    assert not re.search("[{}]", page.split("</style>")[1])


def test_page_without_true_pictures_has_no_ceiling(results):
    page = demo_page(replace(results, genuine=()), summarise(results))
    assert "drawn again" not in page
    assert "ceiling" not in page


def test_every_picture_of_the_page_is_whole(results):
    page = demo_page(results, summarise(results))
    sources = re.findall(r'(?:src|srcset)="data:image/png;base64,([^"]+)"', page)
    assert len(sources) == 1 + 4 + 2 * 2 + 2 * 4, "reference, pictures, sheets, two charts in two themes and two widths"
    for source in sources:
        Image.open(io.BytesIO(base64.b64decode(source, validate=True))).load()
