"""What the browser draws: a run's curve in plain numbers, sent as it grows, and again with the report's `ui`."""

from __future__ import annotations

import sys
from typing import Any

from ...infusenet.drift import analyse, in_words
from ...infusenet.probe import StepRecord, Trace

EVENT = "infusenet.probe"
POINTS = 400  # of one curve


def point(record: StepRecord) -> list[Any]:
    """One step: [step, sigma, [similarity of each batch item], whether all faces were detected there]."""
    sure = all(alignment == "detected" for alignment in record.alignment)
    return [record.step, _short(record.sigma), [_short(value) for value in record.similarity], sure]


def curve(trace: Trace) -> dict[str, Any]:
    """A whole run, thinned out if it is long; the peak stays."""
    figures = analyse(trace)
    peak = figures.peak
    stride = -(-len(trace.records) // POINTS) or 1
    last = len(trace.records) - 1
    kept = [
        record
        for place, record in enumerate(trace.records)
        if place % stride == 0 or place == last or (peak is not None and record.step == peak.step)
    ]
    baseline = trace.strangers
    return {
        "steps": trace.steps,
        "offset": trace.run.step_offset,
        "baseline": None if baseline is None else _short(baseline.mean),
        "points": [point(record) for record in kept],
        "counted": list(trace.counted),
        "final": _short(figures.final),
        "end_at": None if trace.final is None else [trace.final.step, _short(trace.final.sigma)],
        "status": trace.status,
        "words": in_words(trace),
    }


def _short(value: float | None) -> float | None:
    """As exact as can be drawn."""
    return None if value is None else round(value, 5)


def send(payload: dict[str, Any]) -> None:
    """Tell the browser that started the run, if one did. What cannot be sent is not needed."""
    server = running_server()
    client = getattr(server, "client_id", None)
    if server is not None and client is not None:
        server.send_sync(EVENT, payload, client)


def running_server() -> Any:
    """The host's server, where there is one."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def running_prompt(prompt_id: str | None) -> dict[str, Any]:
    """The prompt being executed, by node id; empty where it is not known."""
    queue = getattr(running_server(), "prompt_queue", None)
    for item in tuple(getattr(queue, "currently_running", {}).values()):
        if item[1] == prompt_id:
            return item[2]
    return {}
