"""The demo's page: one HTML file that holds everything it shows, readable in light, in dark and on paper.

Pure functions from plain records to text; nothing is measured or drawn anew here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from .svg import Row, Run, drift_chart, mean, number, strip_chart

STYLE = Path(__file__).with_name("report.css")


@dataclass(frozen=True)
class Shot:
    """One generated picture. `similarity` to the reference is a cosine, None where no face was found."""

    file: Path
    similarity: float | None


@dataclass(frozen=True)
class Series:
    """One backbone's results.

    Attributes:
        name: the backbone.
        colour: a colour class of the style sheet: "quick" or "slow".
        steps: steps of each picture.
        seconds: median time of a picture.
        shots: one for each prompt of the page.
        run: the probed run.
        words: what that run says, one thought a line.
        sheet: its aligned faces, step by step.
        dark_sheet: the same as PNG for a dark page.
    """

    name: str
    colour: str
    steps: int
    seconds: float
    shots: tuple[Shot, ...]
    run: Run
    words: str
    sheet: Path
    dark_sheet: bytes

    @property
    def similarities(self) -> list[float]:
        """The cosines that are defined."""
        return [shot.similarity for shot in self.shots if shot.similarity is not None]


@dataclass(frozen=True)
class Page:
    """Everything the page shows.

    Attributes:
        reference: the reference picture.
        reference_note: what it is, in a few words.
        prompts: one text for each shot of every series.
        probed: the prompt of the probed runs.
        series: the backbones, the quick one first.
        strangers: similarities of other people's pictures to the reference.
        redrawn: similarities of the same person's true pictures to the reference; empty where there are none.
        files: name and meaning of every file beside the page.
        facts: label and value, for the last section.
        reading: paragraphs that say what the figures mean.
    """

    reference: Path
    reference_note: str
    prompts: tuple[str, ...]
    probed: str
    series: tuple[Series, ...]
    strangers: tuple[float, ...]
    redrawn: tuple[float, ...]
    files: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    reading: tuple[str, ...]


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="infusenet demo">
<title>InfuseNet demo: one face, new scenes</title>
<style>
$style</style>
</head>
<body>
<main>
<header>
$reference
<div>
<h1>One face, new scenes</h1>
<p class="lead">This face went in as 8 identity tokens. The pictures below came out: the person in scenes that only
words described, in 4 steps and in 28. A second recognizer, which had no part in making them, measured how much of
the person is in each.</p>
$tiles
</div>
</header>
<section>
<h2>The pictures</h2>
$cards
</section>
<section>
<h2>How alike</h2>
$strip
<div class="split">
$table
<div>
$reading
</div>
</div>
</section>
<section>
<h2>Where the face forms, and where it drifts</h2>
$drift
<div class="runs">
$runs
</div>
</section>
<section>
<h2>Files and facts</h2>
$files
$facts
</section>
</main>
</body>
</html>
""")


def render(page: Page) -> str:
    """The whole page as HTML with its style and pictures inside; it asks nothing of any network."""
    strip = strip_chart(_rows(page))
    drift = drift_chart([series.run for series in page.series], mean(page.strangers))
    return _PAGE.substitute(
        style=STYLE.read_text(encoding="utf-8"),
        reference=figure(
            _image(page.reference, "the reference"),
            f"<b>The reference</b><br>{escape(page.reference_note)}",
            "reference",
        ),
        tiles=_tiles(page),
        cards=_cards(page),
        strip=figure(strip, "Each dot is one picture; the bar is the mean, given at the right.", "chart"),
        table=_table(page),
        reading="\n".join(f"<p>{escape(text)}</p>" for text in page.reading),
        drift=figure(drift, _drift_caption(page), "chart"),
        runs="\n".join(_run(series) for series in page.series),
        files=pairs(page.files, "files"),
        facts=pairs(page.facts, "facts"),
    )


