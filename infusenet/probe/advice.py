"""What to try next after a run. Nothing is advised that was not replayed.

Each kind of advice here gains likeness on average and seldom costs any, on people, prompts and noises that it was not
made from: `python -m infusenet.miniature.replay` follows `advise` and measures what comes of it. Left out because they
cost likeness there, or made more than one run in ten worse: resting the adapter early, more steps, a clearer reference,
another seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .stopping import SHARE, SHARP, TAIL, best_kept, saves, stop_step
from .trace import Trace
from .trajectory import LEAST_STEPS, OWN_PACE, Drift, analyse, matters, part, refines, unlevelled, whole

Kind = Literal["end", "strength", "keep", "stop", "steps"]

TRAINED, MORE = 1.0, 1.5  # strengths: what InfuseNet was trained at, and what is tried where that is weak
GAIN = 0.01  # cosine that a kept prediction must be better by


@dataclass(frozen=True)
class Advice:
    """One thing to try.

    Attributes:
        kind: of advice, as in the table of the replay.
        words: a sentence without its capital, which names nodes and settings by their titles.
        change: the settings that it changes, and to what.
    """

    kind: Kind
    words: str
    change: dict[str, Any] = field(default_factory=dict)


def advise(trace: Trace) -> tuple[Advice, ...]:
    """What to try next, the surest first.

    Args:
        trace: of a whole run with a known adapter, measured on faces; all others get no advice.

    Returns:
        Nothing where nothing is known to help.
    """
    figures = analyse(trace)
    if why_none(trace) or not whole(trace) or figures.peak is None or figures.final is None:
        return ()
    kinds = (_end(trace), _strength(trace, figures), *_drifted(trace, figures))
    return tuple(advice for advice in kinds if advice is not None)


def why_none(trace: Trace) -> list[str]:
    """Why a run gets no advice at all, in one sentence; nothing where it may get some."""
    if trace.status == "stopped at peak":
        return []
    if trace.wording.unadvised:
        return [trace.wording.unadvised]
    if part(trace):
        return ["There is no advice because several samplers share this run. Probe a whole run instead."]
    if trace.run.pieces:
        return ["There is no advice because this sampler works in several passes, and none was tested on such runs."]
    if unlevelled(trace):
        return ["There is no advice because the sampler's noise levels are unknown."]
    if refines(trace):
        return [
            (
                "There is no advice because this run started below full noise (a refine pass), and none was tested "
                "on such runs."
            )
        ]
    if not whole(trace):
        return ["There is no advice because the run did not finish."]
    if trace.run.strength is None:
        return ["There is no advice because Apply InfuseNet Identity took no part in this run."]
    return []


def weak(trace: Trace, figures: Drift) -> bool:
    """Whether the finished likeness is nearer to other people's than to a perfect one; False where that is unknown."""
    if trace.strangers is None or figures.final is None:
        return False
    return figures.final < (trace.strangers.mean + 1) / 2


def _end(trace: Trace) -> Advice | None:
    end, start = trace.run.end, trace.run.start
    if end is None or end >= 1 or start or not trace.run.strength:
        return None
    words = (
        f"set end_percent in Apply InfuseNet Identity to 1 instead of {end:g}. Stopping InfuseNet early costs likeness."
    )
    return Advice("end", words, {"end": 1.0})


def _strength(trace: Trace, figures: Drift) -> Advice | None:
    strength = trace.run.strength
    if strength is None or strength >= MORE or (strength >= TRAINED and not weak(trace, figures)):
        return None
    more = TRAINED if strength < TRAINED and not weak(trace, figures) else MORE
    why = "The likeness is weak." if more == MORE else "InfuseNet was trained with that value."
    words = f"set strength in Apply InfuseNet Identity to {more:g} instead of {strength:g}. {why}"
    return Advice("strength", words, {"strength": more})


def _drifted(trace: Trace, figures: Drift) -> list[Advice | None]:
    """What helps where the face drifted in a long run."""
    if not matters(figures) or trace.steps < LEAST_STEPS or trace.run.sampler in OWN_PACE:
        return []
    return [_keep(trace), _stop(trace), _steps(trace, figures)]


def _keep(trace: Trace) -> Advice | None:
    last = trace.records[-1]  # seen through the same decoder as the steps
    if trace.batch != 1 or trace.final is None or last.step != trace.final.step:
        return None
    index = best_kept(trace.means, [record.sharpness[0] for record in trace.records], last.sharpness[0])
    value, end = None if index is None else trace.means[index], trace.mean(last)
    if index is None or value is None or end is None or value < end + GAIN:
        return None
    step = trace.records[index].step
    words = (
        f"use Stop at Identity Peak in the mode 'finish, keep the best'. Step {step} of this run scored {value:.3f} "
        f"and had at least {SHARP:.0%} of the finished picture's sharpness."
    )
    return Advice("keep", words, {"step": step})


def _stop(trace: Trace) -> Advice | None:
    step = stop_step(trace.steps)
    if not saves(trace.steps, step, TAIL):
        return None
    words = (
        f"use Stop at Identity Peak. It cuts a run short after {SHARE:.0%} of its steps (here {step}) and removes "
        f"the remaining noise in {TAIL} larger ones. The picture stays nearly the same and misses most of the drift."
    )
    return Advice("stop", words, {"step": step, "tail": TAIL})


def _steps(trace: Trace, figures: Drift) -> Advice | None:
    steps = figures.recommended_steps
    if steps is None:
        return None
    words = (
        f"run it again with {steps} steps. That is a different path from noise to picture, not this run cut short, "
        "so probe it again."
    )
    return Advice("steps", words, {"steps": steps})
