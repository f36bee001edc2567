"""The demo's findings and page, from invented figures: no network runs here."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from infusenet.demo.findings import page_of, reading, rounded, spread, summarise, table
from infusenet.demo.page import Series, Shot, render
from infusenet.demo.svg import Run
from infusenet.measures import Baseline, Rule

PROMPTS = ("a person", "a person with <b>hats</b> & more")


@pytest.fixture
def out(tmp_path):
    for name in ("reference", "quick", "slow", "sheet"):
        Image.fromarray(np.full([8, 8, 3], len(name) * 20, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def series(out):
    def of(name, colour, steps, seconds, similarities):
        run = Run(name, colour, [1.0, 0.5], [0.1, 0.4])
        shots = tuple(Shot(out / f"{colour}.png", value) for value in similarities)
        return Series(
            name, colour, steps, seconds, shots, run, "First thought.\nSecond & mini-2: -0.5.", out / "sheet.png", b"x"
        )

    return [of("mini-schnell", "quick", 4, 0.1, [0.5, None]), of("mini-dev", "slow", 28, 0.4, [0.25, 0.75])]


@pytest.fixture
def trace():
    return SimpleNamespace(
        recognizer="rec.onnx 0123",
        detector="det.onnx 4567",
        rule=Rule("face 1"),
        blank=Baseline(0.1, 0.05, 16),
        run=SimpleNamespace(versions={"torch": "9.9"}),
    )


@pytest.fixture
def summary(series, trace):
    return summarise(series, [-0.1, 0.1], [0.8], trace, "somebody", 3)


def test_summary_counts_what_is_undefined(summary):
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


def test_table_is_aligned_and_short(summary):
    lines = table(summary).splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines[:3]}) == 1
    assert "1/2" in lines[1]
    assert lines[3].startswith("strangers")


def test_reading_says_only_what_is_there(series):
    assert len(reading(series, [0.0], [0.8])) == 3
    assert len(reading(series, [0.0], [])) == 2
    nobody = [Series(s.name, s.colour, s.steps, s.seconds, (), s.run, s.words, s.sheet, s.dark_sheet) for s in series]
    assert len(reading(nobody, [0.0], [])) == 1
    assert "4.0 times the time" in reading(series, [0.0], [])[-1]


def test_page_escapes_and_shows_everything(out, series, summary):
    page = render(page_of(out, PROMPTS, 0, series, [-0.1, 0.1], [0.8], summary))
    assert "<b>hats</b>" not in page
    assert "a person with &lt;b&gt;hats&lt;/b&gt; &amp; more" in page
    assert page.count('<article class="card">') == 2
    assert page.count("<p>First thought.</p><p>Second &amp; mini-2: −0.5.</p>") == 2
    assert "no face" in page
    assert "rec.onnx 0123" in page
    assert "the same person, drawn again" in page
    assert "$" not in page.split("</style>")[1]


def test_page_without_true_pictures_has_no_ceiling(out, series, summary):
    page = render(page_of(out, PROMPTS, 0, series, [0.0], [], summary))
    assert "drawn again" not in page
    assert "ceiling" not in page


def test_style_knows_dark_and_print():
    from infusenet.demo.page import STYLE

    style = STYLE.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert "url(" not in style
    assert "@import" not in style
