"""Seconds that can be compared: by the clock, of the processor, and whether something else was at work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

LEAST_SHARE, OF_SEVERAL = 0.9, 1.35
"""Processors that a process must have had on average to count as undisturbed: of one thread, of two or more."""


@dataclass(frozen=True)
class Timing:
    """How long something took."""

    seconds: float  # by the clock
    cpu_seconds: float  # of processors, by all threads of this process
    load: float | None  # the machine's mean number of processes at work in the minute before; None: it is not told

    def undisturbed(self, threads: int) -> bool:
        """Whether this process, which computes on a CPU, hardly ever had to wait for a processor.

        Measured on the miniature, on two cores: one thread has 0.998 of a processor or more in quiet and 0.5 beside two
        busy loops; two threads have 1.5 to 1.75 in quiet, as they wait for each other, and 0.57 to 1.01 beside one or
        two such loops; in a run of the CI they had 0.34, the least seen. How well more threads share the work is not
        known, so no more is asked of them than of two.
        """
        several = min(threads, os.cpu_count() or 1) > 1
        return self.cpu_seconds >= (OF_SEVERAL if several else LEAST_SHARE) * self.seconds


def timed(call: Callable[[], T]) -> tuple[T, Timing]:
    """What a call gives, and how long it took."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # not on Windows
    clock, processor = time.perf_counter(), time.process_time()
    result = call()
    return result, Timing(time.perf_counter() - clock, time.process_time() - processor, load)
