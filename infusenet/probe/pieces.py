"""A run sampled in pieces, read as one: regional samplers and the like call the host's sampler for a step at a time."""

from collections.abc import Mapping
from dataclasses import replace

from .trace import Trace

_NEAR = 1e-4  # share of a noise level within which two are the same


def goes_on(first: Trace, levels: tuple[float, ...], batch: int) -> bool:
    """Whether a run that begins now is the continuation of an earlier one.

    Args:
        first: the earlier run, as it ended.
        levels: noise levels of the one that begins.
        batch: its pictures.

    Returns:
        Whether the earlier one ended at the noise level that this one begins at, with noise left.
    """
    if len(first.sigmas) < 2 or len(levels) < 2 or first.status != "complete" or first.batch != batch:
        return False
    falling = first.sigmas[0] > first.sigmas[-1] and levels[0] > levels[-1]  # what adds noise is no part of a run
    return falling and first.sigmas[-1] > 0 and abs(first.sigmas[-1] - levels[0]) <= _NEAR * levels[0]


def joined(first: Trace, second: Trace) -> Trace:
    """Two runs as one: the second goes on where the first ended.

    Args:
        first: it ended with noise left.
        second: it began at that noise level.

    Returns:
        One trace, whose steps go on counting; with the end, the status and the finished picture of the second.
    """
    before, known = len(first.sigmas) - 1, bool(second.sigmas)
    steps = None if second.run.steps is None else before + second.run.steps
    run = replace(
        first.run,
        steps=steps,
        final_decoder=second.run.final_decoder,
        pieces=(first.run.pieces or 1) + (second.run.pieces or 1),
    )
    return replace(
        second,
        batch=first.batch,
        records=(
            *(record if known else replace(record, sigma=None) for record in first.records),
            *(replace(record, step=before + record.step) for record in second.records),
        ),
        final=None if second.final is None else replace(second.final, step=before + second.final.step),
        every=first.every if before % first.every == 0 else 1,
        sigmas=(*first.sigmas[:-1], *second.sigmas) if known else (),
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
        seconds_in_loop=first.seconds_in_loop + second.seconds_in_loop,
        seconds_after=first.seconds_after + second.seconds_after,
        run=run,
        stopped_after=None if second.stopped_after is None else before + second.stopped_after,
    )


def without_levels(trace: Trace, numbers: Mapping[int, int]) -> Trace:
    """A run whose noise levels are not known after all: its sampler's step numbers are for display alone.

    Args:
        trace: by the sampler's numbers.
        numbers: what each of these is when counted, from 1.

    Returns:
        The trace by counted steps; nothing is known of how many were asked for.
    """
    records = tuple(replace(r, step=numbers.get(r.step, r.step), sigma=None) for r in trace.records)
    last = records[-1].step if records else 1
    final = None if trace.final is None else replace(trace.final, step=numbers.get(trace.final.step, last), sigma=None)
    return replace(trace, records=records, final=final, sigmas=(), run=replace(trace.run, steps=None))