def _rows(page: Page) -> list[Row]:
    rows = [Row("strangers", "other", page.strangers)]
    rows += [Row(f"{series.name}, {series.steps} steps", series.colour, series.similarities) for series in page.series]
    return rows + ([Row("same person, drawn again", "same", page.redrawn)] if page.redrawn else [])


def _drift_caption(page: Page) -> str:
    return (
        f"Two runs of “{escape(page.probed)}”: what each step believes the finished picture to be, measured against "
        "the reference. The ring marks the peak."
    )


def _tiles(page: Page) -> str:
    tiles = [
        tile(series.colour, mean(series.similarities), series.name, f"{series.steps} steps, {number(series.seconds)} s")
        for series in page.series
    ]
    tiles.append(tile("other", mean(page.strangers), "strangers", "the floor"))
    if page.redrawn:
        tiles.append(tile("same", mean(page.redrawn), "the same person, drawn again", "the ceiling"))
    return f'<p class="kicker">Mean similarity to the reference</p>\n<div class="tiles">{"".join(tiles)}</div>'


def tile(colour: str, value: float | None, label: str, note: str) -> str:
    """One large figure with a label and a note below."""
    return f'<div class="tile {colour}"><b>{number(value)}</b><span>{escape(label)}<br>{escape(note)}</span></div>'


def _cards(page: Page) -> str:
    cards = []
    for index, prompt in enumerate(page.prompts):
        pictures = "".join(
            figure(
                _image(series.shots[index].file, f"{series.name}: {prompt}"),
                f"{_name(series)} {_similarity(series.shots[index])}",
            )
            for series in page.series
        )
        cards.append(
            f'<article class="card"><p class="prompt">{escape(prompt)}</p><div class="pair">{pictures}</div></article>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _similarity(shot: Shot) -> str:
    if shot.similarity is None:
        return '<span class="figure">no face</span>'
    return f'<span class="figure">{number(shot.similarity)}</span>'


def _run(series: Series) -> str:
    words = "".join(f"<p>{escape(_signed(line))}</p>" for line in series.words.splitlines())
    title = "the aligned face in what each step believes in"
    light = _image(series.sheet, f"{series.name}: {title}", "sheet")
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(series.dark_sheet)}">'
    sheet = figure(f"<picture>{dark}{light}</picture>", f"{_name(series)}: {title}", "wide")
    return f'<article class="run"><h3>{_name(series)}, {series.steps} steps</h3>{words}{sheet}</article>'


def _signed(text: str) -> str:
    """Text whose negative figures have a true minus sign."""
    return re.sub(r"(?<!\S)-(?=\d)", "\N{MINUS SIGN}", text)


def _name(series: Series) -> str:
    return f'<span class="{series.colour} name">{escape(series.name)}</span>'


def _table(page: Page) -> str:
    labels = ("backbone", "steps", "seconds a picture", "similarity", "faces found")
    head = "".join(f'<th scope="col">{label}</th>' for label in labels)
    rows = "".join(
        f'<tr><th scope="row">{_name(series)}</th><td>{series.steps}</td>'
        f"<td>{number(series.seconds)}</td><td>{number(mean(series.similarities), 3)}</td>"
        f"<td>{len(series.similarities)} of {len(series.shots)}</td></tr>"
        for series in page.series
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def figure(content: str, caption: str, kind: str = "") -> str:
    """Some HTML with a caption, HTML too, below it."""
    return f'<figure class="{kind}">{content}<figcaption>{caption}</figcaption></figure>'


def _image(path: Path, alt: str, kind: str = "picture") -> str:
    return f'<img class="{kind}" alt="{escape(alt, quote=True)}" src="{data_uri(path.read_bytes())}">'


def data_uri(content: bytes) -> str:
    """A PNG inside the page."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def pairs(listed: Sequence[tuple[str, str]], kind: str) -> str:
    """A list of labels and what belongs to each."""
    return f'<dl class="{kind}">' + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in listed) + "</dl>"
