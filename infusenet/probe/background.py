"""Measuring live without delaying the sampler: in a thread of its own, dropping what it cannot keep up with."""

import logging
import threading
from collections import deque
from typing import Any

import torch
from torch import Tensor

from .recorder import ProbeRecorder
from .records import StepRecord
from .session import Session
from .trace import Trace

log = logging.getLogger(__name__)

WAITING = 2  # steps that may wait; a further one drops the oldest


class BackgroundRecorder(ProbeRecorder):
    """A live `ProbeRecorder` that only copies in the loop; a thread measures, and `finish` what it dropped.

    The trace does not depend on timing, on a CPU to the last bit: from the first dropped step on, everything is
    measured again in order, each step by itself (which takes longer than some at a time). The values are those of an
    evaluation after the run to rounding, where steps share a batch. `on_record` is called from the thread. `when` must
    be "live".
    """

    def start(self, *args: Any, **settings: Any) -> None:
        """Begin a run, as `ProbeRecorder.start`, and its thread."""
        super().start(*args, **settings)
        session = self._running()
        session.live, session.one_by_one = False, True
        self._worker = _Worker(session)
        self._worker.start()

    def on_step(self, step: int, sigma: float | Tensor | None, denoised: Tensor) -> StepRecord | None:
        """Copy the prediction and hand the step to the thread; see `ProbeRecorder.on_step`."""
        session = self._running()
        super().on_step(step, sigma, denoised)
        if step in session.pending:
            self._worker.offer(step)
        return None

    def measured(self, step: int) -> StepRecord | None:
        """The record of a step that was just reported, once the thread has measured it."""
        self._worker.wait_for(step)
        return super().measured(step)

    def finish(self, *args: Any, **settings: Any) -> Trace:
        """Stop the thread after the step it is at, and measure the rest; see `ProbeRecorder.finish`."""
        self._worker.stop()
        return super().finish(*args, **settings)

    def close(self) -> None:
        """Stop the thread and drop the run."""
        if self._session is not None:
            self._worker.stop()
        super().close()


class _Worker(threading.Thread):
    """Measures a session's steps as they come."""

    def __init__(self, session: Session) -> None:
        super().__init__(name="infusenet-probe", daemon=True)
        self._session = session
        self._waiting: deque[int] = deque(maxlen=WAITING)
        self._turn = threading.Condition()
        self._ended = False
        self._measured: set[int] = set()
        self._gap: int | None = None
        self._before: Any = None

    def offer(self, step: int) -> None:
        """A step has been copied."""
        with self._turn:
            self._measured.discard(step)
            self._waiting.append(step)
            self._turn.notify_all()

    def wait_for(self, step: int) -> None:
        """Wait until a step is measured, or the thread has ended."""
        with self._turn:
            self._turn.wait_for(lambda: step in self._measured or self._ended)

    def stop(self) -> None:
        """End the thread. What was measured after a dropped step is given back to be measured in order."""
        with self._turn:
            self._ended = True
            self._turn.notify_all()
        self.join()
        session = self._session
        if self._gap is None:
            return
        session.reader.restore(self._before)
        again = {step for step in session.records if step >= self._gap}
        session.pending |= again
        session.unaligned -= again
        self._gap = None

    def run(self) -> None:
        """The thread."""
        with torch.inference_mode():
            while (step := self._next()) is not None:
                try:
                    self._measure(step)
                except Exception as error:
                    session = self._session
                    session.warnings.append(
                        f"Live measuring failed at step {step} ({error}), so the rest was measured after the run."
                    )
                    log.warning("The probe cannot measure live: %s", error, exc_info=True)
                    self._done(step, last=True)
                    return
                self._done(step)

    def _done(self, step: int, *, last: bool = False) -> None:
        """Tell who waits for a step."""
        with self._turn:
            self._measured.add(step)
            self._ended |= last
            self._turn.notify_all()

    def _next(self) -> int | None:
        """The next step to measure, or None at the end."""
        with self._turn:
            self._turn.wait_for(lambda: self._waiting or self._ended)
            return None if self._ended else self._waiting.popleft()

    def _measure(self, step: int) -> None:
        session = self._session
        dropped = min((waiting for waiting in tuple(session.pending) if waiting < step), default=None)
        if dropped is not None and self._gap is None:
            self._gap, self._before = dropped, session.reader.remembered()
        reported = session.taken[step]
        session.measure([step], session.store.get(step))
        if session.taken[step] != reported:  # the sampler has told of this step anew meanwhile
            session.pending.add(step)
