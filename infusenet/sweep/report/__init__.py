"""From a sweep's results to its tables, figures and page: one HTML file with every figure and its numbers inside."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...charts.labels import MISSING
from ...charts.palette import png
from ...charts.panels import claims_strip
from ...charts.statistics import Point
from ...errors import PackageError
from ...files import write_atomically
from ...measures import comparable
from ...pages import readable, render
from ..figure_spec import FigureSpec
from ..results import Results, result_path

try:
    import pandas as pd
except ImportError:
    raise PackageError("Sweep reports need pandas. Run: pip install pandas") from None

from .figures import RenderedFigure, render_figure
from .shown import unseen_in_words
from .table import make_tables, table_files, to_csv
from .verdicts import COLOURS, ORDER, WORDS, Verdict, in_order

_OPEN = 14  # tables of up to so many lines are shown open
FOUND = "verdicts.json"


def write_report(results: Results) -> str:
    """Write tables, figures, verdicts and page of a sweep into its folder, and return what to tell the user.

    Raises:
        SettingsError: its pictures were measured by different rules.
    """
    tables, record = make_tables(results), results.record
    seen = tables.points[tables.points["similarity"].notna()]
    rules = [None if pd.isna(rule) else rule for rule in seen["rule"]]
    comparable(rules, f"The pictures in {results.folder}")
    figures = [
        _section(figure, render_figure(figure, tables, results.folder, results.levels), number)
        for number, figure in enumerate(record.figures, 1)
    ]
    found = [verdict for figure in figures for verdict in figure.rendered.verdicts]
    facts, limits = _facts(results, tables.points), _limits(tables.points)
    page = render(
        "sweep.html",
        record=record,
        state=_state(results, tables.points),
        limits=limits,
        verdicts=in_order(found),
        words=WORDS,
        figures=figures,
        facts=facts,
        rests="; ".join(facts[key] for key in ("Recognizer for measuring", "Backbones", "Versions")),
    )
    files = dict(table_files(tables))
    files |= {f"figures/{figure.name}.{kind}": content for figure in figures for kind, content in figure.files.items()}
    heads: dict[str, Any] = {"title": record.title, "about": record.about, "limits": limits}
    told = heads | {"verdicts": [{**asdict(each), "line": each.line} for each in found]}
    files |= {FOUND: json.dumps(told, indent=1).encode(), "report.html": page.encode()}
    _write(results.folder, files)
    table, page_path = results.folder / "table.csv", results.folder / "report.html"
    return "\n".join([*_told(results), f"Table: {table}", f"Open {page_path} in a browser."])


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    (folder / "figures").mkdir(exist_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)


def write_index(folder: Path, names: Sequence[str]) -> Path:
    """Write index.html, which leads to the pages of several sweeps in a folder: what contradicts the paper first."""
    sweeps = []
    for name in names:
        told = json.loads((folder / name / FOUND).read_bytes())
        found = [Verdict.of(record) for record in told.pop("verdicts")]
        found = [*found[:1], *in_order(found[1:])]
        points = [(Point(0, each.mean, each.low, each.high), each) for each in found if not each.ratio]
        strip = [(point, each.paper, COLOURS.get(each.status)) for point, each in points]
        small = {theme: png(claims_strip(strip, theme)) for theme in ("light", "dark") if strip}
        sweeps.append({**told, **small, "name": name, "verdicts": found})
    every = [verdict for sweep in sweeps for verdict in sweep["verdicts"]]
    sweeps.sort(key=lambda sweep: min((ORDER.index(each.status) for each in sweep["verdicts"]), default=len(ORDER)))
    counts = {status: sum(each.status == status for each in every) for status in ORDER}
    limits = list(dict.fromkeys(sentence for sweep in sweeps for sentence in sweep["limits"]))
    page = render("index.html", sweeps=sweeps, counts=counts, words=WORDS, count=len(every), limits=limits)
    write_atomically(folder / "index.html", page.encode())
    return folder / "index.html"


def _told(results: Results) -> list[str]:
    """How far the sweep is, and what is wrong."""
    jobs = {point.job.id: point.job for point in results.points}
    failed = [job for job in jobs.values() if job.id in results.of and results.of[job.id].status == "failed"]
    whole = len(results.of) - len(failed) - len(results.unpictured)
    lines = [f"{whole} of {len(jobs)} pictures made, {len(failed)} failed, {len(jobs) - whole - len(failed)} missing."]
    if failed:
        error = results.of[failed[0].id].error
        name = result_path(results.folder, failed[0]).name
        lines.append(f"  for example {name}: {error} (try again with --retry)")
    if results.unpictured:
        count = len(results.unpictured)
        lines.append(f"  {count} measured, but the picture is missing or damaged; run the same sweep to make it again")
    if results.broken:
        many, first = len(results.broken), f"results/{results.broken[0]}.json"
        lines.append(f"  {many} results cannot be read, such as {first}; run the same sweep to make them again")
    return lines


# -- the page's words ----------------------------------------------------------------------------------------------


def _state(results: Results, points: pd.DataFrame) -> str:
    done = points[points["status"] == "done"]
    pictured = int((~done["job"].isin(results.unpictured)).sum())
    unseen, failed = int(done["similarity"].isna().sum()), int((points["status"] == "failed").sum())
    lack = "no face was found" if unseen_in_words(points) == "without a face" else "likeness is undefined"
    text = f"{pictured} of {len(points)} pictures were made; {failed} failed; in {unseen} {lack}."
    if failed or unseen:
        text += " They count as missing, never as 0."
    dropped = results.record.dropped
    if dropped:
        text += f" {len(dropped)} people were left out: " + "; ".join(f"{who} ({why})" for who, why in dropped) + "."
    return text


def _limits(points: pd.DataFrame) -> list[str]:
    """What no interval on the page can tell; the most important first."""
    of_mini = (
        "These are drawn people and a miniature of FLUX, made for trying out the method. Nothing here is a finding "
        "about FLUX. The paper's numbers, where shown, are for FLUX and photos."
    )
    rest = (
        "Every number comes from one set of weights, that is, one training seed. The intervals are over people and "
        "do not show how another training run would have turned out. One in twenty verdicts may be chance."
    )
    return [of_mini, rest] if points["backbone"].str.startswith("mini-").any() else [rest]


def _facts(results: Results, points: pd.DataFrame) -> dict[str, str]:
    """What every figure rests on."""
    record, of = results.record, list(dict.fromkeys(point.job.id for point in results.points))
    each = [results.of[job] for job in of if job in results.of]
    versions: Mapping[str, str] = next((result.versions for result in each if result.versions), {})
    devices = _distinct(result.device for result in each)
    alone = set(points["alone"][points["seconds"].notna()])
    measured = "in jobs that ran alone on their device" if alone == {True} else "only in jobs that ran alone"
    perceptual = _distinct(result.note("lpips_with") for result in each)
    perceptual += [f"not measured: {why}" for why in _distinct(result.note("lpips_reason") for result in each)]
    return {
        "Command": record.command,
        "Backbones": ", ".join(sorted(points["backbone"].unique())),
        "Recognizer for measuring": ", ".join(_distinct(points["recognizer"])) or MISSING,
        "How it was measured": ", ".join(_distinct(points["rule"])) or "not recorded",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or MISSING,
        "People": f"{len(record.people)}",
        "Prompts": "; ".join(f"{label}: {text}" for label, text in record.prompts),
        "Seeds": (
            f"{', '.join(map(str, record.seeds))}; each seed gives one noise for all methods and prompts of a person"
        ),
        "Seconds": f"from prompt to picture with the models loaded, {measured}; {', '.join(devices) or MISSING}",
        **({"LPIPS": "; ".join(perceptual)} if perceptual else {}),
        "Provenance": "every picture is AI-generated and marked as such in its metadata",
    }


def _distinct(texts: Any) -> list[str]:
    return sorted({text for text in texts if isinstance(text, str) and text})


# -- figures and their numbers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Section:
    """A figure on the page: its specification, its pictures, its files' name, and its numbers as cells."""

    spec: FigureSpec
    rendered: RenderedFigure
    name: str
    header: list[tuple[str, str]]  # a column and its class
    rows: list[list[tuple[str, str]]]
    files: dict[str, bytes]  # by their ending

    @property
    def is_open(self) -> bool:
        """Whether the numbers are shown at once."""
        return len(self.rows) <= _OPEN and self.spec.kind != "pictures"


def _section(figure: FigureSpec, rendered: RenderedFigure, number: int) -> _Section:
    name = f"{number:02d}-{re.sub('[^a-z0-9]+', '-', figure.title.lower()).strip('-')[:60]}"
    header, rows = readable(rendered.rows)
    files = {"png": rendered.light, "csv": to_csv(pd.DataFrame(rendered.rows, dtype=object))}
    return _Section(figure, rendered, name, header, rows, files)
