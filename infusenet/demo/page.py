"""The demo's page, from what was measured; nothing is measured anew here."""

from __future__ import annotations

from typing import Any

from ..charts import Dots, similarity_figure, strip_drawing, strip_in_words
from ..charts.labels import mean, number
from ..charts.palette import WIDE, drawing
from ..pages import render
from ..probe.drift import in_words
from .findings import DemoResults, reading

FILES = (
    ("reference.png", "the input picture"),
    ("mini-schnell-1.png …", "the pictures above, 128 × 128; the metadata of each says how it was made"),
    ("faces-mini-dev.png …", "the sheets of faces"),
    ("drift.png", "the drift chart for both runs"),
    ("trace.json", "everything the probe recorded in the mini-dev run; trace-mini-schnell.json holds the other run"),
    ("summary.json", "the numbers on this page"),
)


def demo_page(results: DemoResults, summary: dict[str, Any]) -> str:
    """The whole page as HTML with its pictures inside.

    Args:
        results: what was made and measured.
        summary: its figures, from `summarise`.
    """
    kinds = _kinds(results)
    traces = [each.trace for each in sorted(results.backbones, key=lambda each: each.colour)]
    return render(
        "demo.html",
        results=results,
        kinds=kinds,
        reading=reading(results),
        strip=strip_drawing(kinds),
        strip_in_words=strip_in_words(kinds),
        drift=drawing(lambda theme, width: similarity_figure(traces, x="sigma", theme=theme, width=width), WIDE, 5.0),
        drift_in_words={each.name: in_words(each.trace).splitlines() for each in results.backbones},
        mean=mean,
        files=FILES,
        facts=_facts(summary),
    )


def _kinds(results: DemoResults) -> list[Dots]:
    kinds = [Dots("strangers", "quiet", results.impostors)]
    kinds += [Dots(f"{each.name}, {each.steps} steps", each.colour, each.similarities) for each in results.backbones]
    return kinds + ([Dots("same person, drawn again", "curve-3", results.genuine)] if results.genuine else [])


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    blank = f"{number(summary['blank_similarity'])} ± {number(summary['blank_std'])}"
    return [
        ("Recognizer for measuring", summary["recognizer"]),
        ("How it was measured", f"{summary['rule']}; faces found by {summary['detector']}"),
        ("A crop without a face", f"scores {blank} against this reference"),
        ("Recognizer for conditioning", "a different network, trained on different people"),
        ("Seed", str(summary["seed"])),
        ("Machine", f"{summary['cores']} cores, no GPU used"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())),
        ("Licence of the miniature", "Apache-2.0; every person in it is drawn, and none exists"),
        ("Provenance", "every picture is marked as AI-generated in its metadata"),
    ]
