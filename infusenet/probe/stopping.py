"""When a run may be cut short, and which of its predictions is kept: pure functions of what was seen so far.

Every default here was chosen and checked by `python -m infusenet.miniature.replay`: see the help page of Stop
at Identity Peak for the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SHARE = 0.4  # of the steps, after which a run may be cut short
TAIL = 4  # larger steps that remove what noise is left then
SHARP = 0.9  # share of the finished picture's sharpness below which a prediction is no picture to keep


def stop_step(steps: int, share: float = SHARE) -> int:
    """After how many of a run's steps it may be cut short: the share, rounded up, at least 1.

    Args:
        steps: of the whole run.
        share: of it, 0..1.
    """
    return min(max(1, math.ceil(share * steps - 1e-9)), max(steps, 1))


def saves(steps: int, step: int, tail_steps: int) -> bool:
    """Whether a run that is cut short after `step` of its steps, with so many larger ones after it, has fewer."""
    return step + tail_steps < steps


def is_on_course(values: Sequence[float | None], bar: float | None) -> bool:
    """The guard: whether a run may be cut short here, as far as can be seen.

    Args:
        values: similarity of each picture of the batch in this step; None where no face is seen.
        bar: what a likeness must exceed to be above every known line (`measures.lines.bar_of`); None without any.

    Returns:
        A face is seen in every picture, and each is above the lines. Never before a face is seen.
    """
    known = [value for value in values if value is not None]
    return bool(values) and len(known) == len(values) and (bar is None or min(known) > bar)


def should_stop(
    values: Sequence[float | None], *, patience: int = 2, min_steps: int = 2, tolerance: float = 0.01
) -> int | None:
    """The first rule of stopping at the peak, asked after every step. It often stops too early.

    Args:
        values: mean similarity of the steps so far, None where no face was seen.
        patience: seen values in a row, the newest last, that must lie below the best one.
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


def best_kept(
    values: Sequence[float | None], sharpness: Sequence[float | None], finished: float | None, share: float = SHARP
) -> int | None:
    """Which step of a finished run is worth keeping instead of its end.

    Args:
        values: mean similarity of the steps, the last one the finished picture's; None where no face was seen.
        sharpness: of the same predictions; None where not measured.
        finished: sharpness of the finished picture.
        share: of it that a prediction must have.

    Returns:
        Index of the most alike seen step that is sharp enough, the last of equals; None where none is.
    """
    if finished is None:
        return None
    least = share * finished
    sharp = [
        (value, place)
        for place, (value, crisp) in enumerate(zip(values, sharpness, strict=True))
        if value is not None and crisp is not None and crisp >= least
    ]
    return max(sharp)[1] if sharp else None


def has_levelled(values: Sequence[float | None], *, least: int, width: int = 3, slope: float = 0.0) -> bool:
    """Whether the curve has stopped rising: a line through the newest seen values is no steeper than `slope`.

    It was tried as a rule of stopping, and is here to be compared with: see the replay.

    Args:
        values: mean similarity of the steps so far; None where no face was seen.
        least: never before so many steps.
        width: how many newest intervals between seen values count.
        slope: cosine a step.
    """
    seen = [value for value in values if value is not None]
    if len(values) < least or len(seen) <= width:
        return False
    newest = seen[-(width + 1) :]
    middle, mean = width / 2, math.fsum(newest) / len(newest)
    rise = math.fsum((place - middle) * (value - mean) for place, value in enumerate(newest))
    return rise / math.fsum((place - middle) ** 2 for place in range(len(newest))) <= slope
