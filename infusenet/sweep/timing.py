"""Seconds that can be compared: by the clock, of the processor, and whether something else was at work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

LEAST_SHARE = 0.9
"""Share of the clock's time that a process must have had a processor for, to count as undisturbed."""


@dataclass(frozen=True)
class Timing:
    """How long something took.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of processors, by all threads of this process.
        load: the machine's mean number of processes at work in the minute before; None where it is not told.
    """

    seconds: float
    cpu_seconds: float
    load: float | None

    @property
    def undisturbed(self) -> bool:
        """Whether this process, which computes on a CPU, hardly ever had to wait for one.

        The thread that leads computes or waits for threads that do, so a run that nothing disturbs has at least one
        processor at every moment, however many threads it has and however badly they share the work.
        """
        return self.cpu_seconds >= LEAST_SHARE * self.seconds


def timed(call: Callable[[], T]) -> tuple[T, Timing]:
    """What a call gives, and how long it took."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # not on Windows
    clock, processor = time.perf_counter(), time.process_time()
    result = call()
    return result, Timing(time.perf_counter() - clock, time.process_time() - processor, load)
