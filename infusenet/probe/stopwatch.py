"""How long the probe took, when a GPU has a queue of other work before it."""

import time
from collections.abc import Callable

import torch
from torch import Tensor


def stopwatch(measured: Tensor | None) -> Callable[[], float]:
    """Start a clock; calling the result gives the seconds since then.

    Args:
        measured: what is going to be measured. When it lies on a GPU, the clock starts there, once the GPU has done all
            that was asked of it before: a sampler's step that is still being computed is not counted as the probe's,
            and nobody waits for it. Reading such a clock waits for the measuring to end. None: the host's clock.
    """
    if measured is None or not measured.is_cuda:
        began = time.perf_counter()
        return lambda: time.perf_counter() - began
    stream = torch.cuda.current_stream(measured.device)
    start = stream.record_event(torch.cuda.Event(enable_timing=True))

    def read() -> float:
        end = stream.record_event(torch.cuda.Event(enable_timing=True))
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    return read
