"""The page of a sweep: its figures, their numbers, and what is said of them."""

import base64
import csv
import io
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from infusenet.charts.plane import Place, undominated
from infusenet.charts.statistics import Point, Tone
from infusenet.sweep.jobs import Job
from infusenet.sweep.report import write_index
from infusenet.sweep.report.figures import render_figure
from infusenet.sweep.report.table import Tables, make_tables, minus, series, shown, summary, to_csv
from infusenet.sweep.request import report
from infusenet.sweep.results import read_plan, read_results
from infusenet.sweep.runner import Do, run
from infusenet.sweep.spec import FigureSpec

FIGURES = """
[[figures]]
kind = "table"
title = "Means <of all>"
[figures.paper]
"schnell" = 0.5
[[figures]]
kind = "table"
title = "Sharpness"
values = ["sharpness"]
[[figures]]
kind = "pairs"
title = "Pairs"
x = "prompt"
[[figures]]
kind = "people"
title = "People"
[[figures]]
kind = "curve"
title = "Curve"
[figures.paper]
"dev / 2" = 0.75
[[figures]]
kind = "curve"
title = "Two things"
values = ["similarity", "residual_ratio"]
[[figures]]
kind = "curve"
title = "Scenes"
panels = "prompt"
[[figures]]
kind = "people"
title = "People by scene"
panels = "prompt"
[[figures]]
kind = "plane"
title = "Plane"
values = ["similarity", "sharpness"]
[[figures]]
kind = "drift"
title = "Drift"
split = "prompt"
early = 2
[figures.paper]
"dev / beach" = 0.25
[[figures]]
kind = "map"
title = "Map"
[[figures]]
kind = "trajectory"
title = "Trajectory"
[[figures]]
kind = "blocks"
title = "Blocks"
values = ["residual_ratio"]
[[figures]]
kind = "pictures"
title = "Pictures"
people = "first 1"
[quick]"""
LEVELS = {"dev": {1: 0.2, 2: 0.5, 3: 0.4}, "schnell": {1: 0.6}}


class Maker:
    """Similarity by role and steps, higher by 0.1 for the second person; no face at the beach with schnell."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def __call__(self, rank: Any, device: str) -> Do:
        return self.do

    def do(self, job: Job) -> dict[str, Any]:
        value: float | None = LEVELS[job.role][job.steps] + 0.1 * (job.identity == "drawn:1")
        if job.role == "schnell" and "beach" in job.prompt:
            value = None
        (self.out / "pictures").mkdir(exist_ok=True)
        Image.fromarray(np.full((128, 128, 3), 90, np.uint8)).save(self.out / "pictures" / f"{job.id}.png")
        seen = [
            {"step": n + 1, "similarity": likeness, "sharpness": 0.1, "contrast": 0.2}
            for n, likeness in enumerate([0.1, 0.4, 0.3][: job.steps])
        ]
        one = {"double": [0.5, 0.7], "single": [1.0], "residual_double": [0.1, 0.3], "residual_single": None}
        told = {
            "streams": [one] * job.steps,
            "similarity": value,
            "sharpness": LEVELS[job.role][job.steps] / 10,
            "reason": None if value else "no face",
            "seconds": job.steps * 1.0,
            "alone": True,
        }
        return told | {"trajectory": seen, "recognizer": "judge.onnx 1234", "device": "cpu", "versions": {"torch": "9"}}


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep with its page."""
    from .conftest import SMALL, plan_from  # type: ignore[import-not-found]

    home = tmp_path_factory.mktemp("page")
    out, spec = home / "out", home / "small.toml"
    text = SMALL.replace("[quick]", FIGURES).replace("steps = [1, 2]", "steps = [1, 2, 3]")
    spec.write_text(text.replace('title = "Small"', 'title = "Small & fine"\nmetrics = ["trajectory", "streams"]'))
    run(plan_from(spec), out, Maker(out), device="cpu", quiet=True)
    report(out)
    return out


@pytest.fixture
def folder(drawn_once: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(drawn_once, tmp_path / "out"))


def tables_of(out: Path) -> Tables:
    return make_tables(read_results(out))


