"""The records of one probe: of every sampler node its newest execution, which may have sampled many times.

Detailers sample each face, tilers each tile, XY plots each cell. What is kept of them is bounded: of many runs the
smallest pictures go first, of equals the earliest.
"""

from __future__ import annotations

from collections import deque

from ...infusenet.probe import KeptLatents
from ...infusenet.probe.pieces import goes_on, joined
from .run import Run
from .sampler_node import SamplerNode

KEPT = 64  # runs of one execution
MEMORY = 256 * 2**20  # bytes that they may take
_EARLIER = 4  # executions before the newest, for results that the host has kept longer


class Execution:
    """One execution of a sampler node, or of one item where a list is worked on: its runs in their order."""

    def __init__(self, sampler: SamplerNode) -> None:
        self.sampler = sampler
        self.runs: list[Run] = []  # those that are kept
        self.count = 0  # all that were measured
        self.skipped = 0  # smaller than what the probe is to measure
        self._dropped = False

    def add(self, run: Run) -> None:
        """A run has ended; one that goes on where an earlier one ended takes its place."""
        run.execution = self
        before = run.goes_on
        if before is not None and before in self.runs:
            run.number = before.number
            _join(before, run)
            self.runs.remove(before)
        else:
            self.count += 1
            run.number = self.count
        self.runs.append(run)  # the latest last
        run.goes_on = None
        for one in self.runs[:-1]:
            if self.bytes > MEMORY:
                one.recorder.kept = {}  # its steps' latents go before whole runs
        while len(self.runs) > 1 and (len(self.runs) > KEPT or self.bytes > MEMORY):
            self.drop()

    def drop(self) -> None:
        """Forget the smallest run, of equals the earliest; never the latest."""
        self.runs.remove(min(self.runs[:-1] or self.runs, key=lambda one: (pixels(one), one.number)))
        self._dropped = True

    def waiting(self, levels: tuple[float, ...], shape: tuple[int, ...]) -> Run | None:
        """The first run that one which begins at these noise levels goes on with, if any.

        None where runs were dropped: it might be another's.
        """
        if self._dropped:
            return None
        alike = (run for run in self.runs if run.final is not None and run.final.shape == shape)
        return next((run for run in alike if run.trace is not None and goes_on(run.trace, levels, shape[0])), None)

    @property
    def bytes(self) -> int:
        """Memory that its runs take."""
        return sum(_bytes(run) for run in self.runs)


class Executions:
    """Of each sampler node, and item of a list, the newest execution; and a few before it."""

    def __init__(self) -> None:
        self.newest: dict[tuple[str, int], Execution] = {}
        self.earlier: deque[Execution] = deque(maxlen=_EARLIER)

    def of(self, sampler: SamplerNode) -> Execution:
        """The execution that a sampler node is in; a new one replaces the node's last, whose items of a list all go."""
        place = sampler.node, sampler.index
        known = self.newest.get(place)
        if known is not None and sampler.prompt is not None and known.sampler.prompt == sampler.prompt:
            return known
        for key in [key for key in self.newest if key[0] == sampler.node and sampler.index in (0, key[1])]:
            self.earlier.append(self.newest.pop(key))
            for run in self.earlier[-1].runs:
                run.recorder.kept = {}
        while len(self.earlier) > 1 and sum(one.bytes for one in self.earlier) > MEMORY:
            self.earlier.popleft()
        self.newest[place] = Execution(sampler)
        return self.newest[place]

    def add(self, execution: Execution, run: Run) -> None:
        """A run of an execution has ended."""
        execution.add(run)
        place = execution.sampler.node, execution.sampler.index
        if self.newest.get(place) is execution:
            self.newest[place] = self.newest.pop(place)  # the latest last
        kept = list(self.newest.values())
        for one in (each for known in kept for each in known.runs if each is not run):
            if sum(known.bytes for known in kept) > MEMORY:
                one.recorder.kept = {}  # its steps' latents go before whole records
        while len(kept) > 1 and sum(one.bytes for one in kept) > MEMORY:  # of a long list, or of a loop
            oldest = kept[0]
            if oldest.runs:
                oldest.drop()
            if not oldest.runs:
                del self.newest[oldest.sampler.node, oldest.sampler.index], kept[0]

    def found(self, node: str | None = None) -> list[Execution]:
        """The newest executions with a record, of one node or of all, the latest last."""
        return [one for place, one in self.newest.items() if one.runs and node in (None, place[0])]

    def before(self, node: str) -> list[Execution]:
        """Earlier executions of a node with a record, the latest first."""
        return [one for one in reversed(self.earlier) if one.runs and one.sampler.node == node]


def pixels(run: Run) -> int:
    """Of a run's picture."""
    return run.size[0] * run.size[1]


def _bytes(run: Run) -> int:
    """Memory that a run takes."""
    best = None if run.recorder.best is None else run.recorder.best.latents
    kept = [tensor for tensor in (run.final, run.predicted, best, *run.recorder.kept.values()) if tensor is not None]
    return run.recorder.gallery.bytes + sum(tensor.numel() * tensor.element_size() for tensor in kept)


def _join(before: Run, run: Run) -> None:
    """A run goes on where an earlier one ended: the two are one."""
    assert before.trace is not None and run.trace is not None
    recorder, steps, own, earlier = run.recorder, run.steps_before, run.recorder.best, before.recorder.best
    run.trace = joined(before.trace, run.trace)
    recorder.gallery = recorder.gallery.follow(before.recorder.gallery, steps)
    recorder.kept = {**before.recorder.kept, **{steps + step: kept for step, kept in recorder.kept.items()}}
    best = run.trace.best
    if best is not None and best.step <= steps:
        recorder.best = earlier
    elif own is not None:
        recorder.best = KeptLatents(steps + own.step, own.latents)
