"""Settings that can be tried at several values: the one table of them, the values a user writes, what came of each."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, DecimalException
from typing import Any, TypeVar

from .errors import SettingsError
from .measures.wording import SubjectName, wording
from .metrics.base import mean_of

MOST = 100  # values of one sweep
NOTHING = -1.0  # best value where no picture shows a face; no axis has a negative value
COLUMNS = (
    "axis",
    "value",
    "picture",
    "similarity",
    "value_similarity",
    "value_failures",
    "steps",
    "seed",
    "cfg",
    "sampler",
    "seconds",
    "recognizer",
    "rule",
)

Value = int | float


R = TypeVar("R")  # the settings of one run, a frozen dataclass: a GenerateRequest, or a node's own


def replaces(field: str) -> Callable[[Any, Value], Any]:
    """The usual `Axis.apply`: the setting itself has the value."""

    def apply(request: Any, value: Value) -> Any:
        if not hasattr(request, field):
            kind = type(request).__name__
            raise SettingsError(f"The axis {field!r} has no apply=, and {kind} has no field {field!r}.")
        return replace(request, **{field: value})

    return apply


def _first_steps(request: Any, value: Value) -> Any:
    """InfuseNet acts in the first so many steps of the run, whose own number must be known."""
    if request.steps is None or value > request.steps:
        raise SettingsError(
            f"Expected at most {request.steps} active steps, the number of steps in the run, got {value}."
        )
    return replace(request, end=value / request.steps)


@dataclass(frozen=True)
class Axis:
    """A setting that can be tried at several values.

    Attributes:
        name: as users write it.
        label: for a chart's axis.
        whole: whole numbers alone.
        low, high: the range, both inclusive.
        ordered: whether neighbouring values are related, so that a line between them means something.
        title: in tables and legends; the name by default.
        apply: (request, value) -> the request with it. Axes are applied in the order of `AXES`.
        default: what a method of a sweep has that does not name it; None: the request stays as it is.
        neutral: values at which it changes nothing.
    """

    name: str
    label: str
    whole: bool
    low: float
    high: float
    ordered: bool = True
    title: str = ""
    apply: Callable[[Any, Value], Any] | None = None
    default: Value | None = None
    neutral: tuple[Value, ...] = ()

    @property
    def shown(self) -> str:
        """Its title."""
        return self.title or self.name

    def applied(self, request: R, value: Value) -> R:
        """A request with this value."""
        changed: R = (self.apply or replaces(self.name))(request, value)
        return changed

    @property
    def range(self) -> str:
        """Lowest and highest value, as text."""
        return f"{as_text(self.low)}..{as_text(self.high)}"


_SEPARATE = "separate runs from the same noise"
AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("steps", f"number of steps: {_SEPARATE}", True, 1, 200),
        Axis("strength", f"InfuseNet's strength: {_SEPARATE}", False, 0, 3, default=1.0, neutral=(0,)),
        Axis("guidance", f"guidance: {_SEPARATE}", False, 0, 100),
        Axis("true_cfg", f"true CFG scale: {_SEPARATE}", False, 0, 100, title="true CFG", default=1.0, neutral=(1,)),
        Axis(
            "first_steps",
            f"number of first steps with InfuseNet: {_SEPARATE}",
            True,
            0,
            200,
            title="active steps",
            apply=_first_steps,
        ),
        Axis("seed", "seed: separate runs, each from different noise", True, 0, 2**64 - 1, ordered=False),
    )
}
"""The settings that can be tried at several values, for the Sweep node and for sweeps alike."""


@dataclass(frozen=True)
class Tried:
    """What came of one value.

    Attributes:
        value: the axis's.
        similarities: cosine of each picture with the reference; None where it shows no face.
        steps: steps sampled.
        seed: of the noise.
        seconds: sampling alone, for all pictures of this value.
        cfg: true CFG scale where the axis changed it.
        metrics: what else was measured of each picture, by name; None where undefined.
    """

    value: Value
    similarities: tuple[float | None, ...]
    steps: int
    seed: int
    seconds: float
    cfg: float | None = None
    metrics: tuple[Mapping[str, float | None], ...] = ()

    @property
    def similarity(self) -> float | None:
        """Mean over the pictures that show a face; None where none does."""
        return mean_of(self.similarities)

    @property
    def failures(self) -> int:
        """How many pictures show no face."""
        return sum(value is None for value in self.similarities)


def parse_values(text: str, axis: Axis) -> tuple[Value, ...]:
    """The values that a user has written.

    Args:
        text: numbers and ranges `start:stop:step`, separated by commas, semicolons or lines: "1, 2, 4, 8",
            "0.25:1.5:0.25", "1; 4:28:4"; of whole numbers also "1-4". A range holds its stop if a step falls on it. A
            value given again counts once.
        axis: tells what is allowed.

    Returns:
        The values in the order given, exact (0.1:0.3:0.1 gives 0.3); int for whole axes, else float.

    Raises:
        SettingsError: nothing, something that is no number, a value outside the axis's range, or more than `MOST`
            values. The message names the part that is wrong.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line.rstrip(",; ") for line in lines[:-1]] + lines[-1:]
    parts = [part.strip() for part in ",".join(lines).replace(";", ",").split(",")]
    parts = [_spelled_out(part) if axis.whole else part for part in parts]
    if not any(parts):
        raise _refused(axis, "nothing is written here")
    found: dict[Decimal, None] = {}
    for part in parts:
        if not part:
            raise _refused(axis, "a comma has no value next to it")
        for value in _range(part, axis) if ":" in part else [_number(part, part, axis)]:
            found[value] = None
            if len(found) > MOST:
                raise _too_many(axis, part)
    return tuple(int(value) if axis.whole else float(value) for value in found)