def numbers(out: Path, name: str) -> list[dict[str, str]]:
    (path,) = (out / "figures").glob(f"*-{name}.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_value_against_another(folder: Path) -> None:
    rows = numbers(folder, "plane")
    assert [row["method"] for row in rows] == ["dev, steps 1", "dev, steps 2", "dev, steps 3", "schnell"]
    assert float(rows[3]["similarity"]) == pytest.approx(0.65) and float(rows[3]["sharpness"]) == pytest.approx(0.06)
    assert rows[0]["similarity low"] == "", "two people have no interval"


def test_the_best_trade_offs_are_those_that_no_other_one_beats() -> None:
    at = {"a": (0.9, 0.2), "b": (0.8, 0.5), "c": (0.7, 0.4), "d": (0.3, 0.6), "e": (0.9, 0.1), "f": (0.5, 0.5)}
    places = [Place(name, Tone(0), *(Point(0, mean, None, None) for mean in means)) for name, means in at.items()]
    assert [place.label for place in undominated(places)] == ["d", "b", "a"]


def test_means_and_differences(folder: Path) -> None:
    rows = numbers(folder, "means-of-all")
    assert [row["method"] for row in rows] == ["dev, steps 1", "dev, steps 2", "dev, steps 3", "schnell"]
    assert [float(row["mean"]) for row in rows] == pytest.approx([0.25, 0.55, 0.45, 0.65])
    assert [row["n"] for row in rows] == ["4", "4", "4", "2"]
    assert rows[3]["missing"] == "2"  # without a face: counted, not 0
    assert (rows[3]["paper"], rows[0]["paper"]) == ("0.5", "")
    assert float(rows[1]["difference"]) == pytest.approx(0.3)
    assert float(rows[3]["difference"]) == pytest.approx(0.4)
    assert (rows[3]["pairs"], rows[0]["difference"]) == ("2", "")
    assert float(rows[1]["speed-up"]) == pytest.approx(0.5)
    assert "ratio" not in rows[1]
    sharpness = numbers(folder, "sharpness")
    assert float(sharpness[1]["ratio"]) == pytest.approx(2.5) and sharpness[1]["ratio low"] == ""


def test_curves_and_drift(folder: Path) -> None:
    curve = [row for row in numbers(folder, "curve") if row["line"] == "dev"]
    assert [(row["steps"], round(float(row["mean"]), 6)) for row in curve] == [("1", 0.25), ("2", 0.55), ("3", 0.45)]
    assert [row["paper"] for row in curve] == ["", "0.75", ""]
    drift = {(row["method"], row["group"]): row for row in numbers(folder, "drift")}
    beach = drift["dev", "beach"]
    assert [float(beach[name]) for name in ("lost", "peak less end", "peak", "end")] == pytest.approx(
        [0.1, 0.1, 0.55, 0.45]
    )
    assert (beach["peak at"], beach["steps"], beach["low"]) == ("2", "2 to 3", "")  # two people: no interval
    assert float(beach["peak that others chose"]) == pytest.approx(0.1)
    assert float(beach["by noise alone"]) == pytest.approx(0, abs=1e-9)  # both people have the same curve
    assert (beach["paper"], drift["dev", "portrait"]["paper"]) == ("0.25", "")
    assert drift["schnell", "beach"]["peak less end"] == ""
    assert float(drift["schnell", "portrait"]["peak less end"]) == 0
    cells = {(row["method"], row["prompt"], row["steps"]): row["mean"] for row in numbers(folder, "map")}
    assert float(cells["dev", "beach", "2"]) == pytest.approx(0.55)
    assert cells["schnell", "beach", "1"] == ""


def test_panels(folder: Path) -> None:
    both = {(row["value"], row["line"], row["steps"]): row["mean"] for row in numbers(folder, "two-things")}
    assert float(both["similarity", "dev", "2"]) == pytest.approx(0.55)
    assert float(both["residual over hidden state", "dev", "2"]) == pytest.approx(0.2)
    scenes = {(row["panel"], row["line"], row["steps"]): row for row in numbers(folder, "scenes")}
    assert float(scenes["portrait", "schnell", "1"]["mean"]) == pytest.approx(0.65)
    assert (scenes["beach", "schnell", "1"]["mean"], scenes["beach", "schnell", "1"]["missing"]) == ("", "2")
    people = {(row["prompt"], row["person"]): row for row in numbers(folder, "people-by-scene")}
    assert float(people["portrait", "drawn-02"]["schnell"]) == pytest.approx(0.7)
    assert people["beach", "drawn-02"]["schnell"] == ""
    assert "schnell is at least as high as dev in 2 of 2." in (folder / "report.html").read_text()


def test_a_trajectory_is_another_thing_than_a_budget(folder: Path) -> None:
    rows = numbers(folder, "trajectory")
    assert [row["step"] for row in rows if row["method"] == "dev, steps 3"] == ["1", "2", "3"]
    page = (folder / "report.html").read_text()
    assert page.count("not a run with that many steps") >= 1
    assert "early window" not in page
    assert page.count("separate runs that start from the same noise") >= 1


def test_blocks_and_steps(folder: Path) -> None:
    cells = {(row["method"], row["block"], row["step of the run"]): row["mean"] for row in numbers(folder, "blocks")}
    assert float(cells["dev", "double 2", "3"]) == pytest.approx(0.3)
    assert cells["dev", "single 1", "3"] == ""
    assert len(cells) == 3 * 3 + 3 * 1
    steps = tables_of(folder).steps
    assert set(steps["stream_ratio"]) == {0.6}
    assert set(steps["residual_ratio"]) == {0.2}


class Reader(HTMLParser):
    """What a page asks for, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_everything(folder: Path) -> None:
    page, reader = (folder / "report.html").read_text(), Reader()
    reader.feed(page)
    assert reader.open == []
    assert len(reader.sources) == 2 * 14  # light and dark
    for source in reader.sources:
        assert base64.b64decode(source.removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"
    assert page.count('media="screen and (prefers-color-scheme: dark)"') == 14
    assert "Small &amp; fine" in page
    assert "Means &lt;of all&gt;" in page
    assert "16 of 16 pictures were made; 0 failed; in 2 no face was found." in page
    for text in ("judge.onnx 1234", "mini-dev x", "torch 9", "infusenet sweep small.toml"):
        assert page.count(text) >= 8, text  # below every figure
    assert len(list((folder / "figures").glob("[0-9]*.png"))) == len(list((folder / "figures").glob("*.csv"))) == 14
    assert not re.search(r"\bnan\b|None|Traceback", re.sub('base64,[^"]*', "", page))


def test_an_index_leads_to_the_pages(folder: Path) -> None:
    path, reader = write_index(folder.parent, [folder.name]), Reader()
    reader.feed(path.read_text())
    assert reader.open == []
    links = [source for source in reader.sources if not source.startswith("data:")]
    assert [(path.parent / link).is_file() for link in links] == [True]
    assert "Small &amp; fine" in path.read_text()


def test_a_folder_of_sweeps_is_reported_as_a_whole(folder: Path) -> None:
    home = folder.parent / "all"
    for name in ("own", "step-budget", "main-table"):
        shutil.copytree(folder, home / name)
        (home / name / "report.html").unlink()
    told = report(home).splitlines()
    assert [line.split(":")[0] for line in told[:-1]] == ["main-table", "step-budget", "own"]
    assert told[0].endswith("16 of 16 pictures made, 0 failed, 0 missing.")
    assert all((home / name / "report.html").is_file() for name in ("own", "step-budget", "main-table"))
    assert (home / "index.html").is_file()


def test_it_says_that_it_rests_on_one_training_seed(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "comes from one set of weights, that is, one training seed" in page
    assert "Nothing here is a finding about FLUX" in " ".join(page.split())


def test_a_sweep_that_has_not_begun_has_a_page_too(folder: Path) -> None:
    for path in (folder / "results").iterdir():
        path.unlink()
    assert "0 of 16 pictures made, 0 failed, 16 missing" in report(folder)
    assert "0 of 16 pictures were made" in (folder / "report.html").read_text()


def test_a_figure_of_which_nothing_is_known_says_so_whatever_its_kind(folder: Path) -> None:
    results = read_results(folder)
    tables, kinds = make_tables(results), set()
    for figure in results.record.figures:
        made = render_figure(figure.model_copy(update={"methods": ["nobody"]}), tables, folder)
        kinds.add(figure.kind)
        for content in (made.light, made.dark):
            assert np.asarray(Image.open(io.BytesIO(content)).convert("L")).std() > 1, figure.kind
        assert made.rows == []
    assert len(kinds) >= 7


def test_whom_a_figure_shows(folder: Path) -> None:
    table, same = tables_of(folder).points, {"kind": "table", "title": "x"}
    everyone = FigureSpec(**same, methods=["schnell", "dev"], prompts=["beach", "portrait"])
    assert next(iter(series(shown(table, everyone)))) == "schnell"  # the figure's order
    assert next(iter(series(shown(table, FigureSpec(**same))))) == "dev, steps 1"
    table = pd.concat([table, table.assign(seed=1)])
    for text, people, seeds in (
        ("first 1", {"drawn-01"}, {0, 1}),
        ("top 1", {"drawn-02"}, {1}),  # chosen by one noise, shown in the other
        ("top 9", {"drawn-01", "drawn-02"}, {1}),
    ):
        chosen = FigureSpec(**same, methods=["dev"], prompts=["beach"], people=text)
        rows = shown(table, chosen)
        assert (set(rows["person"]), set(rows["seed"])) == (people, seeds)


def test_the_best_of_one_noise_are_not_claimed(folder: Path) -> None:
    figure = FigureSpec(kind="curve", title="x", people="top 1")
    found = render_figure(figure, tables_of(folder), folder)
    assert found.rows == []
    assert found.caption.startswith("No claim is made")


def test_a_difference_is_to_the_same_picture_for_every_value(folder: Path) -> None:
    table = tables_of(folder).points[:5].assign(method="dev", person="a", prompt="p", seed=0)
    values = [(0.0, 4, 0.125, 3.0), (1.0, 4, 0.5, 5.0), (1.0, 8, 0.75, 6.0), (0.25, 4, None, 4.0), (0.0, 8, None, 1.0)]
    strength, steps, similarity, seconds = zip(*values, strict=True)
    table = table.assign(strength=strength, steps=steps, similarity=similarity, seconds=seconds)
    table["similarity"] = table["similarity"].astype("float64")
    figure = FigureSpec(kind="curve", title="x", split="strength", minus=0.0, values=["similarity", "seconds"])
    found = minus(table, figure)
    rows = found[["strength", "steps", "similarity", "seconds"]].astype(object).where(found.notna(), None)
    assert rows.values.tolist() == [[1.0, 4, 0.375, 2.0], [1.0, 8, None, 5.0], [0.25, 4, None, 1.0]]


def test_seconds_count_where_a_job_ran_alone(folder: Path) -> None:
    table = tables_of(folder).points[:4].assign(seconds=[1.0, 2.0, 4.0, 9.0])
    table["alone"] = pd.array([True, None, True, False], "boolean")
    found = summary(table, "seconds")
    assert (found.n, found.missing, found.mean) == (2, 2, 2.5)


def test_light_and_dark_are_the_same_figure(folder: Path) -> None:
    tables = tables_of(folder)
    for figure in read_plan(folder)[0].figures:
        rendered = render_figure(figure, tables, folder)
        assert rendered.light != rendered.dark
        assert rendered.rows


def test_a_panel_without_values_says_so_and_shows_no_scale() -> None:
    from infusenet.charts.panels import Panel, curves
    from infusenet.charts.statistics import Point, Tone

    known, unknown = [Point(1, 0.5, None, None), Point(2, 0.6, None, None)], [Point(1, None, None, None)]
    panels = [
        Panel("seconds", {"dev": unknown}),
        Panel("similarity", {"dev": known}),
        Panel("contrast", {"dev": known}),
    ]
    for order in (panels, panels[1:] + panels[:1]):
        figure = curves(order, "steps", {"dev": Tone(0)}, "light")
        figure.draw_without_rendering()
        measured = [panel.title != "seconds" for panel in order]
        texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
        assert texts == [[] if known else ["not measured"] for known in measured]
        scales = [any(tick.label1.get_visible() for tick in axes.yaxis.get_major_ticks()) for axes in figure.axes]
        assert scales == [index == measured.index(True) for index in range(3)]  # once in a row, where there are values


def test_pairs_of_several_settings_stand_apart() -> None:
    """A dot is a picture: one person's pictures of two step counts are not one dot."""
    from types import SimpleNamespace

    from infusenet.sweep.report.figures import _pairs

    values, same = {("a", 1): 0.1, ("a", 2): 0.5, ("b", 1): 0.3}, {"status": "done", "rule": "face 1"}
    rows = [
        {
            "method": method,
            "person": who,
            "prompt": "p",
            "seed": 0,
            "steps": steps,
            "similarity": value,
            **same,
        }
        for (method, steps), value in values.items()
        for who in ("ann", "ben")
    ]
    figure = SimpleNamespace(x="prompt", value="similarity", paper={})
    found = _pairs(figure, pd.DataFrame(rows).astype({"prompt": object, "method": object}), {}).rows
    assert [(row["method"], row["n"], row["mean"]) for row in found] == [
        ("a, steps 1", 2, 0.1),
        ("a, steps 2", 2, 0.5),
        ("b", 2, 0.3),
    ]
    assert found[1]["difference"] == pytest.approx(0.4) and found[2]["difference"] == pytest.approx(0.2)


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2", "@SUM(A1)", "\t=1"])
def test_no_text_of_a_table_is_a_formula(text: str) -> None:
    frame = pd.DataFrame({"person": [text, "ann"], text: [-0.5, None], "n": pd.array([-3, None], "Int64")})
    head, first, second = csv.reader(io.StringIO(to_csv(frame).decode(), newline=""))
    assert head == ["person", f"'{text}", "n"]
    assert first == [f"'{text}", "-0.5", "-3"]  # numbers stay numbers
    assert second == ["ann", "", ""]
