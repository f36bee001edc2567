"""How alike finished pictures are to a person, and in which order: what Identity Score tells."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import Baseline, Measure, Reading, ReferenceData, Rule
from .base import Pixels
from .lines import Line, judging_lines, published_name
from .wording import Wording, wording

TOLD = 12  # pictures that are told of one by one on a node


@dataclass(frozen=True)
class Scores:
    """Pictures measured by one rule.

    Attributes:
        readings: one a picture, in the order given.
        recognizer: the network that measured.
        detector: the network that found the faces; None where not known, or where none is looked for.
        rule: how it was measured.
        impostor: what other people (or other pictures) score; None = unknown.
        blank: what crops without any face (or blank pictures) score.
        published_line: from which cosine on the recognizer's authors speak of the same person, where they say so.
    """

    readings: tuple[Reading, ...]
    recognizer: str
    detector: str | None
    rule: Rule
    impostor: Baseline | None = None
    blank: Baseline | None = None
    published_line: float | None = None

    @classmethod
    def of(
        cls,
        measure: Measure,
        pictures: Iterable[Pixels],
        references: Sequence[ReferenceData],
        impostor: Baseline | None = None,
    ) -> Scores:
        """Measure pictures, one after the other.

        Args:
            measure: the rule.
            pictures: RGB uint8 [H, W, 3].
            references: the person or thing; or one for each picture, taken in turn.
            impostor: what other people or pictures score.
        """
        readings = tuple(
            measure.read([picture], references[index % len(references)])[0] for index, picture in enumerate(pictures)
        )
        blank = Baseline.pooled([reference.blank for reference in references])
        detector, published = (getattr(measure, name, None) for name in ("detector", "published_line"))
        return cls(readings, measure.name, detector, measure.rule, impostor, blank, published)

    @property
    def wording(self) -> Wording:
        """The words for what was measured."""
        return wording(self.rule.subject)

    @property
    def order(self) -> tuple[int, ...]:
        """Places of the pictures, the most alike first (of equals the first given), those not measured last."""
        return tuple(sorted(range(len(self.readings)), key=lambda index: -_number(self.similarity(index), -math.inf)))

    @property
    def best(self) -> int | None:
        """The place of the picture most alike; None where none could be measured."""
        return next((index for index in self.order[:1] if self.similarity(index) is not None), None)

    def similarity(self, index: int) -> float | None:
        """A picture's cosine with its reference; None where nothing is seen."""
        return self.readings[index].similarity

    @property
    def sorted(self) -> list[float]:
        """All similarities in `order`; NaN where undefined."""
        return [_number(self.similarity(index), math.nan) for index in self.order]

    @property
    def lines(self) -> tuple[Line, ...]:
        """What the similarities are held against."""
        known = judging_lines(self.impostor, self.blank, self.rule.subject)
        if self.published_line is None:
            return known
        return (*known, Line("published", published_name(self.recognizer), self.published_line))

    def under(self, index: int) -> str | None:
        """The highest of the lines that a picture is not above by two deviations; None where it is above all known."""
        value = self.similarity(index)
        tops = [(line.upper, line.name) for line in self.lines if line.upper is not None]
        over = [top for top in tops if value is not None and value <= top[0]]
        return max(over)[1] if over else None

    def why(self, index: int) -> str | None:
        """Why a picture has no similarity; None where it has one."""
        reading = self.readings[index]
        if reading.similarity is not None or reading.why is not None:
            return reading.reason
        if reading.seen:
            return "the face could not be encoded"
        surest = "" if reading.score is None else f" (the most certain one has a confidence of {reading.score:.2f})"
        return f"no face was found with enough confidence{surest}"

    def in_words(self, limit: int | None = None) -> str:
        """The best picture, each picture's likeness, the lines and what measured, a line each.

        Args:
            limit: pictures told of one by one; all by default.
        """
        count, told = len(self.readings), self.order[:limit]
        best, nothing = self.best, self.wording.nothing_in.format(count=len(self.readings))
        head = f"{nothing}." if best is None else f"Most alike: {self._told(best)}."
        rest = [f"... and {count - len(told)} more"] if len(told) < count else []
        lines = self.lines_in_words()
        each = [self._told(index) for index in told] if count > 1 or best is None else []
        finder = "" if self.detector is None else f", faces found by {self.detector}"
        measured = f"Measured by {self.recognizer}{finder}; rule: {self.rule}."
        compared = [f"For comparison: {', '.join(lines)}."] if lines else []
        return "\n".join([head, *each, *rest, *compared, measured])

    def lines_in_words(self) -> list[str]:
        """Each line by name and level, and the impostors' where it is unknown."""
        unknown = self.wording.others_unknown if self.impostor is None else None
        return [line.text for line in self.lines] + ([unknown] if unknown else [])

    def _told(self, index: int) -> str:
        value, under = self.similarity(index), self.under(index)
        doubt = "" if under is None else f" (cannot be told apart from: {under})"
        return f"picture {index + 1}: {self.why(index) if value is None else f'{value:.3f}{doubt}'}"

    def to_json(self) -> str:
        """All of it, the most alike first, laid out as compare.json; `index` counts from 0. Undefined is null."""

        def entry(index: int) -> dict[str, Any]:
            reason, score = self.why(index), self.readings[index].score
            return {"index": index, "similarity": self.similarity(index), "score": score, "reason": reason}

        told = {
            "recognizer": self.recognizer,
            "detector": self.detector,
            "rule": asdict(self.rule),
            "impostor": None if self.impostor is None else asdict(self.impostor),
            "blank": None if self.blank is None else asdict(self.blank),
            "published_line": self.published_line,
            "pictures": [entry(index) for index in self.order],
        }
        return json.dumps(told, indent=1, allow_nan=False) + "\n"


def _number(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
