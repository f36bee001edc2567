"""A comparison as text: the terminal's table, compare.json and compare.csv. Pure; no embedding is told."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..measures import LEAST_IMPOSTORS, Baseline
from ..measures.baselines import DEVIATIONS
from ..measures.lines import BLANK, OTHERS, Kind, judging_lines, published_name
from .results import Comparison, Judge, Measured, PictureResult

CAUTION = (
    "This is one recognizer's opinion, and recognizers work better for some people than for others. It is "
    "not proof of identity."
)
_COLUMNS = ("path", "similarity", "verdict", "copy_paste", "score", "reason")


def shown(path: Path | str) -> str:
    """A path for reading: what no file of text can hold is replaced, what would steer a terminal too."""
    text = str(path).encode("utf-8", "replace").decode()
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


@dataclass(frozen=True)
class JudgeLine:
    """One of the lines that a likeness is held against.

    Attributes:
        kind: as of `measures.lines.Line`.
        name: what scores it.
        value: what a likeness must exceed to be above it; None = unknown.
        words: what it rests on, or why it is unknown; "" where there is nothing to say.
    """

    kind: Kind
    name: str
    value: float | None
    words: str


def lines_of(judge: Judge) -> list[JudgeLine]:
    """The lines that a likeness is held against, known or not."""
    few = len(judge.impostor_scores)
    lacking = f"unknown: {few} faces, {LEAST_IMPOSTORS} are needed" if few else "unknown: no other people given"
    upper = {line.kind: line.upper for line in judging_lines(judge.impostor, judge.blank)}
    genuine = None if judge.genuine is None else judge.genuine.mean
    published = "its makers' line for the same person" if judge.published_line else ""
    return [
        JudgeLine("genuine", "same person", genuine, _words(judge.genuine, "photos")),
        JudgeLine("published", published_name(judge.recognizer), judge.published_line, published),
        JudgeLine("impostor", OTHERS, upper.get("impostor"), _words(judge.impostor, "faces") or lacking),
        JudgeLine("blank", BLANK, upper.get("blank"), _words(judge.blank, "crops without a face")),
    ]


def _words(line: Baseline | None, what: str) -> str:
    if line is None:
        return ""
    spread = "" if line.std is None else f" sd {line.std:.2f}"
    return f"mean {line.mean:.2f}{spread}, {line.count} {what if line.count > 1 else what.rstrip('s')}"


def table(comparison: Comparison) -> str:
    """The terminal's table: the most alike first, the known lines at their place, then what could not be measured."""
    first, second = comparison.first, comparison.second
    texts = [f"measured by {first.recognizer}"]
    if second is not None:
        texts.append(f"and, in the second column, by {second.recognizer}")
    if first.licence is not None:
        texts.append(f"licence: {first.licence}")
    turned = f", {first.turned} of them turned upright" if first.turned else ""
    texts.append(f"reference: {first.photos} photo{'s' * (first.photos > 1)}{turned}\n")
    rows: list[tuple[float, int, list[str]]] = [
        (result.first.similarity or 0.0, 1, _row(result, comparison)) for result in comparison.measured
    ]
    for line in lines_of(first):
        if line.value is not None:
            above = f" + {DEVIATIONS} sd" if line.kind in ("impostor", "blank") else ""
            columns = [f"{line.value:.3f}", *[""] * (second is not None), *[""] * (comparison.other_photo is not None)]
            rows.append((line.value, 0, [*columns, f"--- {line.name}{above}", f"({line.words})"]))
    head = ["likeness", *["second"] * (second is not None), *["copy"] * (comparison.other_photo is not None)]
    body = [row for _, _, row in sorted(rows, key=lambda row: (-row[0], row[1]))]
    texts += _aligned([[*head, "", ""], *body], len(head))
    texts += [f"{'-':>{len(head[0])}}  {shown(result.path)}: {reason_of(result)}" for result in comparison.unmeasured]
    unknown = [f"{line.name}: {line.words}" for line in lines_of(first) if line.value is None and line.words]
    if comparison.other_photo is not None:
        unknown.append(
            "copy: 1 = the reference photo itself, 0 = equally close to another photo of the person, below 0 = "
            "closer to that one"
        )
    return "\n".join([*texts, "", *unknown, *map(shown, comparison.notes), CAUTION])


def _row(result: PictureResult, comparison: Comparison) -> list[str]:
    columns = [_figure(result.first.similarity, 3)]
    if comparison.second is not None:
        columns.append(_figure(None if result.second is None else result.second.similarity, 3))
    if comparison.other_photo is not None:
        columns.append(_figure(result.first.copy_paste, 2))
    return [*columns, shown(result.path), result.first.verdict or ""]


def reason_of(result: PictureResult) -> str:
    """Why there is no likeness, for a reader who has the path before the eyes."""
    reason, path = shown(result.first.reason or ""), shown(result.path)
    return reason.removeprefix(f"{path} is ").replace(f"There is no picture {path}.", "there is no such file.")


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]], figures: int) -> list[str]:
    """Columns of one width: figures to the right, words to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column < figures else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def to_json(comparison: Comparison) -> str:
    """compare.json: what measured, the lines, and one entry a picture, the most alike first. Undefined is null."""
    content = {
        **_judge(comparison.first),
        "reference": {**_reference(comparison.first), "files": [str(path) for path in comparison.reference]},
        "other_photo": None
        if comparison.other_photo is None
        else {"path": str(comparison.other_photo), "similarity": comparison.first.other_photo},
        "second": None
        if comparison.second is None
        else {**_judge(comparison.second), "reference": _reference(comparison.second)},
        "pictures": [_entry(result) for result in [*comparison.measured, *comparison.unmeasured]],
        "notes": list(comparison.notes),
        "meaning": CAUTION,
        "versions": comparison.versions,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "replace").decode()


def _judge(judge: Judge) -> dict[str, Any]:
    lines = {name: getattr(judge, name) for name in ("impostor", "blank", "genuine")}
    return {
        "recognizer": judge.recognizer,
        "detector": judge.detector,
        "provider": judge.provider,
        "licence": judge.licence,
        "rule": asdict(judge.rule),
        **{name: None if line is None else asdict(line) for name, line in lines.items()},
        "published_line": judge.published_line,
    }


def _reference(judge: Judge) -> dict[str, Any]:
    return {"pictures": judge.photos, "turned": judge.turned}


def _entry(result: PictureResult) -> dict[str, Any]:
    entry = {"path": str(result.path), **_figures(result.first)}
    return entry if result.second is None else {**entry, "second": _figures(result.second)}


def _figures(measured: Measured) -> dict[str, Any]:
    return {name: getattr(measured, name) for name in _COLUMNS[1:]}


def to_csv(comparison: Comparison) -> str:
    """compare.csv: one row a picture, the most alike first; empty where undefined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    more = [f"second_{name}" for name in _COLUMNS[1:]] if comparison.second is not None else []
    writer.writerow([*_COLUMNS, *more])
    for result in [*comparison.measured, *comparison.unmeasured]:
        row = [str(result.path), *_figures(result.first).values()]
        row += [*_figures(result.second).values()] if result.second is not None else []
        writer.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue().encode("utf-8", "replace").decode()
