"""A run in pieces, read as one; and one whose noise levels are not known after all."""

from dataclasses import replace

import pytest

from infusenet.probe import RunInfo, Trace
from infusenet.probe.advice import advise, why_none
from infusenet.probe.drift import in_words
from infusenet.probe.pieces import goes_on, joined, without_levels

from .test_drift import trace_of

VALUES = [0.1, 0.2, 0.5, 0.6, 0.55]
LEVELS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)


def piece(first: int, last: int) -> Trace:
    """The steps after `first` to `last`, as a run of their own."""
    info = RunInfo(steps=last - first, sampler="euler", strength=1.0, start=0.0, end=1.0)
    trace = trace_of(VALUES[first:last], sigmas=LEVELS[first : last + 1], run=info)
    return trace if last == len(VALUES) else replace(trace, final=None)


def test_pieces_are_the_whole() -> None:
    whole = piece(0, 5)
    both = joined(piece(0, 2), piece(2, 5))
    assert [record.step for record in both.records] == [1, 2, 3, 4, 5] and both.steps == 5
    assert both.means == whole.means and both.sigmas == whole.sigmas == LEVELS
    assert both.final is not None and both.final.step == 5 and both.run.pieces == 2
    single = piece(0, 1)
    for step in range(1, 5):
        assert goes_on(single, piece(step, step + 1).sigmas, 1)
        single = joined(single, piece(step, step + 1))
    assert single.means == whole.means and single.run.pieces == 5 and single.sigmas == LEVELS
    assert Trace.from_json(single.to_json()) == single
    assert "sampled in 5 passes" in in_words(single) and advise(single) == ()
    assert "works in several passes" in why_none(single)[0]


def test_a_piece_that_failed_before_its_first_step_and_one_without_levels() -> None:
    broken = replace(piece(2, 5), records=(), final=None, batch=0, status="interrupted")
    assert joined(piece(0, 2), broken).means == piece(0, 2).means
    both = joined(piece(0, 2), without_levels(piece(2, 5), {}))
    assert both.sigmas == () and both.steps == 5 and all(record.sigma is None for record in both.records)


@pytest.mark.parametrize(
    ("first", "levels", "batch"),
    [
        (piece(0, 5), LEVELS, 1),  # it came to its end
        (piece(0, 2), LEVELS, 1),  # begins anew
        (piece(0, 2), LEVELS[3:], 1),  # leaves something out
        (piece(0, 2), LEVELS[2:], 2),  # another batch
        (replace(piece(0, 2), status="interrupted"), LEVELS[2:], 1),
        (without_levels(piece(0, 2), {}), LEVELS[2:], 1),
        (replace(piece(0, 2), sigmas=(0.0, 0.3, 0.6)), LEVELS[2:], 1),  # noise was added
        (piece(0, 2), (), 1),
    ],
)
def test_what_does_not_go_on(first: Trace, levels: tuple[float, ...], batch: int) -> None:
    assert not goes_on(first, levels, batch)


def test_levels_that_are_not_known_are_none() -> None:
    trace = piece(0, 5)
    late = replace(trace, records=tuple(replace(r, step=r.step + 7) for r in trace.records))
    told = without_levels(late, {step: step - 7 for step in range(8, 13)})
    assert [record.step for record in told.records] == [1, 2, 3, 4, 5] and told.steps == 5
    assert told.sigmas == () and all(record.sigma is None for record in told.records)
    assert advise(told) == () and "levels are unknown" in why_none(told)[0]
    assert why_none(replace(told, run=replace(told.run, sampler="dpm_fast"))) == [], "it says so by its name"
