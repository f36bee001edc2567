"""Where identity formed, where it peaked, and what was lost afterwards: pure functions on a trace.

All of it is about the TRAJECTORY: the denoised predictions of one run. What a separate run with fewer steps would
give is another question (the step budget), which a trace can suggest but never answer. Only steps in which a face was
seen count; what was measured at a place where none was seen is for the eye.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..measures.base import Alignment
from ..measures.lines import bar_of
from .stopping import stop_step
from .trace import Trace

WITHIN = 0.05  # share of the peak that still counts as its level
NOISE_LEFT = 2e-3  # a schedule that ends above it leaves noise; uni_pc writes 0.001 in the place of the last 0
OWN_PACE = ("dpm_fast", "dpm_adaptive")  # samplers whose callbacks are not the steps of the schedule they were given
LEAST_STEPS, LEAST_SHARE = 20, 0.3  # runs shorter than this are not cut; and no run is advised below this share of it
_FULL, _UNBOUNDED = 0.99, 10.0  # from where on a first noise level is all noise: of flow models, of others


@dataclass(frozen=True)
class Peak:
    """The highest similarity of a run, and the number of completed steps after which it was seen, first of equals."""

    step: int
    value: float


@dataclass(frozen=True)
class Drift:
    """The figures of one trajectory. Undefined is None.

    Attributes:
        peak: the highest mean similarity among the steps in which a face was seen and the finished picture.
        final: mean similarity of the finished picture.
        drift: peak - final, never negative.
        formed: first seen step within 5 % of the peak, if it is above every known line by two deviations. It says
            when the likeness was there, and nothing about what could be left out from then on.
        window: first and last step of the stretch within 5 % of the peak, whether above the lines or not: to the last
            step after the peak before the similarity leaves that level.
        alignment: how the landmarks at the peak were had: "detected", since only seen steps count.
        recommended_steps: a number of steps worth trying in a SEPARATE run; None where this trajectory suggests none.
    """

    peak: Peak | None
    final: float | None
    drift: float | None
    formed: int | None
    window: tuple[int, int] | None
    alignment: Alignment | None
    recommended_steps: int | None


def peak_of(steps: Sequence[int], values: Sequence[float | None]) -> Peak | None:
    """The highest defined value.

    Args:
        steps: steps completed, rising.
        values: similarity at each, None where undefined.

    Returns:
        The peak, the first of equals; None where nothing is defined.
    """
    seen = [Peak(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    return max(seen, key=lambda peak: peak.value) if seen else None


def window_of(
    steps: Sequence[int], values: Sequence[float | None], peak: Peak, within: float = WITHIN
) -> tuple[int, int] | None:
    """The stretch at the peak's level.

    Args:
        steps: steps completed, rising.
        values: similarity at each, None where undefined; undefined steps neither begin nor end the stretch.
        peak: the highest value.
        within: share of the peak that a value may lie below it.

    Returns:
        The first step within `within` of the peak, and the last one after the peak before the level is left. None
        where the peak is not above 0: there is no identity to speak of.
    """
    if peak.value <= 0:
        return None
    level = peak.value * (1 - within)
    seen = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    first = next(step for step, value in [*seen, (peak.step, peak.value)] if value >= level)
    last = peak.step
    for step, value in seen:
        if step > peak.step:
            if value < level:
                break
            last = step
    return first, last


def drift_of(peak: float | None, final: float | None) -> float | None:
    """What was lost after the peak: peak - final, never negative; None where one of them is undefined."""
    return None if peak is None or final is None else max(peak - final, 0.0)


def analyse(trace: Trace) -> Drift:
    """All figures of one trajectory.

    Args:
        trace: what a probe saw. With a batch, means over its counted items decide.

    Returns:
        The figures.
    """
    steps = [record.step for record in trace.records]
    values = list(trace.means)
    final = None if trace.final is None else trace.mean(trace.final)
    peak = peak_of(steps, values)
    if trace.final is not None and final is not None and (peak is None or final > peak.value):
        peak = Peak(trace.final.step, final)
    window = None if peak is None else window_of(steps, values, peak)
    drift = drift_of(peak.value if peak else None, final)
    return Drift(
        peak=peak,
        final=final,
        drift=drift,
        formed=_formed(trace, window),
        window=window,
        alignment=_alignment(trace, peak),
        recommended_steps=_recommended(trace, peak, drift),
    )


def _formed(trace: Trace, window: tuple[int, int] | None) -> int | None:
    """The first step at the peak's level, where it is above the lines."""
    if window is None:
        return None
    seen = [*trace.records, *([trace.final] if trace.final is not None else [])]
    record = next(record for record in seen if record.step == window[0] and trace.mean(record) is not None)
    return window[0] if above_lines(trace, trace.mean(record)) else None


def recommended_steps(trace: Trace) -> int | None:
    """A number of steps worth trying in a separate run; see `Drift.recommended_steps`."""
    return analyse(trace).recommended_steps


def matters(figures: Drift) -> bool:
    """Whether the drift exceeds 5 % of the peak."""
    return bool(figures.peak and figures.drift is not None and figures.drift > WITHIN * max(figures.peak.value, 0))


def above_lines(trace: Trace, value: float | None) -> bool | None:
    """Whether a similarity is above every known line, of other people and of no face, by two deviations.

    Args:
        trace: whose lines.
        value: mean similarity of a seen step or picture.

    Returns:
        None where there is no value, or no line is known.
    """
    bar = bar_of(trace.strangers, trace.blank)
    return None if bar is None or value is None else value > bar


def whole(trace: Trace) -> bool:
    """Whether the sampler ran from pure noise to the end: no slice, no refine pass, no interrupt, no stop."""
    ended = not trace.sigmas or trace.sigmas[-1] <= NOISE_LEFT
    alone = not refines(trace) and not part(trace) and not unlevelled(trace) and not trace.run.pieces
    return trace.status == "complete" and ended and trace.final is not None and alone


def refines(trace: Trace) -> bool:
    """Whether the run began below full noise: a refine pass, image to image, or the later part of a run."""
    first = trace.sigmas[0] if trace.sigmas else None
    return first is not None and (first < _FULL or 1 + 2 * (1 - _FULL) < first < _UNBOUNDED)


def unlevelled(trace: Trace) -> bool:
    """Whether it is not known at which noise levels a sampler worked that follows a schedule."""
    return not trace.sigmas and trace.run.steps is None and trace.run.sampler not in OWN_PACE


def part(trace: Trace) -> bool:
    """Whether other samplers' steps come before this run's or after them."""
    left = bool(trace.sigmas) and trace.sigmas[-1] > NOISE_LEFT
    return bool(trace.run.step_offset) or left


def _recommended(trace: Trace, peak: Peak | None, drift: float | None) -> int | None:
    """The peak's step where the face drifted after it, but no less than 30 % of a long run's steps; else None.

    Steps are those of this run, so the suggestion carries over to a full run only.
    """
    if not whole(trace) or peak is None or drift is None or trace.run.sampler in OWN_PACE:
        return None
    if trace.steps < LEAST_STEPS or drift <= WITHIN * max(peak.value, 0):
        return None
    steps = max(peak.step, stop_step(trace.steps, LEAST_SHARE))
    return steps if steps < trace.steps else None


def _alignment(trace: Trace, peak: Peak | None) -> Alignment | None:
    """The least certain alignment among the counted items at the peak."""
    record = next((record for record in trace.records if peak and record.step == peak.step), None)
    kinds = {record.alignment[item] for item in trace.counted} if record else set()
    order: tuple[Alignment, ...] = ("back-filled", "carried", "detected")
    return next((kind for kind in order if kind in kinds), None)
