"""A run that two networks measured: what the second one says, and whether they agree."""

from __future__ import annotations

from typing import Any

from ..measures.lines import bar_of
from .lines import first_above
from .trace import Trace
from .trajectory import analyse


def in_words(trace: Trace, other: Trace) -> list[str]:
    """What the second network measured, and whether both say the same, one thought a line.

    Args:
        trace: by the first network.
        other: of the same run, by the second.
    """
    figures, name = analyse(other), _name(other)
    if figures.peak is None:
        return [f"{name}, the second recognizer, measured nothing in this run."]
    told = f"{name}, the second recognizer, measured a peak of {figures.peak.value:.3f} at step {figures.peak.step}"
    told += "." if figures.final is None else f" and the finished picture at {figures.final:.3f}."
    verdicts = above(trace), above(other)
    if None in verdicts:
        blind = [_name(one) for one, verdict in ((trace, verdicts[0]), (other, verdicts[1])) if verdict is None]
        return [told, f"Whether the two agree is not known: {' and '.join(blind)} could not judge the end of the run."]
    if verdicts[0] != verdicts[1]:
        sure, unsure = (_name(one) for one in ((trace, other) if verdicts[0] else (other, trace)))
        return [
            told,
            f"The two disagree: the end of the run is above the lines of {sure}, but not above those of {unsure}. "
            "Trust neither alone.",
        ]
    return [told, f"The two agree: for both, the end of the run is {'' if verdicts[0] else 'not '}above their lines."]


def figures_of(trace: Trace, other: Trace) -> dict[str, Any]:
    """The same in numbers; None = undefined."""
    figures, (one, two) = analyse(other), (above(trace), above(other))
    return {
        "recognizer": other.recognizer,
        "peak": None if figures.peak is None else figures.peak.value,
        "peak_step": None if figures.peak is None else figures.peak.step,
        "final": figures.final,
        "first_above": first_above(other),
        "agree": None if None in (one, two) else one == two,
    }


def above(trace: Trace) -> bool | None:
    """Whether a run's end (finished picture, else last step) is above every known line; None = not known."""
    bar, looked = bar_of(trace.strangers, trace.blank), trace.final or (trace.records[-1] if trace.records else None)
    value = None if looked is None else trace.mean(looked)
    return None if bar is None or value is None else value > bar


def _name(trace: Trace) -> str:
    return trace.recognizer.partition(" ")[0]
