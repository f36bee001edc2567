"""Seconds: what was waited for is told from what was computed."""

import os
import time

import pytest

from infusenet.speed.timing import Timing, timed


def test_waiting_is_no_work() -> None:
    result, timing = timed(lambda: time.sleep(0.2) or "done")
    assert result == "done" and timing.seconds >= 0.2 > 5 * timing.cpu_seconds
    assert not timing.undisturbed(1)


def test_work_is_measured_by_the_processor() -> None:
    def work() -> int:
        began = time.process_time()
        while time.process_time() - began < 0.1:
            pass
        return 3

    result, timing = timed(work)
    assert result == 3 and 0.1 <= timing.cpu_seconds <= timing.seconds * 1.05


@pytest.mark.parametrize(
    ("cpu", "threads", "undisturbed"),
    [(1.0, 1, True), (0.91, 1, True), (0.89, 1, False), (1.5, 2, True), (1.01, 2, False), (1.5, 8, True)],
)
def test_a_process_that_waited_was_disturbed(
    monkeypatch: pytest.MonkeyPatch, cpu: float, threads: int, undisturbed: bool
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert Timing(1.0, cpu, None).undisturbed(threads) is undisturbed


def test_threads_that_share_one_processor_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert Timing(1.0, 0.95, None).undisturbed(2)


def test_where_no_load_is_told_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timed(int)[1].load is not None
    monkeypatch.delattr(os, "getloadavg")
    assert timed(int)[1].load is None
