"""Where identity formed, where it peaked, and what was lost afterwards: pure functions on a trace.

All of it is about the TRAJECTORY: the denoised predictions of one run. What a separate run with fewer steps would
give is another question (the step budget), which a trace can suggest but never answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .measures.base import Alignment
from .probe.trace import Trace

WITHIN = 0.05  # share of the peak that still counts as its level
NOISE_LEFT = 2e-3  # a schedule that ends above it leaves noise; uni_pc writes 0.001 in the place of the last 0
OWN_PACE = ("dpm_fast", "dpm_adaptive")  # samplers whose callbacks are not the steps of the schedule they were given


@dataclass(frozen=True)
class Peak:
    """The highest similarity of a run, and the number of completed steps after which it was seen, first of equals."""

    step: int
    value: float


@dataclass(frozen=True)
class Drift:
    """The figures of one trajectory. Undefined is None.

    Attributes:
        peak: the highest mean similarity among the steps and the finished picture.
        final: mean similarity of the finished picture.
        drift: peak - final, never negative.
        formed: first step within 5 % of the peak.
        window: first and last step of the stretch within 5 % of the peak: from `formed` to the last step after the
            peak before the similarity leaves that level.
        alignment: how the landmarks at the peak were had: "detected" when they were in every counted item.
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


def should_stop(
    values: Sequence[float | None], *, patience: int = 2, min_steps: int = 2, tolerance: float = 0.01
) -> int | None:
    """The rule of stopping at the peak, asked after every step.

    Args:
        values: mean similarity of the steps so far, None where undefined.
        patience: defined values in a row, the newest last, that must lie below the best one.
        min_steps: never stop before so many steps.
        tolerance: how far below, in cosine; smaller losses do not count.

    Returns:
        Index of the best value when it is time to stop, else None. It depends on the values alone, never on time.
    """
    best = max((value for value in values if value is not None), default=None)
    if best is None or len(values) < min_steps:
        return None
    at = values.index(best)
    since = [value for value in values[at + 1 :] if value is not None]
    lost = len(since) >= patience and all(value < best - tolerance for value in since[len(since) - patience :])
    return at if lost else None


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
        formed=window[0] if window else None,
        window=window,
        alignment=_alignment(trace, peak),
        recommended_steps=_recommended(trace, peak, window, drift),
    )


def recommended_steps(trace: Trace) -> int | None:
    """A number of steps worth trying in a separate run; see `Drift.recommended_steps`."""
    return analyse(trace).recommended_steps


def matters(figures: Drift) -> bool:
    """Whether the drift exceeds 5 % of the peak."""
    return bool(figures.peak and figures.drift is not None and figures.drift > WITHIN * max(figures.peak.value, 0))


def above_strangers(trace: Trace, figures: Drift) -> bool | None:
    """Whether the peak is above what other people score (mean + 2 deviations); None where that is unknown."""
    baseline = trace.strangers
    if baseline is None or baseline.std is None or figures.peak is None:
        return None
    return figures.peak.value > baseline.mean + 2 * baseline.std


def whole(trace: Trace) -> bool:
    """Whether the sampler ran to the end of a schedule that leaves no noise: no slice, no interrupt."""
    ended = not trace.sigmas or trace.sigmas[-1] <= NOISE_LEFT
    return trace.status == "complete" and ended and trace.final is not None


def _recommended(trace: Trace, peak: Peak | None, window: tuple[int, int] | None, drift: float | None) -> int | None:
    """The peak's step when the face drifted after it; where it formed when that was in the first half; else None.

    Steps are those of this run, so the suggestion carries over to a full run only.
    """
    if not whole(trace) or peak is None or window is None or drift is None:
        return None
    if trace.run.step_offset or trace.run.sampler in OWN_PACE:
        return None
    if drift > WITHIN * peak.value:
        return peak.step if peak.step < trace.steps else None
    return window[0] if window[0] <= trace.steps / 2 else None


def _alignment(trace: Trace, peak: Peak | None) -> Alignment | None:
    """The least certain alignment among the counted items at the peak."""
    record = next((record for record in trace.records if peak and record.step == peak.step), None)
    kinds = {record.alignment[item] for item in trace.counted} if record else set()
    order: tuple[Alignment, ...] = ("back-filled", "carried", "detected")
    return next((kind for kind in order if kind in kinds), None)


def in_words(trace: Trace) -> str:
    """What the trace shows and what to try next, in sentences, one thought a line.

    Args:
        trace: what a probe saw.

    Returns:
        Plain text. Steps of this run and steps of a separate run are never mixed up.
    """
    figures = analyse(trace)
    if figures.peak is None:
        lines = [_nothing(trace)]
    else:
        lines = [*_course(trace, figures, figures.peak), *_levels(trace, figures)]
        lines += [f"Try next: {advice}" for advice in _advice(trace, figures, figures.peak)]
    return "\n".join([*lines, *_notes(trace, figures)])


