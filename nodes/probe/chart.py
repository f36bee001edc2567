"""What the browser draws: a run's curve in plain numbers, sent as it grows, and again with the report's `ui`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from ...infusenet.measures.lines import judging_lines, published_name
from ...infusenet.measures.wording import SubjectName, wording
from ...infusenet.probe import Baseline, Rule, StepRecord, Trace, batch, second
from ...infusenet.probe.advice import Advice, advise
from ...infusenet.probe.drift import TRY, analyse, in_words
from ...infusenet.probe.stopping import SHARE

BEST, SHORT = "finish, keep the best", "short tail"  # ways in which Stop at Identity Peak works
EVENT = "infusenet.probe"
POINTS = 400  # of one curve


def point(record: StepRecord) -> list[Any]:
    """One step: [step, sigma, [similarity of each batch item], [the items in which a face was seen]].

    Before there was a rule of what is seen, the last was one truth value: all faces were detected there.
    """
    seen = [item for item, found in enumerate(record.found) if found and record.similarity[item] is not None]
    return [record.step, _short(record.sigma), [_short(value) for value in record.similarity], seen]


def lines(
    strangers: Baseline | None,
    blank: Baseline | None,
    published: float | None,
    recognizer: str,
    subject: SubjectName = "face",
) -> list[Any]:
    """What stands beside a curve: [kind, name, level, deviation] of each line; without a level it is unknown."""
    judging, words = judging_lines(strangers, blank, subject), wording(subject)
    known = [[line.kind, line.name, _short(line.level), _short(line.std)] for line in judging]
    if strangers is None and words.others_unknown:
        known.insert(0, ["impostor", words.others, None, None])
    if published is not None:
        known.append(["published", published_name(recognizer), published, None])
    return known


def labels(subject: SubjectName) -> dict[str, str]:
    """What the chart says of the axis, of a step without a value, and where there is no curve."""
    words = wording(subject)
    return {"axis": words.axis.removesuffix(" (cosine)"), "unseen": words.unseen, "nothing": words.nothing}


def curve(trace: Trace, which: str = "", other: Trace | None = None) -> dict[str, Any]:
    """A whole run, thinned out if it is long; the peak stays. Arguments as `words`'."""
    figures = analyse(trace)
    peak, subject = figures.peak, "face" if trace.rule is None else trace.rule.subject
    stride = -(-len(trace.records) // POINTS) or 1
    last = len(trace.records) - 1
    kept = [
        record
        for place, record in enumerate(trace.records)
        if place % stride == 0 or place == last or (peak is not None and record.step == peak.step)
    ]
    return {
        "steps": trace.steps,
        "offset": trace.run.step_offset,
        "lines": lines(trace.strangers, trace.blank, trace.published_line, trace.recognizer, subject),
        "labels": labels(subject),
        "by": measured_by(trace.recognizer, trace.rule),
        "points": [point(record) for record in kept],
        "counted": list(trace.counted),
        "final": _short(figures.final),
        "end_at": None if trace.final is None else [trace.final.step, _short(trace.final.sigma)],
        "status": trace.status,
        "pictures": [dataclasses.asdict(one) for one in batch.figures_of(trace)],
        "words": words(trace, which, other),
        "advice": [{"words": TRY + one.words, "changes": changes(one)} for one in advise(trace)],
    }


def words(trace: Trace, which: str = "", other: Trace | None = None) -> str:
    """What a report says: of several runs which, the course, of a batch each picture's, and what measured.

    Args:
        other: the same run by a second network.
    """
    beside = [] if other is None else second.in_words(trace, other)
    told = [in_words(trace), *batch.in_words(trace), *beside, batch.measured_in_words(trace)]
    return "\n".join([*filter(None, [which]), *told])


def changes(advice: Advice) -> list[list[Any]]:
    """What following advice sets: [[kinds of node, name of the widget, value], ...]; no kinds = the nearest node."""
    apply, stop = ["InfuseNet_Apply"], ["InfuseNet_StopAtPeak"]
    value = advice.change
    return {
        "end": lambda: [[apply, "end_percent", value["end"]]],
        "strength": lambda: [[apply, "strength", value["strength"]]],
        "keep": lambda: [[stop, "mode", BEST]],
        "stop": lambda: [[stop, "mode", SHORT], [stop, "share", SHARE], [stop, "tail_steps", value["tail"]]],
        "steps": lambda: [[[], "steps", value["steps"]]],
    }[advice.kind]()


def measured_by(recognizer: str, rule: Rule | None) -> str:
    """Network and rule: only what shares them is drawn together."""
    return f"{recognizer.partition(' (')[0]}; {rule or 'no rule recorded'}"


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
    return _running(prompt_id)[2]


def running_workflow(prompt_id: str | None) -> str | None:
    """The id of the workflow that the prompt was made from; None where it is not known, as of prompts by the API."""
    told = _running(prompt_id)[3].get("extra_pnginfo")
    workflow = told.get("workflow") if isinstance(told, dict) else None
    identifier = workflow.get("id") if isinstance(workflow, dict) else None
    return identifier if isinstance(identifier, str) else None


def _running(prompt_id: str | None) -> tuple[Any, ...]:
    """The queue's item: its number, the prompt's id, the prompt, and what came with it."""
    queue = getattr(running_server(), "prompt_queue", None)
    items = tuple(getattr(queue, "currently_running", {}).values())
    return next((item for item in items if item[1] == prompt_id), (0, prompt_id, {}, {}))