def best_of(tried: Sequence[Tried]) -> Tried | None:
    """The value whose pictures look most like the person, the first of equals; None where no picture shows a face."""
    measured = [one for one in tried if one.similarity is not None]
    return max(measured, key=lambda one: one.similarity or 0.0) if measured else None


def as_text(value: Value) -> str:
    """A value as a reader writes it: 1.0 as 1."""
    return str(value) if isinstance(value, int) else f"{value:.10g}"


def to_csv(
    tried: Sequence[Tried], axis: Axis, *, cfg: float, sampler: str, recognizer: str = "", rule: str = ""
) -> str:
    """One row a picture, in full precision: `COLUMNS`, then the metrics. Undefined is empty, pictures count from 1.

    `value_similarity` and `value_failures` belong to the value: the mean over its pictures that show a face, and how
    many show none. `recognizer` and `rule` are how all of them were measured.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = list(dict.fromkeys(name for one in tried for metrics in one.metrics for name in metrics))
    table.writerow([*COLUMNS, *names])
    for one in tried:
        for number, similarity in enumerate(one.similarities, start=1):
            metrics = one.metrics[number - 1] if one.metrics else {}
            cells: list[Any] = [
                axis.name,
                one.value,
                number,
                similarity,
                one.similarity,
                one.failures,
                one.steps,
                one.seed,
            ]
            scale = cfg if one.cfg is None else one.cfg
            cells += [scale, sampler, one.seconds, recognizer, rule, *map(metrics.get, names)]
            table.writerow(cells)  # None is written as nothing
    return text.getvalue()


def in_words(tried: Sequence[Tried], axis: Axis, subject: SubjectName = "face") -> str:
    """The result in a sentence or two; `subject` is what was compared, as the measure's rule has it."""
    words_for = wording(subject)
    best, pictures = best_of(tried), sum(len(one.similarities) for one in tried)
    failures = sum(one.failures for one in tried)
    if best is None:
        return f"{words_for.nothing_in.format(count=pictures)}, so there is no best {axis.name}."
    words = f"Best {axis.name}: {as_text(best.value)}, similarity {best.similarity:.3f}."
    values = [one.value for one in tried]
    edge = {min(values): "smallest", max(values): "largest"}.get(best.value)
    if axis.ordered and len(values) > 2 and edge is not None and best.value not in (axis.low, axis.high):
        words += f" This is the {edge} value tried, so a better one may lie beyond it."
    return words + (f" {failures} of {pictures} pictures {words_for.without}." if failures else "")


def _spelled_out(part: str) -> str:
    """ "1-4" as the range that it means."""
    span = re.fullmatch(r"(\d{1,20})\s*[-–]\s*(\d{1,20})", part)
    if span is None:
        return part
    first, last = span.groups()
    return f"{first}:{last}:{1 if int(first) <= int(last) else -1}"


def _range(part: str, axis: Axis) -> list[Decimal]:
    """The values of `start:stop:step`."""
    ends = part.split(":")
    if len(ends) != 3:
        raise _refused(axis, f"'{part}' is not a range of the form start:stop:step")
    start, stop = (_number(end.strip(), part, axis) for end in ends[:2])
    step = _decimal(ends[2].strip(), part, axis)
    if step == 0 or (stop - start) * step < 0:
        raise _refused(axis, f"'{part}' never reaches its end. Its step must not be 0 and must lead from start to stop")
    if axis.whole and step != step.to_integral_value():
        raise _refused(axis, f"the step of '{part}' is not a whole number")
    try:
        intervals = (stop - start) / step
    except DecimalException:  # a step next to nothing
        raise _too_many(axis, part) from None
    if intervals >= MOST:
        raise _too_many(axis, part)
    return [start + index * step for index in range(math.floor(intervals) + 1)]


def _number(text: str, part: str, axis: Axis) -> Decimal:
    """A value of the axis."""
    value = _decimal(text, part, axis)
    if not axis.low <= value <= axis.high:
        where = f"'{text}'" if text == part else f"'{text}' in '{part}'"
        raise _refused(axis, f"{where} is outside {axis.range}")
    if axis.whole and value != value.to_integral_value():
        raise _refused(axis, f"'{text}' is not a whole number")
    return value


def _decimal(text: str, part: str, axis: Axis) -> Decimal:
    try:
        value = Decimal(text)
    except DecimalException:
        value = Decimal("nan")
    if not value.is_finite():
        raise _refused(axis, f"'{text}' is not a number" + ("" if text == part else f" (in '{part}')"))
    return value


def _refused(axis: Axis, reason: str) -> SettingsError:
    kind = "whole numbers" if axis.whole else "numbers"
    example = "1, 2, 4, 8 or 1:8:1" if axis.whole else "0.5, 1 or 0.25:1.5:0.25"
    return SettingsError(
        f"values: {reason}. For {axis.name}, write {kind} from {axis.range}, separated by commas, or "
        f"start:stop:step. Example: {example}."
    )


def _too_many(axis: Axis, part: str) -> SettingsError:
    return _refused(axis, f"'{part}' makes more than {MOST} values, the most one sweep can have")
