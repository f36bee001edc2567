"""A sweep's page: one HTML file with every figure and its numbers inside, and PNG and CSV of each beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from ..charts.labels import MISSING
from ..charts.statistics import DOTS
from ..files import write_atomically
from ..measures import comparable
from ..pages import render
from .figure_spec import FigureSpec
from .figures import Drawn, draw_figure
from .plan import Done, read_result
from .table import block_records, records, step_records, to_csv

_NUMBERS = ("95 % interval", "of the difference", "early window")
_OPEN = 14  # tables of up to so many lines are shown open

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="infusenet sweep">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="lead">$about</p>
<p>$state</p>
<p class="note">$limits</p>
$figures
<section>
<h2>What this page rests on</h2>
<dl class="facts">$facts</dl>
<details><summary>The specification</summary><pre>$spec</pre></details>
</section>
</main>
</body>
</html>
""")


def write_page(done: Done, out: Path) -> Path:
    """Write report.html, and figures/NAME.png and .csv for each figure.

    Args:
        done: the sweep.
        out: its folder.

    Returns:
        The page.
    """
    table, steps = records(done, out), step_records(done, out)
    comparable([row["rule"] for row in table if row["similarity"] is not None], f"The pictures in {out}")
    blocks = block_records(done, out)
    (out / "figures").mkdir(exist_ok=True)
    facts = _facts(done, table, out)
    sections = []
    for number, figure in enumerate(done.figures, 1):
        drawn = draw_figure(figure, table, steps, out, blocks)
        name = f"{number:02d}-{re.sub('[^a-z0-9]+', '-', figure.title.lower()).strip('-')[:60]}"
        write_atomically(out / "figures" / f"{name}.png", drawn.light)
        columns = list(dict.fromkeys(key for row in drawn.rows for key in row))
        write_atomically(out / "figures" / f"{name}.csv", to_csv(drawn.rows, columns).encode())
        sections.append(_section(figure, drawn, name, facts))
    page = out / "report.html"
    text = _PAGE.substitute(
        title=escape(done.data["title"]),
        about=escape(done.data["about"]),
        style=render("colours.css") + render("style.css"),
        state=escape(_state(done, table)),
        limits=escape(_limits(table)),
        figures="\n".join(sections),
        facts="".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in facts.items()),
        spec=escape(done.data["spec"]),
    )
    write_atomically(page, text.encode())
    return page


def _state(done: Done, table: Sequence[Mapping[str, Any]]) -> str:
    made = [row for row in table if row["status"] == "done"]
    faceless = sum(row["similarity"] is None for row in made)
    failed = sum(row["status"] == "failed" for row in table)
    text = f"{len(made)} of {len(table)} pictures are made; {failed} failed; in {faceless} no face was found."
    if failed or faceless:
        text += " These are counted as missing and never as 0."
    dropped = done.data["dropped"]
    if dropped:
        text += f" {len(dropped)} people were left out: " + "; ".join(f"{who} ({why})" for who, why in dropped) + "."
    return text


def _limits(table: Sequence[Mapping[str, Any]]) -> str:
    """What no interval on the page can tell."""
    text = (
        "Every number rests on one set of weights, that is on one training seed. The intervals are over people, of "
        "whom each has noise of their own, and say nothing of how another training would have turned out."
    )
    if any(str(row["backbone"]).startswith("mini-") for row in table):
        text += (
            " These are drawn people and a miniature of FLUX, there to try the method on: nothing here is a finding "
            "about FLUX, and where the paper's figures stand beside, they are of FLUX and photos."
        )
    return text


