"""The demo's findings: its figures as a summary, as a short table, and as words that follow from them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .page import Page, Series
from .svg import mean, number

if TYPE_CHECKING:
    from ..probe import Trace


def summarise(
    series: Sequence[Series],
    strangers: Sequence[float],
    redrawn: Sequence[float],
    trace: Trace,
    reference: str,
    seed: int,
) -> dict[str, Any]:
    """The demo's figures; undefined ones are None."""
    backbones = {
        each.name: {
            "steps": each.steps,
            "seconds": round(each.seconds, 4),
            "similarity": rounded(mean(each.similarities)),
            "similarity_std": rounded(spread(each.similarities)),
            "similarities": [rounded(shot.similarity) for shot in each.shots],
            "pictures": len(each.shots),
            "faces_found": len(each.similarities),
        }
        for each in series
    }
    return {
        "backbones": backbones,
        "stranger_similarity": rounded(mean(strangers)),
        "stranger_std": rounded(spread(strangers)),
        "strangers": len(strangers),
        "same_person_similarity": rounded(mean(redrawn)),
        "recognizer": trace.recognizer,
        "detector": trace.detector,
        "rule": None if trace.rule is None else str(trace.rule),
        "blank_similarity": None if trace.blank is None else rounded(trace.blank.mean),
        "blank_std": None if trace.blank is None else rounded(trace.blank.std),
        "reference": reference,
        "seed": seed,
        "cores": os.cpu_count(),
        "versions": trace.run.versions,
    }


def rounded(value: float | None) -> float | None:
    """Four decimals are more than any of this is good for."""
    return None if value is None else round(value, 4)


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation (n - 1), None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def page_of(
    out: Path,
    prompts: tuple[str, ...],
    probed: int,
    series: Sequence[Series],
    strangers: Sequence[float],
    redrawn: Sequence[float],
    summary: dict[str, Any],
) -> Page:
    """What the page shows."""
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return Page(
        reference=out / "reference.png",
        reference_note=summary["reference"],
        prompts=prompts,
        probed=prompts[probed],
        series=tuple(series),
        strangers=tuple(strangers),
        redrawn=tuple(redrawn),
        files=(
            ("reference.png", "the picture that went in"),
            ("mini-schnell-1.png …", "the pictures above, 128 × 128; each tells in its metadata how it was made"),
            ("faces-mini-dev.png …", "the faces sheets"),
            ("drift.png", "the drift chart of both runs"),
            ("trace.json", "everything the probe saw of the mini-dev run; trace-mini-schnell.json of the other"),
            ("summary.json", "the figures of this page"),
        ),
        facts=(
            ("Recognizer that measured", summary["recognizer"]),
            ("Rule of measuring", f"{summary['rule']}; faces found by {summary['detector']}"),
            (
                "A crop without any face",
                f"scores {number(summary['blank_similarity'])} ± {number(summary['blank_std'])} against this reference",
            ),
            ("Recognizer that conditioned", "another network, trained on other people"),
            ("Seed", str(summary["seed"])),
            ("Machine", f"{summary['cores']} cores, no GPU used"),
            ("Versions", versions),
            ("Licence of the miniature", "Apache-2.0; every person in it is drawn, none exists"),
            ("Provenance", "every picture is marked as AI-generated in its metadata"),
        ),
        reading=reading(series, strangers, redrawn),
    )


def reading(series: Sequence[Series], strangers: Sequence[float], redrawn: Sequence[float]) -> tuple[str, ...]:
    """What the figures mean, in words that follow from them."""
    quick, slow = (mean(each.similarities) for each in series)
    floor = mean(strangers)
    texts = [
        "Similarity is the cosine between two face embeddings: 1 is the same picture, and strangers lie around "
        f"{number(floor)}, so what stands above that is what the pictures share with the reference."
    ]
    if redrawn:
        texts.append(
            f"The ceiling is not 1: true pictures of this very person in other scenes reach {number(mean(redrawn))}, "
            "because expression, light and pose change a face too."
        )
    if quick is not None and slow is not None:
        times = series[1].seconds / series[0].seconds
        texts.append(
            f"The same InfuseNet, trained on mini-dev alone and never changed, gives {number(quick)} on mini-schnell "
            f"in {series[0].steps} steps and {number(slow)} on mini-dev in {series[1].steps} steps and {times:.1f} "
            "times the time. One person and nine pictures each are too few to rank the two."
        )
    return tuple(texts)


def table(summary: dict[str, Any]) -> str:
    """The short table that the command prints."""
    rows = [f"{'':<26}{'steps':>6}{'s/picture':>11}{'similarity':>12}{'faces':>8}"]
    for name, each in summary["backbones"].items():
        faces = f"{each['faces_found']}/{each['pictures']}"
        rows.append(
            f"{name:<26}{each['steps']:>6}{each['seconds']:>11.2f}{number(each['similarity'], 3):>12}{faces:>8}"
        )
    rows.append(f"{'strangers':<26}{'':>17}{number(summary['stranger_similarity'], 3):>12}")
    if summary["same_person_similarity"] is not None:
        rows.append(f"{'same person, drawn again':<26}{'':>17}{number(summary['same_person_similarity'], 3):>12}")
    return "\n".join(rows)
