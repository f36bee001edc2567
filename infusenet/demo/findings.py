"""The demo's findings: its figures as a summary, as a short table, and as words that follow from them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..charts.labels import mean, number

if TYPE_CHECKING:
    from ..probe import Trace


@dataclass(frozen=True)
class MeasuredPicture:
    """One generated picture. `similarity` to the reference is a cosine, None where no face was found."""

    file: Path
    similarity: float | None


@dataclass(frozen=True)
class BackboneResults:
    """What one backbone gave.

    Attributes:
        name: the backbone.
        colour: of its dots and its curve, by the palette's name.
        steps: of each picture.
        seconds: median time of a picture.
        pictures: one for each prompt.
        trace: of the probed run.
        sheet: the aligned faces of that run, step by step.
        dark_sheet: the same as PNG for a dark page.
    """

    name: str
    colour: str
    steps: int
    seconds: float
    pictures: tuple[MeasuredPicture, ...]
    trace: Trace
    sheet: Path
    dark_sheet: bytes

    @property
    def similarities(self) -> list[float]:
        """The cosines that are defined."""
        return [picture.similarity for picture in self.pictures if picture.similarity is not None]


@dataclass(frozen=True)
class DemoResults:
    """Everything that the demo made and measured.

    Attributes:
        reference: the reference picture.
        note: what it is, in a few words.
        prompts: one text for each picture of a backbone.
        probed: index of the prompt whose run was measured step by step.
        backbones: the quick one first.
        impostors: similarities of other people's pictures to the reference.
        genuine: similarities of the same person's true pictures to the reference; empty where there are none.
        seed: of the people and the pictures.
    """

    reference: Path
    note: str
    prompts: tuple[str, ...]
    probed: int
    backbones: tuple[BackboneResults, ...]
    impostors: tuple[float, ...]
    genuine: tuple[float, ...]
    seed: int


def summarise(results: DemoResults) -> dict[str, Any]:
    """The demo's figures, as summary.json holds them; undefined ones are None."""
    trace, blank = results.backbones[-1].trace, results.backbones[-1].trace.blank
    return {
        "backbones": {each.name: _figures(each) for each in results.backbones},
        "stranger_similarity": rounded(mean(results.impostors)),
        "stranger_std": rounded(spread(results.impostors)),
        "strangers": len(results.impostors),
        "same_person_similarity": rounded(mean(results.genuine)),
        "recognizer": trace.recognizer,
        "detector": trace.detector,
        "rule": None if trace.rule is None else str(trace.rule),
        "blank_similarity": None if blank is None else rounded(blank.mean),
        "blank_std": None if blank is None else rounded(blank.std),
        "reference": results.note,
        "seed": results.seed,
        "cores": os.cpu_count(),
        "versions": trace.run.versions,
    }


def _figures(backbone: BackboneResults) -> dict[str, Any]:
    return {
        "steps": backbone.steps,
        "seconds": round(backbone.seconds, 4),
        "similarity": rounded(mean(backbone.similarities)),
        "similarity_std": rounded(spread(backbone.similarities)),
        "similarities": [rounded(picture.similarity) for picture in backbone.pictures],
        "pictures": len(backbone.pictures),
        "faces_found": len(backbone.similarities),
    }


def rounded(value: float | None) -> float | None:
    """Four decimals are more than any of this is good for."""
    return None if value is None else round(value, 4)


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation (n - 1), None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def reading(results: DemoResults) -> tuple[str, ...]:
    """What the figures mean, in words that follow from them."""
    quick, slow = results.backbones
    texts = [
        "Similarity is the cosine between two face embeddings. 1 is the same picture, and strangers score around "
        f"{number(mean(results.impostors))}. Anything above that is what a picture shares with the reference."
    ]
    if results.genuine:
        texts.append(
            "The ceiling is not 1. True pictures of this person in other scenes reach "
            f"{number(mean(results.genuine))}, because expression, light and pose change a face too."
        )
    if quick.similarities and slow.similarities:
        texts.append(
            "The same InfuseNet, trained on mini-dev only and never changed, gives "
            f"{number(mean(quick.similarities))} on mini-schnell in {quick.steps} steps and "
            f"{number(mean(slow.similarities))} on mini-dev in {slow.steps} steps, which take "
            f"{slow.seconds / quick.seconds:.1f} times as long. Nine pictures each of one person are too few to rank "
            "the two."
        )
    return tuple(texts)


def table(summary: dict[str, Any]) -> str:
    """The short table that the command prints."""
    lines = [f"{'':<26}{'steps':>6}{'s/picture':>11}{'similarity':>12}{'faces':>8}"]
    for name, each in summary["backbones"].items():
        faces = f"{each['faces_found']}/{each['pictures']}"
        lines.append(
            f"{name:<26}{each['steps']:>6}{each['seconds']:>11.2f}{number(each['similarity'], 3):>12}{faces:>8}"
        )
    lines.append(f"{'strangers':<26}{'':>17}{number(summary['stranger_similarity'], 3):>12}")
    if summary["same_person_similarity"] is not None:
        lines.append(f"{'same person, drawn again':<26}{'':>17}{number(summary['same_person_similarity'], 3):>12}")
    return "\n".join(lines)