def _facts(done: Done, table: Sequence[Mapping[str, Any]], out: Path) -> dict[str, str]:
    """What every figure rests on."""
    results = [read_result(out, row.job) or {} for row in done.rows]
    versions: dict[str, str] = next((each["versions"] for each in results if each.get("versions")), {})
    devices = sorted({str(each["device"]) for each in results if each.get("device")})
    alone = {row["alone"] for row in table if row["seconds"] is not None}
    measured = "by jobs that ran alone on their device" if alone == {True} else "only of jobs that ran alone"
    prompts = "; ".join(f"{label}: {text}" for label, text in done.data["prompts"])
    perceptual = sorted({each["lpips_with"] for each in results if each.get("lpips_with")})
    perceptual += sorted({f"not measured: {each['lpips_reason']}" for each in results if each.get("lpips_reason")})
    return {
        "Command": done.data["command"],
        "Backbones": ", ".join(sorted({row["backbone"] for row in table})),
        "Recognizer that measured": ", ".join(sorted({row["recognizer"] for row in table if row["recognizer"]}))
        or MISSING,
        "Rule of measuring": ", ".join(sorted({row["rule"] for row in table if row["rule"]})) or "not recorded",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or MISSING,
        "People": f"{len(done.data['people'])}",
        "Prompts": prompts,
        "Seeds": f"{', '.join(map(str, done.data['seeds']))}; one noise for all methods and prompts of a person",
        "Seconds": f"from the prompt to the picture, models loaded, {measured}; {', '.join(devices) or MISSING}",
        **({"LPIPS": "; ".join(perceptual)} if perceptual else {}),
        "Provenance": "every picture is AI-generated and marked so in its metadata",
    }


def _section(figure: FigureSpec, drawn: Drawn, name: str, facts: Mapping[str, str]) -> str:
    alt = escape(f"{figure.title}. {drawn.caption}", quote=True)
    wide = _width(drawn.light) if figure.kind == "pictures" else round(_width(drawn.light) * 96 / DOTS)
    picture = (
        f'<picture><source media="screen and (prefers-color-scheme: dark)" srcset="{_data(drawn.dark)}">'
        f'<img alt="{alt}" style="width: {wide}px" src="{_data(drawn.light)}"></picture>'
    )
    note = f'<p class="note">{escape(figure.note)}</p>' if figure.note else ""
    rests = "; ".join(facts[key] for key in ("Recognizer that measured", "Backbones", "Versions"))
    rests = f"{escape(rests)}. {escape(facts['Command'])}. Files: figures/{name}.png, .csv"
    caption = f'{escape(drawn.caption)}<p class="rests">{rests}</p>'
    state = " open" if len(drawn.rows) <= _OPEN and figure.kind != "pictures" else ""
    return (
        f'<section><div class="shown"><h2>{escape(figure.title)}</h2>{note}'
        f'<figure class="plot {figure.kind}">{picture}<figcaption>{caption}</figcaption></figure></div>'
        f"<details{state}><summary>Its numbers</summary>{_html_table(drawn.rows)}</details></section>"
    )


def _width(png: bytes) -> int:
    """Pixels, as a PNG's header tells them."""
    return int.from_bytes(png[16:20], "big")


def _html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    rows = [_read(row) for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [name for name in columns if any(row.get(name) is not None for row in rows)]
    if not any(row.get("missing") for row in rows):
        columns = [name for name in columns if name != "missing"]
    text = {name for name in columns if all(isinstance(row.get(name), str | None) for row in rows)} - {*_NUMBERS}
    kind = {name: ' class="text"' * (name in text) for name in columns}
    head = "".join(f'<th scope="col"{kind[name]}>{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{kind[name]}>{_cell(row.get(name))}</td>" for name in columns) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _read(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as people read it: the ends of an interval in one cell."""
    read = {}
    for name, value in row.items():
        if name.endswith("low"):
            high = row[name.removesuffix("low") + "high"]
            told = None if value is None else f"{_cell(value)} to {_cell(high)}"
            read["of the difference" if name.startswith("difference") else "95 % interval"] = told
        elif not name.endswith("high"):
            read[name] = value
    return read


def _cell(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        text = f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
        return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
    return escape(str(value))


def _data(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
