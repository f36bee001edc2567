"""FastFace's schedules: a guidance weight for each step, by how much noise is left."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def _linear(x: float, s: float) -> float:
    return 1 - x


def _cosine(x: float, s: float) -> float:
    return 1 + math.cos(math.pi * x)  # without a half: from 2 at the end of the run


def _power_cosine(x: float, s: float) -> float:
    return (1 - math.cos(math.pi * (1 - x) ** s)) / 2


def _cap(x: float, s: float) -> float:
    return 1 - x if x > 0.5 else x


class _Shape(NamedTuple):
    """A schedule: its curve, whether time is turned round, whether it has a floor c, whether it has an exponent s."""

    curve: Callable[[float, float], float]
    inverted: bool = False
    floor: bool = False
    exponent: bool = False


_SHAPES = {
    "default": _Shape(lambda x, s: 1.0),
    "linear": _Shape(_linear),
    "clamped_lin": _Shape(_linear, floor=True),
    "inv_linear": _Shape(_linear, inverted=True),
    "inv_clamp_linear": _Shape(_linear, inverted=True, floor=True),
    "cos": _Shape(_cosine),
    "inv_cos": _Shape(_cosine, inverted=True),
    "pcs": _Shape(_power_cosine, exponent=True),
    "clamped_pcs": _Shape(_power_cosine, floor=True, exponent=True),
    "inv_pcs": _Shape(_power_cosine, inverted=True, exponent=True),
    "inv_clamped_pcs": _Shape(_power_cosine, inverted=True, floor=True, exponent=True),
    "capshape": _Shape(_cap),
    "ccshape": _Shape(_cap, floor=True),
}
SCHEDULES: tuple[str, ...] = (*_SHAPES, "custom")


def guidance_weights(
    name: str,
    base: float,
    timesteps: Sequence[float] | Tensor,
    *,
    total: int = 1000,
    c: float | None = None,
    s: float | None = None,
    custom: Sequence[float] | None = None,
) -> list[float]:
    """A weight for each step, by one of FastFace's schedules over the noise left, x = t / total.

    "linear" is base (1 - x): small while there is much noise. "cos" is base (1 + cos(pi x)), up to twice the base;
    "pcs" base/2 (1 - cos(pi (1 - x)^s)); "capshape" rises to half the base in the middle. "inv_" turns x round, and
    the "clamped", "clamp" and "ccshape" forms never fall below c.

    Args:
        name: one of `SCHEDULES`.
        base: what the schedule scales. "custom" ignores it: its values stand for themselves.
        timesteps: the scheduler's own, 0..total, in the order of the run.
        total: timesteps that the model was trained with.
        c: least weight, for the schedules that have one.
        s: exponent, for the "pcs" ones.
        custom: the values of "custom", one a step. Of a longer list the first are used; of a shorter one the last
            goes on, which is logged once.

    Returns:
        As many weights as timesteps.

    Raises:
        SettingsError: an unknown schedule, a value that it needs and lacks, or a timestep outside 0..total.
    """
    steps = [float(step) for step in timesteps]
    if name not in SCHEDULES:
        raise SettingsError(f"Unknown schedule {name!r}. Known: {', '.join(SCHEDULES)}.")
    if name == "custom":
        return _custom(custom, len(steps))
    shape = _SHAPES[name]
    check_number(base, "the base weight")
    floor = _needed(c, "c, the least weight", name) if shape.floor else -math.inf
    exponent = _needed(s, "s, the exponent", name) if shape.exponent else 1.0
    if exponent <= 0:
        raise SettingsError(f"Expected s, the exponent of {name!r}, above 0, got {s}.")
    if not all(0 <= step <= total for step in steps):
        raise SettingsError(f"Expected timesteps from 0 to {total}, got {steps}. Give the scheduler's own, or total=.")
    shares = [1 - step / total if shape.inverted else step / total for step in steps]
    return [max(floor, base * shape.curve(share, exponent)) for share in shares]


def _custom(values: Sequence[float] | None, steps: int) -> list[float]:
    if values is None:
        raise SettingsError("The schedule 'custom' needs custom=, a list of weights, one per step.")
    given = as_weights(values, "custom")
    if len(given) < steps:
        log.warning("Got %d weights for %d steps, so the last one, %g, is repeated.", len(given), steps, given[-1])
    return [given[min(step, len(given) - 1)] for step in range(steps)]


def _needed(value: float | None, what: str, name: str) -> float:
    if value is None:
        raise SettingsError(f"The schedule {name!r} needs {what}.")
    check_number(value, what)
    return value


def as_weights(values: Sequence[float], name: str) -> tuple[float, ...]:
    """Numbers in order, from a list or from one number."""
    try:
        given = (float(values),) if isinstance(values, (int, float)) else tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise SettingsError(f"Expected {name} to be weights, one number per step, got {values!r}.") from None
    if not given or not all(map(math.isfinite, given)):
        raise SettingsError(f"Expected {name} to be weights, at least one finite number, got {values!r}.")
    return given


def check_number(value: Any, name: str) -> None:
    """A tensor is let through unread: whoever asks it for a value waits for the device."""
    if value is None or (isinstance(value, (int, float)) and not math.isfinite(value)):
        raise SettingsError(f"Expected a number as {name}, got {value}.")
