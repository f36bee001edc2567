"""Advice followed: each run's own advice is done, and the two pictures compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...measures import ReferenceInfo, Rule
from ...probe.advice import Advice, advise, weak
from ...probe.records import RunInfo, StepRecord
from ...probe.trace import Trace
from ...probe.trajectory import analyse
from .compare import Row, pair
from .lab import Lab
from .runs import Readings, Setting, sigmas_of

KINDS = ("end", "strength", "keep", "stop", "steps")


@dataclass(frozen=True)
class Base:
    """Runs that ask for advice, and the kinds that are followed there; `every` n-th step is looked at."""

    setting: Setting
    kinds: tuple[str, ...]


BASES = (
    Base(Setting(), ("strength", "keep", "stop", "steps")),
    Base(Setting(strength=0.5), ("strength",)),
    Base(Setting(strength=0.75), ("strength",)),
    Base(Setting(end=0.5), ("end",)),
    Base(Setting(end=0.75), ("end",)),
    Base(Setting(end=0.9), ("end",)),
    Base(Setting("mini-schnell", 4), ("strength",)),
)


def name_of(setting: Setting) -> str:
    """A base in words."""
    told = f"{setting.backbone} {setting.steps}"
    told += f", strength {setting.strength:g}" if setting.strength != 1 else ""
    return told + (f", end_percent {setting.end:g}" if setting.end != 1 else "")


def trace_of(lab: Lab, setting: Setting, steps: Readings, k: int) -> Trace:
    """What a probe would have written of one run; only the last prediction where `steps` holds no others."""
    total, looked = setting.steps, steps.seen.shape[1]
    levels = tuple(sigmas_of(setting))
    records = []
    for place in range(looked):
        step = total if looked == 1 else place + 1
        seen = bool(steps.seen[k, place])
        records.append(
            StepRecord(
                step,
                levels[step - 1],
                (float(steps.chosen[k, place]) if seen else None,),
                (seen,),
                ("detected" if seen else None,),
                (float(steps.score[k, place]),),
                (float(steps.sharpness[k, place]),),
                (None,),
            )
        )
    return Trace(
        records=tuple(records),
        final=replace(records[-1], sigma=0.0),
        batch=1,
        every=1 if looked > 1 else total,
        sigmas=levels,
        reference=ReferenceInfo(1),
        strangers=lab.strangers[k],
        ceiling=None,
        recognizer="the miniature's",
        evaluation="after",
        status="complete",
        reason=None,
        warnings=(),
        seconds_in_loop=0.0,
        seconds_after=0.0,
        run=RunInfo(
            backbone=setting.backbone,
            steps=total,
            sampler="euler",
            strength=setting.strength,
            start=0.0,
            end=setting.end,
        ),
        rule=Rule("face 1"),
        blank=lab.blanks[k],
    )


def table(lab: Lab, bases: Sequence[Base] = BASES, wanted: Sequence[str] = KINDS) -> list[dict[str, Any]]:
    """One row for each kind of advice and base."""
    rows = []
    for base in bases:
        kinds = [kind for kind in base.kinds if kind in wanted]
        if not kinds:
            continue
        every = {"keep", "stop", "steps"} & set(kinds)
        course = lab.course(base.setting) if every else None
        steps = lab.steps(base.setting, course) if every else _last(lab.finished(base.setting))
        advice = [{one.kind: one for one in advise(trace_of(lab, base.setting, steps, k))} for k in range(len(lab.who))]
        for kind in kinds:
            who = [k for k, own in enumerate(advice) if kind in own]
            row = _followed(lab, base.setting, steps, course, kind, who, [advice[k][kind] for k in who])  # type: ignore[index]
            rows.append({"kind": kind, "of": name_of(base.setting), "row": row})
    return rows


def _followed(
    lab: Lab, setting: Setting, steps: Readings, course: Any, kind: str, who: list[int], advice: list[Advice]
) -> Row:
    """Do what was advised to these subjects; compare with their runs as they were."""
    total, name = setting.steps, f"{kind}: {name_of(setting)}"
    old = steps.at(steps.seen.shape[1] - 1).of(who)
    if not who:
        return pair(name, old, old, 0.0)
    if kind == "keep":
        best = np.full(len(lab.who), total - 1)
        best[who] = [one.change["step"] - 1 for one in advice]
        return pair(name, steps.at(best).of(who), old, total, total)
    if kind == "stop":
        stops = np.full(len(lab.who), total)
        stops[who] = [one.change["step"] for one in advice]
        more = advice[0].change["tail"]
        return pair(name, lab.tails(setting, course, stops.tolist(), more).of(who), old, stops[who] + more)
    made: list[Any] = [None] * len(who)
    for change in {tuple(one.change.items()) for one in advice}:
        places = [k for k, one in enumerate(advice) if tuple(one.change.items()) == change]
        setting_now = replace(setting, **dict(change))
        part = lab.finished(setting_now, [who[k] for k in places])
        for place, k in enumerate(places):
            made[k] = part.of([place])
    new = Readings(*(np.concatenate(column) for column in zip(*(one.columns() for one in made), strict=True)))
    return pair(name, new, old, [one.change.get("steps", total) for one in advice])


def _last(finished: Readings) -> Readings:
    return Readings(*(column[:, None] for column in finished.columns()))


def rejected(lab: Lab) -> list[Row]:
    """What was thought of and is not advised: its figures, on the same subjects."""
    base = Setting()
    old = lab.finished(base)
    unclear = lab.finished(replace(base, reference="unclear"))
    rows = [pair("a clearer reference", old, unclear, base.steps)]
    for end in (0.5, 0.75, 0.9):
        rows.append(pair(f"rest the adapter after {end:.0%}", lab.finished(replace(base, end=end)), old, base.steps))
    rows.append(pair("more steps: 50", lab.finished(replace(base, steps=50)), old, 50))
    schnell = Setting("mini-schnell", 4)
    rows.append(pair("more steps: mini-schnell 8", lab.finished(replace(schnell, steps=8)), lab.finished(schnell), 8))
    for setting in (base, schnell):
        rows.append(_seeds(lab, setting))
    return rows


def _seeds(lab: Lab, setting: Setting) -> Row:
    """Where the likeness is weak another seed, and the one of the two that scores higher."""
    old = lab.finished(setting)
    traces = [trace_of(lab, setting, _last(old), k) for k in range(len(lab.who))]
    who = [k for k, trace in enumerate(traces) if weak(trace, analyse(trace))]
    name = f"another seed where weak: {name_of(setting)}"
    if not who:
        return pair(name, old.of([]), old.of([]), 0.0)
    again, old = lab.finished(replace(setting, noise=1), who), old.of(who)
    better = np.where(again.seen, again.chosen, -1) > np.where(old.seen, old.chosen, -1)
    new = Readings(*(np.where(better, a, b) for a, b in zip(again.columns(), old.columns(), strict=True)))
    return pair(name, new, old, 2 * setting.steps)


def by_others(lab: Lab) -> Row:
    """The step count that suits others with the same prompt best, sharp enough: a sweep knows it, a run does not."""
    base, counts = Setting(), (4, 6, 8, 10, 12, 16, 20, 28)
    made = [lab.finished(replace(base, steps=steps)) for steps in counts]
    old, prompts = made[-1], np.array([lab.crowd.prompts[k % len(lab.crowd.prompts)] for k in lab.who])
    chosen = np.stack([np.where(one.seen, one.chosen, 0.0) for one in made], 1)
    sharp = np.stack([one.sharpness for one in made], 1)
    places = []
    for k in lab.who:
        others = (prompts == prompts[k]) & (np.arange(len(prompts)) != k)
        if not others.any():
            places.append(len(counts) - 1)
            continue
        enough = sharp[others].mean(0) >= 0.9 * sharp[others][:, -1].mean()
        places.append(int(np.argmax(np.where(enough, chosen[others].mean(0), -2.0))))
    columns = zip(*(one.columns() for one in made), strict=True)
    new = Readings(*(np.stack(column, 1)[np.arange(len(places)), places] for column in columns))
    return pair("the best step count of others with this prompt", new, old, [counts[place] for place in places])
