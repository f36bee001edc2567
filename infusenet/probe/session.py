"""One run under observation: what has been taken, what is still to be measured, and the measuring itself."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..measures import Reader, Reading
from ..measures.base import Pixels, pixels
from ..metrics.quality import rms_contrast, sharpness
from .decode import as_pictures, checked
from .gallery import Gallery, Seen, small
from .records import RunInfo, StepRecord
from .stopwatch import stopwatch
from .store import LatentStore

log = logging.getLogger(__name__)

T = TypeVar("T")
Decode = Callable[[Tensor], Tensor]


@dataclass
class Session:
    """The state of one run. `ProbeRecorder` guards every call, so that an error here never reaches a sampler.

    `pending` are the steps not measured yet; `unaligned` those measured in which an item was not seen and had no
    landmarks so far.
    """

    decode: Decode
    reader: Reader
    store: LatentStore
    gallery: Gallery
    info: RunInfo
    sigmas: tuple[float, ...]
    batch: int | None
    live: bool
    keep: bool
    quality: bool
    batch_size: int
    on_record: Callable[[StepRecord], object] | None
    records: dict[int, StepRecord] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)
    unaligned: set[int] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    failure: str | None = None
    last_step: int = 0
    every_step_reported: bool = False
    cut: int | None = None  # steps after which the run was cut short
    one_by_one: bool = False  # steps never share a batch, whose size changes the last bits of what is measured
    seconds_in_loop: float = 0.0
    taken: Counter[int] = field(default_factory=Counter)  # how often each step was reported

    @torch.no_grad()
    def take(self, step: int, sigma: float | None, denoised: Tensor) -> StepRecord | None:
        """Copy a prediction, and measure it when live."""
        if denoised.ndim != 4 or (self.batch is not None and denoised.shape[0] != self.batch):
            raise ValueError(f"expected denoised latents [{self.batch or 'B'}, C, h, w], got {list(denoised.shape)}")
        self.batch = denoised.shape[0]
        self.taken[step] += 1
        self.records[step] = StepRecord.empty(step, sigma, self.batch)
        self.pending.add(step)
        if not self.live:
            self.store.put(step, denoised)
            return None
        try:
            self.measure([step], denoised.detach().clone())  # a decoder that writes to its input must not reach x0
        except Exception as error:
            self.live = False
            self.warnings.append(
                f"Live measuring failed at step {step} ({error}), so the rest was measured after the run."
            )
            log.warning("The probe cannot measure live: %s", error, exc_info=True)
        if self.keep or step in self.pending or step in self.unaligned:
            self.store.put(step, denoised)
        return None if step in self.pending else self.records[step]

    def measure_pending(self) -> None:
        """Measure what was only copied, some pictures at a time, in order of steps."""
        waiting = sorted(self.pending)
        size = 1 if self.one_by_one else max(self.batch_size // (self.batch or 1), 1)
        for group in (waiting[i : i + size] for i in range(0, len(waiting), size)):
            self.measure(group, torch.cat([self.store.get(step) for step in group]))
            self._release(group)

    @torch.no_grad()
    def measure(self, steps: Sequence[int], latents: Tensor) -> None:
        """Decode and measure whole steps; `latents` holds them one after the other."""
        seconds, batch = stopwatch(latents), latents.shape[0] // len(steps)
        pictures = self.pictures(latents)
        whole = pixels(pictures)
        readings = self.reader.read(whole, [*range(batch)] * len(steps))
        crispness = self._crispness(pictures)
        share = seconds() / len(steps)
        for i, step in enumerate(steps):
            part = slice(i * batch, (i + 1) * batch)
            record = replace(filled(self.records[step], readings[part], [c[part] for c in crispness]), seconds=share)
            self.pending.discard(step)
            if any(reading.alignment is None and not reading.seen for reading in readings[part]):
                self.unaligned.add(step)
            self._finished(record, shown(readings[part]), small(whole[part]))

    @torch.no_grad()
    def finished(self, pictures: Any, latents: Tensor | None, step: int | None) -> StepRecord:
        """The finished pictures measured, and the step and noise level they belong to."""
        ready = as_pictures(pictures) if pictures is not None else self.pictures(latents)  # type: ignore[arg-type]
        if step is not None and step in self.records:
            return self.measure_final(ready, step, self.records[step].sigma)
        sigma = self.sigmas[-1] if self.sigmas else None
        return self.measure_final(ready, max(self.last_step, 1), sigma)

    def measure_final(self, pictures: Tensor, step: int, sigma: float | None) -> StepRecord:
        """Measure the finished pictures, each by itself: what is seen in no finished picture has no similarity."""
        began = time.perf_counter()
        if self.batch is not None and pictures.shape[0] != self.batch:
            raise ValueError(f"expected {self.batch} finished pictures, got {pictures.shape[0]}")
        whole = pixels(pictures)
        read = self.reader.read(whole, range(pictures.shape[0]))
        readings = [reading if reading.seen else Reading(False, score=reading.score) for reading in read]
        self.gallery.finished = Seen(shown(readings), small(whole))
        record = filled(StepRecord.empty(step, sigma, len(readings)), readings, self._crispness(pictures))
        return replace(record, seconds=time.perf_counter() - began)

    @torch.no_grad()
    def back_fill(self) -> None:
        """Measure items from before their first detection with its landmarks, step by step."""
        for step in sorted(self.unaligned):
            record = self.records[step]
            items = [i for i in range(record.batch) if record.alignment[i] is None and self.reader.can_back_fill(i)]
            if not items:
                continue
            began = time.perf_counter()
            pictures = self.pictures(self.store.get(step)[items])
            readings = self.reader.back_fill(pixels(pictures), items)
            values = dict(zip(items, readings, strict=True))
            faces = self.gallery.get(step) or (None,) * record.batch
            self._finished(
                replace(
                    record,
                    similarity=tuple(
                        values[i].similarity if i in values else v for i, v in enumerate(record.similarity)
                    ),
                    alignment=tuple(values[i].alignment if i in values else v for i, v in enumerate(record.alignment)),
                    seconds=(record.seconds or 0.0) + time.perf_counter() - began,
                ),
                tuple(shown([values[i]])[0] if i in values else face for i, face in enumerate(faces)),
            )
        self.unaligned.clear()

    def pictures(self, latents: Tensor) -> Tensor:
        """Decoded latents, `batch_size` at a time."""
        parts = [checked(self.decode(part), "the decoder") for part in latents.split(self.batch_size)]
        pictures = torch.cat(parts)
        if pictures.shape[0] != latents.shape[0]:
            raise ValueError(f"the decoder: expected {latents.shape[0]} pictures, got {pictures.shape[0]}")
        return pictures

    def in_order(self) -> tuple[StepRecord, ...]:
        """The records so far, in order of steps."""
        return tuple(self.records[step] for step in sorted(self.records))

    def attempt(self, what: str, action: Callable[[], T]) -> T | None:
        """Do it, or note why it could not be done."""
        try:
            return action()
        except Exception as error:
            self.note(what, error)
            return None

    def note(self, what: str, error: Exception) -> None:
        """Keep the first error for the trace; the sampler goes on."""
        log.warning("The identity probe failed at %s: %s", what, error, exc_info=True)
        self.failure = self.failure or f"{what}: {type(error).__name__}: {error}"

    def _crispness(self, pictures: Tensor) -> list[list[float | None]]:
        """Sharpness and contrast of each picture."""
        if not self.quality:
            return [[None] * pictures.shape[0]] * 2
        both = torch.stack([sharpness(pictures), rms_contrast(pictures)]).tolist()
        return [[value if value == value else None for value in values] for values in both]  # NaN differs from itself

    def _release(self, steps: Sequence[int]) -> None:
        """Give up latents that nothing needs any more."""
        for step in steps:
            if not self.keep and step not in self.unaligned:
                self.store.drop(step)

    def _finished(
        self, record: StepRecord, faces: tuple[Pixels | None, ...], pictures: tuple[bytes | None, ...] | None = None
    ) -> None:
        """Enter a record, keep what was seen, tell the listener."""
        self.records[record.step] = record
        self.gallery.put(record.step, faces, pictures)
        if self.on_record is None:
            return
        try:
            self.on_record(record)
        except Exception as error:
            self.on_record = None
            self.warnings.append(f"The listener failed at step {record.step} ({error}) and was not called again.")
            log.warning("The probe's listener failed: %s", error, exc_info=True)


def filled(record: StepRecord, readings: Sequence[Reading], crispness: Sequence[Sequence[Any]]) -> StepRecord:
    """The record with what was read in each batch item."""
    return replace(
        record,
        similarity=tuple(reading.similarity for reading in readings),
        found=tuple(reading.seen for reading in readings),
        alignment=tuple(reading.alignment for reading in readings),
        score=tuple(reading.score for reading in readings),
        sharpness=tuple(crispness[0]),
        contrast=tuple(crispness[1]),
    )


def shown(readings: Sequence[Reading]) -> tuple[Pixels | None, ...]:
    """What was compared (aligned faces, or small whole pictures) in RGB, to be looked at."""
    return tuple(None if reading.crop is None else reading.crop[..., ::-1] for reading in readings)


def number_of(sigma: float | Tensor | None) -> float | None:
    """A finite noise level, or None."""
    value = None if sigma is None else float(sigma)
    return value if value is not None and math.isfinite(value) else None


def floats(sigmas: Sequence[float] | Tensor | None) -> tuple[float, ...]:
    """Noise levels as plain numbers."""
    return () if sigmas is None else tuple(float(sigma) for sigma in sigmas)
