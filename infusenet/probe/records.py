"""What a probe writes down: one StepRecord a step, and the facts of the run around them. Plain data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..backbones import BACKBONES
from ..measures.base import Alignment
from ..metrics.base import mean_of

Status = Literal["complete", "interrupted", "failed", "stopped at peak"]
Evaluation = Literal["live", "after"]


@dataclass(frozen=True)
class StepRecord:
    """What was seen in one denoised prediction; each tuple holds one entry a batch item.

    Attributes:
        step: steps completed, from 1, counted in this run or slice of a run.
        sigma: noise level that the prediction was made at; None where the sampler does not say.
        similarity: cosine to the reference, -1..1; None where undefined.
        found: a face was seen: detected with confidence. None where the prediction was not looked at. Values of
            pictures in which none was seen are for the eye: they make no peak, drift or advice.
        alignment: where the landmarks came from: "detected" here, "carried" from an earlier step or the pose
            picture, "back-filled" from a later one; None without any.
        score: the detector's confidence in the surest face, 0..1; None where it found no trace of one.
        sharpness: variance of the Laplacian; None where not measured.
        contrast: RMS contrast; None where not measured.
        seconds: time spent looking at this prediction; None where not looked at.
    """

    step: int
    sigma: float | None
    similarity: tuple[float | None, ...]
    found: tuple[bool | None, ...]
    alignment: tuple[Alignment | None, ...]
    score: tuple[float | None, ...]
    sharpness: tuple[float | None, ...]
    contrast: tuple[float | None, ...]
    seconds: float | None = None

    def __post_init__(self) -> None:
        lengths = {len(values) for values in self.columns().values()}
        if self.step < 1 or len(lengths) != 1:
            raise ValueError(
                f"Expected a step >= 1 and one value per batch item, got step {self.step}, sizes {lengths}."
            )

    def check(self) -> None:
        """Raise ValueError where a similarity is none: a cosine is at most 1."""
        wrong = [value for value in self.similarity if value is not None and not abs(value) <= 1 + 1e-3]
        if wrong:
            raise ValueError(f"a similarity of {wrong[0]:g} at step {self.step}")

    @classmethod
    def empty(cls, step: int, sigma: float | None, batch: int) -> "StepRecord":
        """A step that has been seen but not looked at."""
        none = (None,) * batch
        return cls(step, sigma, none, none, none, none, none, none)

    def columns(self) -> dict[str, tuple[float | bool | str | None, ...]]:
        """The values that exist once per batch item, by name."""
        names = ("similarity", "found", "alignment", "score", "sharpness", "contrast")
        return {name: getattr(self, name) for name in names}

    def of_item(self, item: int) -> "StepRecord":
        """The record of one batch item alone."""
        return replace(self, **{name: (values[item],) for name, values in self.columns().items()})  # type: ignore[arg-type]

    @property
    def batch(self) -> int:
        """Number of batch items."""
        return len(self.similarity)

    @property
    def mean(self) -> float | None:
        """Mean similarity of the items where it is defined; None where none is."""
        return mean_of(self.similarity)


@dataclass(frozen=True)
class RunInfo:
    """How the pictures were made, as far as the caller knows. Percentages are fractions, 0..1.

    Attributes:
        steps: steps asked of the sampler.
        strength: conditioning scale of the identity adapter.
        start: fraction of the steps at which the adapter begins.
        end: fraction at which it ends.
        pieces: how many samplings, one going on from the other, were taken as one run; None where it was one.
        step_offset: steps of an earlier slice before this one's first, where known; record numbers never include it.
        decoder: what turned predictions into pictures.
        final_decoder: what turned the final latents into pictures, where it is another.
        conditioning_recognizer: the network that read the identity, by file name, or named as a trace's `recognizer`.
        versions: versions of the libraries at work.
    """

    backbone: str | None = None
    steps: int | None = None
    sampler: str | None = None
    scheduler: str | None = None
    seed: int | None = None
    prompt: str | None = None
    strength: float | None = None
    guidance: float | None = None
    start: float | None = None
    end: float | None = None
    width: int | None = None
    height: int | None = None
    step_offset: int | None = None
    pieces: int | None = None
    decoder: str | None = None
    final_decoder: str | None = None
    conditioning_recognizer: str | None = None
    versions: dict[str, str] = field(default_factory=dict)


def info_of(made_with: Mapping[str, Any], conditioning_recognizer: str | None) -> RunInfo:
    """What a trace tells of a run of the library's own pipelines.

    Args:
        made_with: what the picture tells, as `generate.Result` has it.
        conditioning_recognizer: see `RunInfo`.
    """
    from .versions import library_versions

    same = ("prompt", "backbone", "guidance", "strength", "start", "end", "seed")
    (width, height), schedule = made_with["size"], made_with["schedule"]
    exact, spec = schedule == "exact", BACKBONES.get(made_with["backbone"])
    family = spec.family if spec else "flux"
    return RunInfo(
        **{key: made_with[key] for key in same},
        steps=made_with["steps"] if exact else None,  # else its noise levels tell
        width=width,
        height=height,
        sampler=spec.scheduler if spec and spec.scheduler else "euler",
        scheduler=family if exact else f"{family} {schedule}",
        conditioning_recognizer=conditioning_recognizer,
        versions=library_versions(),
    )


def same_network(one: str, other: str) -> bool:
    """Whether two recognizers are one network.

    Args:
        one: "FILE", or with the start of its sha256 and its provider: "FILE 0123456789ab (CPU)".
        other: likewise.

    Returns:
        Whether the digests are the same, where both are told; else whether the files are called the same.
    """
    (file, digest), (other_file, other_digest) = (_parts(name) for name in (one, other))
    return digest == other_digest if digest and other_digest else file == other_file


def _parts(name: str) -> tuple[str, str]:
    """File and digest ("" where it is not told) of a recognizer's name."""
    told = re.fullmatch(r"(.*?)(?: ([0-9a-f]{12}))?(?: \([^()]*\))?", name, re.DOTALL)
    return (told[1], told[2] or "") if told else (name, "")
