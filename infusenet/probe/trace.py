"""Trace: everything a probe saw of one run, readable and writable as JSON and CSV."""

import csv
import dataclasses
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InfuseNetError
from ..files import write_atomically
from ..measures.base import ReferenceInfo, Rule
from ..measures.baselines import Baseline
from ..measures.wording import Wording, wording
from ..metrics.base import mean_of
from .records import Evaluation, RunInfo, Status, StepRecord
from .strict import build

FORMAT = "infusenet-trace"
VERSION = 1
_CONFIDENT = 0.5  # confidence of a face in traces from before rules were recorded, which noted fainter ones too


class TraceError(InfuseNetError):
    """A file is not a trace, is damaged, or comes from another version."""


@dataclass(frozen=True)
class Trace:
    """The trajectory of ONE run: how the denoised prediction looked to a measure at each of its steps.

    Most often that is a face recognizer. Where `rule.subject` is "picture" or "prompt", whole pictures were compared:
    then "a face was seen" below means that the picture could be measured, and other people are other pictures.

    It says nothing about runs with another number of steps. Undefined values are None (null in JSON), never 0.

    Attributes:
        records: one a probed step, in order of steps.
        final: the same measurement of the finished picture; its `step` is the step whose result the picture is.
            None where there was no finished picture.
        batch: number of pictures in the batch.
        every: only steps 1, 1 + every, 1 + 2 every, … and the last known one were probed.
        sigmas: the sampler's noise levels, one more than steps; () where unknown.
        reference: the face, pictures or prompt compared with.
        strangers: what other people score against that reference.
        ceiling: what other pictures of the same person score, if known.
        recognizer: name of the network that measured.
        evaluation: "live" during sampling or "after" it.
        status: how the run ended.
        reason: why it ended early or what failed.
        warnings: what a reader must know to judge the numbers.
        seconds_in_loop: time the probe spent while sampling was going on.
        seconds_after: time it spent afterwards.
        run: how the pictures were made.
        rule: how it was measured; None in traces of before rules were recorded. Compare only traces of one rule.
        detector: name of the network that found the faces; None where not known.
        blank: what crops without any face score against that reference; None where not measured.
        published_line: from which cosine on the recognizer's authors speak of the same person, where they say so.
        stopped_after: steps of the schedule after which the run was cut short; `sigmas` then holds the levels that
            were really run: those of the schedule so far, and those of the tail.
    """

    records: tuple[StepRecord, ...]
    final: StepRecord | None
    batch: int
    every: int
    sigmas: tuple[float, ...]
    reference: ReferenceInfo
    strangers: Baseline | None
    ceiling: float | None
    recognizer: str
    evaluation: Evaluation
    status: Status
    reason: str | None
    warnings: tuple[str, ...]
    seconds_in_loop: float
    seconds_after: float
    run: RunInfo
    rule: Rule | None = None
    detector: str | None = None
    blank: Baseline | None = None
    published_line: float | None = None
    stopped_after: int | None = None

    def __post_init__(self) -> None:
        steps = [record.step for record in self.records]
        if steps != sorted(set(steps)):
            raise ValueError(f"Expected records sorted by step, each step once, got steps {steps}.")
        measured = [*self.records, self.final] if self.final else [*self.records]
        if any(record.batch != self.batch for record in measured):
            raise ValueError(f"Expected {self.batch} batch items in every record.")

    @property
    def steps(self) -> int:
        """Steps of the run: as asked for, else by the sigmas, else as recorded."""
        recorded = self.records[-1].step if self.records else 0
        return self.run.steps or max(len(self.sigmas) - 1, 0) or recorded

    @property
    def wording(self) -> Wording:
        """The words for what was measured; traces of before rules were recorded are of faces."""
        return wording("face" if self.rule is None else self.rule.subject)

    def sees(self, record: StepRecord, item: int) -> bool:
        """Whether a face was seen with confidence in a batch item. Traces without a rule noted fainter ones too."""
        score = record.score[item]
        sure = self.rule is not None or score is None or score >= _CONFIDENT
        return bool(record.found[item]) and sure and record.similarity[item] is not None

    @property
    def counted(self) -> tuple[int, ...]:
        """Batch items (from 0) that means are taken over: seen in a step, and in the final picture if any item was.

        One fixed set for all steps, so that an item that drops out does not move the mean.
        """
        seen = [item for item in range(self.batch) if any(self.sees(record, item) for record in self.records)]
        kept = [item for item in seen if self.final is None or self.sees(self.final, item)]
        return tuple(kept or seen)

    def mean(self, record: StepRecord) -> float | None:
        """Mean similarity of the counted items in a record; None where one of them is not seen."""
        seen = all(self.sees(record, item) for item in self.counted)
        return mean_of([record.similarity[item] for item in self.counted]) if seen else None

    @property
    def means(self) -> tuple[float | None, ...]:
        """`mean` of every record."""
        return tuple(self.mean(record) for record in self.records)

    def unseen_mean(self, record: StepRecord) -> float | None:
        """For the eye alone: the mean where an item was measured at a place at which no face was seen; else None."""
        items = self.counted or range(self.batch)
        values = [record.similarity[item] for item in items]
        return None if None in values or self.mean(record) is not None else mean_of(values)

    @property
    def best(self) -> StepRecord | None:
        """The record with the highest mean similarity (the first of equals), or None when nothing was seen."""
        scored = [(mean, record) for mean, record in zip(self.means, self.records, strict=True) if mean is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None

    def of_item(self, item: int) -> "Trace":
        """The same run, of one picture of the batch alone.

        Args:
            item: the picture, from 0.
        """
        records = tuple(record.of_item(item) for record in self.records)
        final = None if self.final is None else self.final.of_item(item)
        return dataclasses.replace(self, records=records, final=final, batch=1)

    def to_json(self) -> str:
        """The trace as JSON text with `format` and `version`; undefined values are null."""
        data = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Trace":
        """Read what `to_json` wrote.

        Args:
            text: JSON text.

        Returns:
            The trace, equal to the one written.

        Raises:
            TraceError: not JSON, not a trace, another version, or keys and values that do not belong to it.
        """
        try:
            data = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise TraceError(f"Expected a trace in JSON, got text that is not JSON ({error}).") from error
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise TraceError(f'Expected a trace with "format": "{FORMAT}", got another kind of file.')
        version = data.pop("version", None)
        data.pop("report", None)  # what was concluded from it, where somebody has written that beside it
        if type(version) is not int or version != VERSION:
            raise TraceError(
                f"Expected a trace of version {VERSION}, got version {version!r}. Read it with the infusenet "
                "version that wrote it, or run the probe again."
            )
        try:
            trace = build(cls, data, "trace")
            for record in (*trace.records, *filter(None, [trace.final])):
                record.check()
            return trace
        except ValueError as error:
            raise TraceError(f"The trace is damaged: {error}.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as JSON; the file appears whole or not at all.

        Args:
            path: file to write; an earlier one is replaced.

        Raises:
            OSError: the folder is missing or not writable.
        """
        write_atomically(Path(path), self.to_json().encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trace":
        """Read a file that `save` wrote.

        Args:
            path: the file.

        Returns:
            The trace.

        Raises:
            TraceError: the file is missing or not a trace of this version.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TraceError(f"Cannot read the trace {path}: {error}.") from error
        try:
            return cls.from_json(text)
        except TraceError as error:
            raise TraceError(f"{path}: {error}") from error

    def to_csv(self) -> str:
        """One row a step and batch item (counted from 1), then the final picture's; empty where undefined.

        Every row names recognizer, detector and rule: rows of one rule alone may be compared.
        """
        columns = ("similarity", "found", "alignment", "score", "sharpness", "contrast")
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["picture", "step", "sigma", "item", *columns, "seconds", "recognizer", "detector", "rule"])
        by = [self.recognizer, self.detector, None if self.rule is None else str(self.rule)]
        rows = [("prediction", record) for record in self.records]
        for picture, record in rows + ([("final", self.final)] if self.final else []):
            values = record.columns()
            for item in range(record.batch):
                cells = [values[name][item] for name in columns]
                table.writerow(_blank([picture, record.step, record.sigma, item + 1, *cells, record.seconds, *by]))
        return text.getvalue()


def _blank(cells: list[Any]) -> list[Any]:
    """Undefined cells empty, truth values in lower case."""
    return ["" if cell is None else str(cell).lower() if isinstance(cell, bool) else cell for cell in cells]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")
