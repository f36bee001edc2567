"""Of a batch: each picture's own peak, finished likeness and drift, and the picture that came out best."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..measures.wording import Wording
from .drift import analyse
from .trace import Trace

TOLD = 8  # pictures that are told of one by one in words


@dataclass(frozen=True)
class PictureFigures:
    """The figures of one picture of a batch; undefined is None.

    Attributes:
        picture: its number, from 1.
        peak: its highest similarity in a step where a face was seen, or finished.
        peak_step: where that was.
        final: similarity of the finished picture.
        drift: peak - final, never negative.
    """

    picture: int
    peak: float | None
    peak_step: int | None
    final: float | None
    drift: float | None


def figures_of(trace: Trace) -> tuple[PictureFigures, ...]:
    """The figures of every picture, each by itself."""
    each = [analyse(trace.of_item(item)) for item in range(trace.batch)]
    return tuple(
        PictureFigures(
            number,
            None if one.peak is None else one.peak.value,
            None if one.peak is None else one.peak.step,
            one.final,
            one.drift,
        )
        for number, one in enumerate(each, start=1)
    )


def best_of(figures: Sequence[PictureFigures]) -> PictureFigures | None:
    """The picture most like the reference, the first of equals: by the finished ones, else by each one's peak."""
    finished, seen = ([one for one in figures if getattr(one, name) is not None] for name in ("final", "peak"))
    known = finished or seen
    return max(known, key=lambda one: (one.final if finished else one.peak) or 0.0) if known else None


def in_words(trace: Trace) -> list[str]:
    """The best picture and the figures of each, a line each; nothing for a single picture."""
    figures = figures_of(trace) if trace.batch > 1 else ()
    best = best_of(figures)
    lines, words = [], trace.wording
    if best is not None:
        finished = f"came out {words.most}: {_number(best.final)}"
        seen = f"was {words.most}: {_number(best.peak)} at step {best.peak_step}"
        how = seen if best.final is None else finished
        lines.append(f"Picture {best.picture} of {trace.batch} {how}.")
    lines += [_told(one, words) for one in figures[:TOLD]]
    return lines + ([f"The other {len(figures) - TOLD} pictures are in the record."] if len(figures) > TOLD else [])


def _told(one: PictureFigures, words: Wording) -> str:
    if one.peak is None:
        return f"Picture {one.picture}: {words.none_seen}."
    finished = words.none_finished if one.final is None else f"finished {one.final:.3f}"
    drift = "" if one.drift is None else f", drift {one.drift:.3f}"
    return f"Picture {one.picture}: peak {one.peak:.3f} at step {one.peak_step}, {finished}{drift}."


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def measured_in_words(trace: Trace) -> str:
    """Which networks measured, and by which rule."""
    finder = "" if trace.detector is None else f", faces found by {trace.detector}"
    return f"Measured by {trace.recognizer}{finder}; rule: {trace.rule or 'not recorded'}."