def _nothing(trace: Trace) -> str:
    """Why there is no curve."""
    if trace.status == "failed":
        return f"The probe failed, so nothing was measured: {trace.reason}"
    if not trace.records:
        return f"Nothing was measured: the run was {trace.status} before its first probed step."
    return (
        f"No face was found in any of the {len(trace.records)} probed predictions, so nothing could be compared. "
        "Look at the picture: is there a face in it, large enough and not turned away?"
    )


def _course(trace: Trace, figures: Drift, peak: Peak) -> list[str]:
    """Where identity formed, where it peaked, what followed."""
    total, batch = trace.steps, " (mean of the batch)" if len(trace.counted) > 1 else ""
    lines = []
    if figures.formed is not None:
        lines.append(
            f"Identity formed at step {figures.formed} of {total}: the first prediction within 5 % of the best one."
        )
    lines.append(f"It peaked at step {peak.step} of {total} with a similarity of {peak.value:.3f}{batch}.")
    if trace.status == "stopped at peak":
        step = peak.step if trace.final is None else trace.final.step
        lines.append(f"Sampling was stopped: the picture is the prediction of step {step}.")
    elif figures.final is None or figures.drift is None:
        missing = "There is no finished picture" if trace.final is None else "The finished picture shows no face"
        lines.append(f"{missing} to compare with, so no drift can be stated.")
    elif matters(figures):
        percent = 100 * figures.drift / peak.value if figures.final > 0 else None  # of a peak near 0 it means nothing
        share = "" if percent is None else f", {percent:.0f} % of the peak"
        lines.append(f"The finished picture is down to {figures.final:.3f}: a drift of {figures.drift:.3f}{share}.")
    else:
        lines.append(
            f"The finished picture keeps {figures.final:.3f}: a drift of {figures.drift:.3f}, within 5 % of the peak."
        )
    return lines


def _levels(trace: Trace, figures: Drift) -> list[str]:
    """How the peak compares with other people and with the same person."""
    lines, baseline = [], trace.strangers
    if baseline is not None:
        spread = "" if baseline.std is None else f" ± {baseline.std:.3f}"
        lines.append(f"For comparison, other people score {baseline.mean:.3f}{spread} against this reference.")
    if above_strangers(trace, figures) is False:
        lines.append("The peak does not stand out from that: this face cannot be told from a stranger's.")
    if trace.ceiling is not None:
        lines.append(f"Other pictures of the same person score {trace.ceiling:.3f}.")
    return lines


def _advice(trace: Trace, figures: Drift, peak: Peak) -> list[str]:
    """What to try next, the surest first."""
    steps, end, separate = trace.steps, trace.run.end, figures.recommended_steps
    if figures.window is None or above_strangers(trace, figures) is False:
        return ["a clearer, frontal reference picture, or more strength of the identity adapter."]
    if not whole(trace):
        return (
            [] if trace.status == "stopped at peak" else ["probe a run to its end, so that its drift can be measured."]
        )
    advice = []
    if matters(figures):
        advice.append(
            f"in ComfyUI, Stop at Peak: it returns this run's own prediction of step {peak.step}, softer but before "
            "the drift."
        )
        if end is not None and end < 1 and trace.run.sampler not in OWN_PACE:
            off = int(end * steps + 1e-9)
            if off <= peak.step + 1:
                advice.append(f"an end_percent above {end:g}: the identity adapter was off after step {off}.")
    elif separate is not None:
        percent = -(-100 * separate // steps) / 100  # rounded up, so that this step still counts
        advice.append(
            f"an end_percent of {percent:.2f}: the identity adapter would rest after step {separate}, which saves time."
        )
    elif peak.step >= steps:
        advice.append("more strength of the identity adapter, if the likeness is too weak: it rose until the end.")
    if separate is not None:
        advice.append(
            f"{separate} step{'s' * (separate != 1)} as a separate run: another path from noise to picture, "
            "not this one cut short, so probe it again."
        )
    return advice


def _notes(trace: Trace, figures: Drift) -> list[str]:
    """What a reader must know to judge the figures."""
    notes, left_out = [], [item + 1 for item in range(trace.batch) if item not in trace.counted]
    if figures.peak is not None and left_out:
        items = ", ".join(map(str, left_out))
        notes.append(f"Not counted for want of a face: picture {items} of the batch of {trace.batch}.")
    if figures.alignment in ("carried", "back-filled"):
        notes.append(
            f"At the peak no face was detected; it was measured where the face is in "
            f"{'an earlier' if figures.alignment == 'carried' else 'a later'} step."
        )
    if trace.run.final_decoder is not None and trace.run.final_decoder != trace.run.decoder:
        notes.append(
            "The steps were decoded by a smaller decoder than the finished picture: small differences mean little."
        )
    if trace.run.step_offset:
        notes.append(f"Steps are counted from this sampler's first one; {trace.run.step_offset} came before it.")
    if trace.status in ("interrupted", "failed") and figures.peak is not None:
        notes.append(f"The run was {trace.status}: {trace.reason}" if trace.reason else f"The run was {trace.status}.")
    return [*notes, *trace.warnings]
