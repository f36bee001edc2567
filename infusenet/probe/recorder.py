"""ProbeRecorder: listens to a sampler's callback and measures every denoised prediction."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from ..errors import SettingsError
from ..measures import Baseline, Measure, Recognizer, ReferenceData, as_measure
from ..measures.lines import bar_of
from ..sampling import unpack_latents
from .gallery import Gallery
from .notes import circular, of_all
from .records import Evaluation, RunInfo, Status, StepRecord
from .session import Decode, Session, floats, number_of
from .stopwatch import stopwatch
from .store import LatentStore
from .trace import Trace
from .versions import library_versions

CAPACITY = 256 * 2**20  # bytes of latents held in memory before they go to files
KEPT = 64 * 2**20  # bytes of them kept when the run is over


@dataclass(frozen=True)
class KeptLatents:
    """The denoised latents [B, C, h, w] of one step, exactly as the sampler had them, on the CPU."""

    step: int
    latents: Tensor


class ProbeRecorder:
    """Records one run at a time: `start`, `on_step` after every step, `finish`; then it can start again.

    It changes nothing: predictions are copied, never written to, and no random number is drawn. While sampling goes
    on it raises nothing but what is no `Exception`: what fails is kept, and told by the trace.

    Args:
        recognizer: measures identity; not the network that conditions, or the measurement is circular. Or any Measure,
            as one of whole pictures.
        reference: the person, picture or prompt to compare with (`Reference.from_pictures`), or one for each picture of
            the batch.
        decode: latents [n, C, h, w] -> pictures [n, 3, H, W] in 0..1, on any device. Must not draw random numbers.
        when: "after" only copies latents during sampling and measures in `finish`; "live" measures at once.
        every: probe steps 1, 1 + every, 1 + 2 every, … and the last.
        strangers: what other people, or other pictures, score (`Reference.baseline`).
        ceiling: what other pictures of the same person score, if known.
        fallback_kps: landmarks [5, 2] of the pose picture as fractions (x / width, y / height), used while no face has
            been found.
        keep_latents: "best" keeps the latents of the best step in `best`; "all" also every step's in `kept` (every
            n-th's where they are many); "none" keeps none.
        on_record: called with every finished StepRecord, live or after; again with the same step when it was
            back-filled.
        quality: also measure sharpness and contrast.
        batch_size: pictures decoded and measured at a time.
        capacity: bytes of latents held in memory; what comes after that goes to files.
        folder: where a temporary folder for these is made; the system's own by default.

    Raises:
        SettingsError: a value is outside what is accepted.
    """

    tensor_inputs: tuple[str, ...] = ("denoised",)  # for diffusers' callback_on_step_end_tensor_inputs

    def __init__(
        self,
        recognizer: Recognizer | Measure,
        reference: ReferenceData | Sequence[ReferenceData],
        decode: Decode,
        *,
        when: Evaluation = "after",
        every: int = 1,
        strangers: Baseline | None = None,
        ceiling: float | None = None,
        fallback_kps: Any = None,
        keep_latents: Literal["best", "all", "none"] = "best",
        on_record: Callable[[StepRecord], object] | None = None,
        quality: bool = True,
        batch_size: int = 8,
        capacity: int = CAPACITY,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        if when not in ("live", "after") or keep_latents not in ("best", "all", "none"):
            raise SettingsError(
                'Expected when="live" or "after" and keep_latents="best", "all" or "none", '
                f"got {when!r} and {keep_latents!r}."
            )
        if every < 1 or batch_size < 1 or capacity < 0:
            raise SettingsError(
                f"Expected every >= 1, batch_size >= 1 and capacity >= 0, got {every}, {batch_size} and {capacity}."
            )
        self.measure = as_measure(recognizer)
        self.references = (reference,) if isinstance(reference, ReferenceData) else tuple(reference)
        if not self.references:
            raise SettingsError("The probe needs a reference to compare with, but there is none. Choose one.")
        self.strangers, self.ceiling = strangers, ceiling
        self.when, self.every = when, every
        self.best: KeptLatents | None = None
        self.kept: dict[int, Tensor] = {}  # by step, [B, C, h, w] on the CPU
        self.gallery = Gallery()
        self._decode, self._fallback, self._on_record = decode, fallback_kps, on_record
        self._keep, self._quality, self._batch_size = keep_latents, quality, batch_size
        self._capacity, self._folder = capacity, folder
        self._session: Session | None = None

    # -- while sampling --------------------------------------------------------------------------------------------

    def start(
        self,
        sigmas: Sequence[float] | Tensor | None = None,
        batch: int | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        run: RunInfo | None = None,
    ) -> None:
        """Begin a run, forgetting an earlier one that was not finished.

        Args:
            sigmas: the sampler's noise levels [N + 1]; the pipeline callback finds them by itself.
            batch: pictures in the batch; read off the first prediction by default.
            height: the picture's height in pixels; needed by the pipeline callback unless it is the backbone's own.
            width: likewise.
            run: how the pictures are made, for the record.
        """
        self.close()
        self.best, self.kept, self.gallery = None, {}, Gallery()
        info = run or RunInfo()
        self._session = Session(
            decode=self._decode,
            reader=self.measure.reader(self.references, self._fallback),
            store=LatentStore(self._capacity, self._folder),
            gallery=self.gallery,
            info=replace(
                info,
                height=height or info.height,
                width=width or info.width,
                versions=info.versions or library_versions(),
            ),
            sigmas=floats(sigmas),
            batch=batch,
            live=self.when == "live",
            keep=self._keep != "none",
            quality=self._quality,
            batch_size=self._batch_size,
            on_record=self._on_record,
        )

    def on_step(self, step: int, sigma: float | Tensor | None, denoised: Tensor) -> StepRecord | None:
        """Take the prediction of a step that has just been completed.

        Args:
            step: steps completed, from 1.
            sigma: noise level that the model was asked at; None where the sampler does not say.
            denoised: x0 prediction [B, C, h, w], in the space that `decode` takes. It is copied.

        Returns:
            The step's record when it was measured at once, else None. Errors are kept for the trace, never raised.

        Raises:
            SettingsError: `start` was not called.
        """
        session = self._running()
        session.last_step = max(session.last_step, step)
        if (step - 1) % self.every and step != len(session.sigmas) - 1:
            return None
        seconds = stopwatch(denoised if session.live else None)
        try:
            return session.take(step, number_of(sigma), denoised)
        except Exception as error:
            session.note(f"step {step}", error)
            return None
        finally:
            session.seconds_in_loop += seconds()

    def pipeline_callback(self, pipe: Any, i: int, t: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """diffusers' `callback_on_step_end`; ask for `callback_on_step_end_tensor_inputs=recorder.tensor_inputs`.

        Args:
            pipe: an `InfuseNetPipeline`.
            i: index of the step, from 0.
            t: its timestep; not used.
            kwargs: holds "denoised", packed [B, L, 4 * C] or as latents [B, C, h, w].

        Returns:
            An empty dict: nothing is changed.
        """
        if self._session is None:
            self.start()
        session = self._running()
        session.every_step_reported = True
        try:
            session.sigmas = floats(getattr(pipe, "sigmas", None) or pipe.scheduler.sigmas)
            latents = kwargs["denoised"]
            if latents.ndim == 3:  # FLUX's tokens
                info = session.info
                latents = unpack_latents(latents, info.height or pipe.spec.height, info.width or pipe.spec.width)
        except Exception as error:
            session.note(f"step {i + 1}", error)
        else:
            self.on_step(i + 1, session.sigmas[i], latents)
        return {}

    def measured(self, step: int) -> StepRecord | None:
        """The record of a step that was reported, waiting for it where a thread measures; None where it has none."""
        session = self._running()
        return None if step in session.pending else session.records.get(step)

    def cut_short(self, step: int, sigmas: Sequence[float]) -> None:
        """The run goes on at other noise levels: those so far, and fewer from `step` completed steps on.

        Args:
            step: steps completed by now.
            sigmas: all noise levels of the run as it will be.
        """
        session = self._running()
        session.sigmas, session.cut = floats(sigmas), step

    @property
    def bar(self) -> float | None:
        """What a likeness must exceed to be above every known line; None where no line with a deviation is known."""
        return bar_of(self.strangers, Baseline.pooled([reference.blank for reference in self.references]))

    # -- afterwards ------------------------------------------------------------------------------------------------

    def finish(
        self,
        pictures: Any = None,
        *,
        latents: Tensor | None = None,
        status: Status | None = None,
        reason: str | None = None,
        final_step: int | None = None,
    ) -> Trace:
        """Measure what is not measured yet, and the finished pictures, and end the run.

        Args:
            pictures: the finished pictures: a tensor [B, 3, H, W] in 0..1, an array [B, H, W, 3] (8-bit, or 0..1), or a
                sequence of PIL pictures or such arrays [H, W, 3]. None when there are none.
            latents: the final latents [B, C, h, w] instead; `decode` turns them into pictures.
            status: how the run ended; by default "complete", or what the recorder noticed.
            reason: why it ended early, in words.
            final_step: the step whose prediction the finished picture is, when that is not the last one.

        Returns:
            The trace. What could not be measured is None there, with status "failed" and the reason.

        Raises:
            SettingsError: `start` was not called.
        """
        session, began = self._running(), time.perf_counter()
        try:
            session.attempt("measuring the steps", session.measure_pending)
            final = None
            if pictures is not None or latents is not None:
                final = session.attempt("the finished picture", lambda: session.finished(pictures, latents, final_step))
            session.attempt("back-filling", session.back_fill)
            trace = self._trace(session, final, status, reason)
            self.best = session.attempt("keeping the best step", lambda: _best(session, trace))
            if self._keep == "all":
                self.kept = session.attempt("keeping the steps", lambda: session.store.some(KEPT)) or {}
            return replace(trace, seconds_after=time.perf_counter() - began)
        finally:
            self.close()

    @property
    def records(self) -> tuple[StepRecord, ...]:
        """The records of the run in progress so far, in order of steps."""
        return () if self._session is None else self._session.in_order()

    def close(self) -> None:
        """Drop a run without measuring it, and its temporary files. What is kept stays until the next start."""
        if self._session is not None:
            self._session.store.clear()
            self._session = None

    def _running(self) -> Session:
        """The run in progress."""
        if self._session is None:
            raise SettingsError("The probe has no run in progress. Call start() before the steps and before finish().")
        return self._session

    def _trace(self, session: Session, final: StepRecord | None, status: Status | None, reason: str | None) -> Trace:
        """All that was seen, as a trace."""
        short = session.every_step_reported and session.last_step < len(session.sigmas) - 1
        noticed: Status = "failed" if session.failure else "interrupted" if short else "complete"
        reasons = [reason, session.failure]
        return Trace(
            records=session.in_order(),
            final=final,
            batch=session.batch or (final.batch if final else 0),
            every=self.every,
            sigmas=session.sigmas,
            reference=of_all(self.references, self.measure.rule.subject),
            strangers=self.strangers,
            ceiling=self.ceiling,
            recognizer=self.measure.name,
            evaluation=self.when,
            status="failed" if session.failure and status in (None, "complete") else status or noticed,
            reason="; ".join(text for text in reasons if text) or None,
            warnings=(*circular(self.measure, session.info), *session.warnings),
            seconds_in_loop=session.seconds_in_loop,
            seconds_after=0.0,
            run=session.info,
            rule=self.measure.rule,
            detector=getattr(self.measure, "detector", None),
            blank=Baseline.pooled([reference.blank for reference in self.references]),
            published_line=getattr(self.measure, "published_line", None),
            stopped_after=session.cut,
        )


def _best(session: Session, trace: Trace) -> KeptLatents | None:
    """The latents of the trace's best step, where they are kept."""
    if not session.keep or trace.best is None:
        return None
    return KeptLatents(trace.best.step, session.store.get(trace.best.step))
