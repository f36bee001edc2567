"""Seconds: what was waited for is told from what was computed."""

import os
import time

import pytest

from infusenet.sweep.timing import Timing, timed


def test_waiting_is_no_work() -> None:
    result, timing = timed(lambda: time.sleep(0.2) or "done")
    assert result == "done" and timing.seconds >= 0.2 > 5 * timing.cpu_seconds
    assert not timing.undisturbed


def test_work_is_measured_by_the_processor() -> None:
    def work() -> int:
        began = time.process_time()
        while time.process_time() - began < 0.1:
            pass
        return 3

    result, timing = timed(work)
    assert result == 3 and 0.1 <= timing.cpu_seconds <= timing.seconds * 1.05


@pytest.mark.parametrize(
    ("cpu", "undisturbed"),
    [(1.0, True), (0.91, True), (0.89, False), (0.5, False), (1.4, True)],  # the last one with several threads
)
def test_a_process_that_waited_was_disturbed(cpu: float, undisturbed: bool) -> None:
    assert Timing(1.0, cpu, None).undisturbed is undisturbed


def test_where_no_load_is_told_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timed(int)[1].load is not None
    monkeypatch.delattr(os, "getloadavg")
    assert timed(int)[1].load is None
