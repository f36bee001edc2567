"""What may honestly be said of one run, in words; the figures are `trajectory`'s, the advice `advice`'s."""

from ..sampling import LITTLE_NOISE
from .advice import advise, why_none
from .lines import above_in_words
from .stopping import should_stop
from .trace import Trace
from .trajectory import (
    NOISE_LEFT,
    OWN_PACE,
    Drift,
    Peak,
    above_lines,
    analyse,
    drift_of,
    matters,
    part,
    peak_of,
    recommended_steps,
    refines,
    whole,
    window_of,
)

__all__ = [
    "NOISE_LEFT",
    "OWN_PACE",
    "Drift",
    "Peak",
    "above_lines",
    "analyse",
    "drift_of",
    "in_words",
    "matters",
    "peak_of",
    "recommended_steps",
    "should_stop",
    "whole",
    "window_of",
]

TRY = "Try next: "  # before advice
_TRIED = "This advice was tested on the miniature's drawn faces, not on real ones. Compare before you keep it."


def in_words(trace: Trace) -> str:
    """What the trace shows and what to try next, in sentences, one thought a line.

    Args:
        trace: what a probe saw.

    Returns:
        Plain text. Steps of this run and steps of a separate run are never mixed up.
    """
    figures = analyse(trace)
    if figures.peak is None:
        return "\n".join([_nothing(trace), *_notes(trace, figures)])
    lines = [*_course(trace, figures, figures.peak), *_levels(trace, figures.peak)]
    advice = [TRY + one.words for one in advise(trace)]
    advice += [_TRIED] if advice else []
    return "\n".join([*lines, *(advice or why_none(trace)), *_notes(trace, figures)])


def _nothing(trace: Trace) -> str:
    """Why there is no curve."""
    if trace.status == "failed":
        return f"The probe failed, so nothing was measured: {trace.reason}"
    if not trace.records:
        ended = "was interrupted" if trace.status == "interrupted" else "ended"
        return f"Nothing was measured because the run {ended} before its first probed step."
    if trace.wording.unadvised:  # of whole pictures
        return (
            f"None of the {len(trace.records)} probed predictions could be measured. They are empty, or contain "
            "NaN or infinity."
        )
    if any(trace.unseen_mean(record) is not None for record in trace.records):
        return (
            f"No face was seen with enough confidence in any of the {len(trace.records)} probed predictions, so "
            "there is no conclusion. The hollow points were measured where a face was guessed or known to be."
        )
    return (
        f"No face was found in any of the {len(trace.records)} probed predictions, so there is nothing to compare. "
        "Check that the picture shows a face that is large enough and not turned away."
    )


def _course(trace: Trace, figures: Drift, peak: Peak) -> list[str]:
    """Where the likeness was there, where it peaked, what followed."""
    total = trace.steps if trace.stopped_after is None else len(trace.sigmas) - 1  # of a run cut short: those it had
    batch = " (mean of the batch)" if len(trace.counted) > 1 else ""
    lines = []
    if figures.formed is not None:
        lines.append(trace.wording.formed.format(step=figures.formed, total=total))
    lines.append(f"It peaked at step {peak.step} of {total} with a similarity of {peak.value:.3f}{batch}.")
    if trace.status == "stopped at peak":
        lines.append(_stopped(trace, peak))
    elif figures.final is None or figures.drift is None:
        missing = "There is no finished picture" if trace.final is None else trace.wording.no_final
        lines.append(f"{missing}, so the drift is unknown.")
    elif matters(figures):
        percent = 100 * figures.drift / peak.value if figures.final > 0 else None  # of a peak near 0 it means nothing
        share = "" if percent is None else f", {percent:.0f} % of the peak"
        lines.append(f"The finished picture is down to {figures.final:.3f}, a drift of {figures.drift:.3f}{share}.")
    else:
        lines.append(
            f"The finished picture keeps {figures.final:.3f}, a drift of {figures.drift:.3f}, which is within 5 % "
            "of the peak."
        )
    return lines


def _stopped(trace: Trace, peak: Peak) -> str:
    """What was handed on by Stop at Identity Peak."""
    step = peak.step if trace.final is None else trace.final.step
    cut = trace.stopped_after
    if cut is None and trace.records and trace.records[-1].step == trace.steps:
        return (
            f"The run was finished, and the prediction of step {step} was kept: of those sharp enough, it is the "
            "most like the reference."
        )
    if cut is None or step <= cut:
        return f"Sampling was stopped, and the picture is the prediction of step {step}."
    finished = "" if trace.final is None else trace.mean(trace.final)
    likeness = f" Its similarity is {finished:.3f}." if isinstance(finished, float) else ""
    return (
        f"Sampling was cut short after step {cut} of {trace.steps}, and {step - cut} larger steps removed the "
        f"remaining noise.{likeness}"
    )


def _levels(trace: Trace, peak: Peak) -> list[str]:
    """How the curve compares with other people or pictures, with nothing, and with the same person."""
    lines, words = [], trace.wording
    above = above_in_words(trace)
    if above is not None:
        lines.append(f"The curve is {above}.")
    for what, line in ((words.others, trace.strangers), (words.blanks, trace.blank)):
        if line is not None:
            spread = "" if line.std is None else f" ± {line.std:.3f}"
            lines.append(f"For comparison, {what} score {line.mean:.3f}{spread} against this reference.")
    if trace.strangers is None and words.unknown:
        lines.append(words.unknown)
    if above_lines(trace, peak.value) is False:
        lines.append(words.indistinct)
    if trace.ceiling is not None:
        lines.append(f"Other pictures of the same {words.model} score {trace.ceiling:.3f}.")
    if trace.published_line is not None:
        name = trace.recognizer.partition(" ")[0]
        lines.append(f"The authors of {name} count two faces as the same person at {trace.published_line:.3f} or more.")
    return lines


def _notes(trace: Trace, figures: Drift) -> list[str]:
    """What a reader must know to judge the figures."""
    notes, left_out = [], [item + 1 for item in range(trace.batch) if item not in trace.counted]
    if figures.peak is not None and left_out:
        items = ", ".join(map(str, left_out))
        notes.append(f"{trace.wording.left_out}: picture {items} of the batch of {trace.batch}.")
    if trace.rule is None:
        notes.append(
            "This was measured by an old version, which did not record its rule, so do not compare it with "
            "newer measurements."
        )
    if trace.run.final_decoder is not None and trace.run.final_decoder != trace.run.decoder:
        notes.append(
            "The steps were decoded with a smaller decoder than the finished picture, so small differences mean little."
        )
    if trace.run.step_offset:
        notes.append(f"Steps are counted from this sampler's first step. {trace.run.step_offset} steps came before it.")
    hardly = trace.run.strength and above_lines(trace, figures.final) is False
    if hardly and refines(trace) and not part(trace):
        notes.append(LITTLE_NOISE)
    if trace.run.pieces:
        notes.append(f"The run was sampled in {trace.run.pieces} passes, each continuing where the previous one ended.")
    if trace.status in ("interrupted", "failed") and figures.peak is not None:
        ended = "The run or the probe failed" if trace.status == "failed" else "The run was interrupted"
        notes.append(f"{ended}: {trace.reason}" if trace.reason else f"{ended}.")
    return [*notes, *trace.warnings]
