"""The lines that a likeness is judged by: other people or pictures, and crops or pictures of nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

from .baselines import Baseline, upper_edge
from .wording import SubjectName, wording

Kind = Literal["impostor", "blank", "published", "genuine"]

KINDS: dict[Kind, str] = {
    "genuine": "the same person in another picture",
    "impostor": "other people",
    "blank": "no face at all",
}
"""What is measured of people beside a likeness, and what a chart calls it."""
OTHERS, BLANK = wording("face").others, wording("face").blank
UNKNOWN = f"{OTHERS}: unknown"
_TITLES = (("*sface*", "SFace"),)  # of recognizers whose authors publish a line, by file name


@dataclass(frozen=True)
class Line:
    """A level beside a curve: its name, its mean, and the deviation where one is known."""

    kind: Kind
    name: str
    level: float
    std: float | None = None

    @property
    def upper(self) -> float | None:
        """What a likeness must exceed to be above this line; None without a deviation."""
        return upper_edge(self.level, self.std)

    @property
    def text(self) -> str:
        """Name and level."""
        return f"{self.name} {self.level:.3g}" if self.kind == "published" else f"{self.name} {self.level:.2f}"


def judging_lines(
    strangers: Baseline | None, blank: Baseline | None, subject: SubjectName = "face"
) -> tuple[Line, ...]:
    """Other people and crops without a face (or other and blank pictures), as far as they are known."""
    words = wording(subject)
    known: list[tuple[Kind, str, Baseline | None]] = [
        ("impostor", words.others, strangers),
        ("blank", words.blank, blank),
    ]
    return tuple(Line(kind, name, line.mean, line.std) for kind, name, line in known if line is not None)


def known_lines(levels: Mapping[Kind, Baseline | None]) -> list[Line]:
    """A line for each level of KINDS that is known."""
    known = [(kind, line) for kind in KINDS if (line := levels.get(kind)) is not None]
    return [Line(kind, KINDS[kind], line.mean, line.std) for kind, line in known]


def published_name(recognizer: str) -> str:
    """What a recognizer's published line is called: "SFace's same-person line"."""
    file = recognizer.partition(" ")[0]
    title = next((title for pattern, title in _TITLES if fnmatch(file.lower(), pattern)), file.rpartition(".")[0])
    return f"{title or file}'s same-person line"


def bar_of(strangers: Baseline | None, blank: Baseline | None) -> float | None:
    """Where a likeness is above every known line by two deviations; None where no line with a deviation is known."""
    tops = [line.upper for line in judging_lines(strangers, blank)]
    return max((top for top in tops if top is not None), default=None)
