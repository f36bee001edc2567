"""The lines that a likeness is judged by: other people, crops without any face. Pure functions on a trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

from ..measures.base import Baseline
from .trace import Trace

Kind = Literal["impostor", "blank", "published", "genuine"]

OTHERS, BLANK = "other people", "no face (blank)"
UNKNOWN = f"{OTHERS}: unknown"
DEVIATIONS = 2  # that a likeness must lie above a line
_ALONE = {"impostor": "other people", "blank": "the blank line"}
_TITLES = (("*sface*", "SFace"),)  # of recognizers whose authors publish a line, by file name


@dataclass(frozen=True)
class Line:
    """A level beside a curve: its name, its mean, and the deviation where one is known."""

    kind: Kind
    name: str
    level: float
    std: float | None = None

    @property
    def text(self) -> str:
        """Name and level."""
        return f"{self.name} {self.level:.3g}" if self.kind == "published" else f"{self.name} {self.level:.2f}"


def lines_of(trace: Trace) -> tuple[Line, ...]:
    """All lines that a trace knows of, those that a likeness is judged by first."""
    lines = [*judging_lines(trace.strangers, trace.blank)]
    if trace.published_line is not None:
        lines.append(Line("published", published_name(trace.recognizer), trace.published_line))
    if trace.ceiling is not None:
        lines.append(Line("genuine", "same person, other pictures", trace.ceiling))
    return tuple(lines)


def judging_lines(strangers: Baseline | None, blank: Baseline | None) -> tuple[Line, ...]:
    """Other people and crops without a face, as far as they are known."""
    known: list[tuple[Kind, str, Baseline | None]] = [("impostor", OTHERS, strangers), ("blank", BLANK, blank)]
    return tuple(Line(kind, name, line.mean, line.std) for kind, name, line in known if line is not None)


def published_name(recognizer: str) -> str:
    """What a recognizer's published line is called: "SFace's same-person line"."""
    file = recognizer.partition(" ")[0]
    title = next((title for pattern, title in _TITLES if fnmatch(file.lower(), pattern)), file.rpartition(".")[0])
    return f"{title or file}'s same-person line"


def bar_of(strangers: Baseline | None, blank: Baseline | None) -> float | None:
    """Where a likeness is above every known line by two deviations; None where no line with a deviation is known."""
    tops = [line.level + DEVIATIONS * line.std for line in judging_lines(strangers, blank) if line.std is not None]
    return max(tops, default=None)


def first_above(trace: Trace) -> int | None:
    """The first step that is seen above every known line by two deviations; None where there is none, or no line."""
    bar = bar_of(trace.strangers, trace.blank)
    if bar is None:
        return None
    looked = [*trace.records, *([trace.final] if trace.final is not None else [])]
    means = ((record.step, trace.mean(record)) for record in looked)
    return next((step for step, mean in means if mean is not None and mean > bar), None)


def above_in_words(trace: Trace) -> str | None:
    """From which step on the curve is above the lines; None where no line is known or nothing was seen."""
    known = [line for line in judging_lines(trace.strangers, trace.blank) if line.std is not None]
    if not known or not any(mean is not None for mean in trace.means):
        return None
    lines = "both lines" if len(known) > 1 else _ALONE[known[0].kind]
    step = first_above(trace)
    return f"never above {lines}" if step is None else f"above {lines} from step {step}"


def shared(traces: Sequence[Trace]) -> bool:
    """Whether traces are judged by the same lines."""
    return len({(trace.strangers, trace.blank) for trace in traces}) < 2
