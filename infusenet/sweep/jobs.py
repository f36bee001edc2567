"""From a specification to its jobs. A job's id is a hash of what makes its result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from itertools import product
from typing import Any

from ..axes import AXES, Value
from ..guidance.notation import NONE
from .figure_spec import axis_names
from .people import Person
from .spec import Method, Spec
from .toml import SpecError

Weights = Mapping[tuple[str, str], str]  # name and content of the weights behind each role and adapter
FORMAT = 1  # rises when results of older versions must not be used any more
MOST_JOBS = 100_000
ROUNDS = 3  # over the people: so many times a backbone is loaded, at most
_OWN_FIELD = ("steps", "strength", "guidance", "true_cfg", "first_steps")  # of axes: first_steps stand in `end`


@dataclass(frozen=True)
class Job:
    """One picture to make and measure. Fields behind `format` came later: ids hold them only where not as here."""

    backbone: str  # the weights at work, by name and content
    role: str  # what the specification calls that backbone
    identity: str  # content of the person's pictures
    prompt: str
    steps: int
    strength: float
    guidance: float | None  # None: the backbone's own
    true_cfg: float  # 1: off
    negative: str  # what true CFG steers away from
    seed: int  # of the noise
    start: float  # shares of the run: between start and end the adapter acts
    end: float
    size: tuple[int, int] | None  # width and height; None: the backbone's own
    threads: int  # of the CPU
    metrics: tuple[str, ...]  # beside what always is measured; with the content of weights that it depends on
    format: int = FORMAT  # of the result
    adapter: str = "infusenet"  # a name of ADAPTERS
    measure: str = "face"  # a name of MEASURES, with its weights' content where that is not the face pack
    axes: tuple[tuple[str, Value], ...] = ()  # name and value of further ones
    branches: str = "positive"  # of true CFG, on which the adapter acts; as here where it is off
    refresh: str = "every step"  # when the adapter is computed anew, see `speed.parse_refresh`
    schedule: str = "exact"  # what becomes of the steps' noise levels, see `speed.parse_schedule`
    decoupled: str = NONE  # guidance that takes text and identity apart, see `guidance.notation.parse_decoupled`
    attention: str = NONE  # what becomes of the attention to the identity, see `guidance.notation.parse_attention`

    @cached_property
    def record(self) -> dict[str, Any]:
        """Its fields for a file, without later ones that are as they always were."""
        values = {each.name: (getattr(self, each.name), each.default) for each in fields(self)}
        return {name: value for name, (value, usual) in values.items() if name == "format" or value != usual}

    @cached_property
    def id(self) -> str:
        """20 hexadecimal digits; the same on every machine."""
        text = json.dumps(self.record, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @cached_property
    def group(self) -> str:
        """What it shares with the jobs whose pictures its own is compared with: all but the noise. Else it is alone."""
        return replace(self, seed=0).id if "agreement" in self.metrics else self.id

    @cached_property
    def cost(self) -> float:
        """How long it takes, in steps of the backbone: to partition work and for estimates."""
        acting = max(self.end - self.start, 0.0) if self.strength else 0.0
        more = 0 if self.decoupled == NONE else 1 if self.decoupled.startswith("direction") else 2  # branches
        run = self.steps * (1.0 + more + (self.true_cfg != 1))
        run += self.steps * 0.35 * acting * (1 + (self.branches == "both") + max(more - 1, 0))
        probed = "trajectory" in self.metrics  # a run of its own, every step decoded and looked at
        return run * (1 + probed + ("streams" in self.metrics)) + probed * self.steps + 1.0


@dataclass(frozen=True)
class SweepPoint:
    """One line of the table: a job, and what the specification calls its parts. Several points may share a job."""

    method: str
    person: str
    prompt: str
    seed: int
    first_steps: int | None
    job: Job

    def setting(self, axis: str) -> Value | None:
        """The value of an axis; its default where the method does not name it."""
        if axis == "first_steps":
            return self.first_steps
        return getattr(self.job, axis) if axis in _OWN_FIELD else dict(self.job.axes).get(axis, AXES[axis].default)


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will do."""

    spec: Spec
    people: tuple[Person, ...]
    dropped: tuple[tuple[str, str], ...]  # names of people left out by the filter, and why
    points: tuple[SweepPoint, ...]  # all lines of its table
    command: str  # how it was asked for

    @cached_property
    def jobs(self) -> list[Job]:
        """The pictures to make, each once."""
        return unique(self.points)

    def person(self, digest: str) -> Person:
        """The person behind a job's `identity`."""
        return next(person for person in self.people if person.digest == digest)

    @cached_property
    def _groups(self) -> dict[str, list[Job]]:
        return by_group(self.jobs)

    def siblings(self, job: Job) -> list[Job]:
        """The other jobs of a job's group."""
        return [other for other in self._groups[job.group] if other.id != job.id]


def check_size(spec: Spec, people: int) -> None:
    """Refuse a sweep whose very plan would fill the memory.

    Raises:
        SpecError: it has more than MOST_JOBS pictures.
    """
    methods = sum(math.prod(map(len, method.axes.values())) for method in spec.methods)
    pictures = methods * people * len(spec.prompts) * len(spec.seeds)
    if pictures > MOST_JOBS:
        raise SpecError(
            f"This sweep would make {pictures:,} pictures ({methods:,} method settings, {people:,} people, "
            f"{len(spec.prompts):,} prompts, {len(spec.seeds):,} seeds), but at most {MOST_JOBS:,} are allowed. "
            "Shorten a list, or split the specification."
        )


def expand(
    spec: Spec, people: Iterable[Person], weights: Weights, metrics: Iterable[str] | None = None, measure: str = "face"
) -> Iterator[SweepPoint]:
    """All points of a sweep in the specification's order: each method, values of its axes, person, prompt and seed.

    Args:
        spec, people, weights: the sweep, whom to show, and what is behind each backbone and adapter.
        metrics: what is measured beside the usual; by default the specification's own names.
        measure: see `Job.measure`.
    """
    people = list(people)
    crowd = hashlib.sha256("".join(sorted(person.digest for person in people)).encode()).hexdigest()[:16]
    named = spec.metrics if metrics is None else metrics
    asked = tuple(sorted(f"{name} {crowd}" if name.split()[0] == "rank_1" else name for name in named))
    same: dict[str, Any] = {"size": spec.size, "threads": spec.threads, "metrics": asked, "measure": measure}
    whose = list(product(people, spec.prompts.items(), spec.seeds))
    for method in spec.methods:
        of_method: dict[str, Any] = {"backbone": weights[method.backbone, method.adapter], "role": method.backbone}
        of_method |= {"adapter": method.adapter, "start": method.start}
        of_method |= {name: getattr(method, name) for name in ("refresh", "schedule", "decoupled", "attention")}
        for first_steps, settings in _combinations(method):
            for person, (label, prompt), seed in whose:
                noise = noise_seed(seed, person.digest)
                job = Job(identity=person.digest, prompt=prompt, seed=noise, **same, **of_method, **settings)
                yield SweepPoint(method.label, person.name, label, seed, first_steps, job)


def _combinations(method: Method) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Every combination of a method's axes: the number of active steps, and the fields of a job."""
    names = [name for name in axis_names() if name in _OWN_FIELD or name in method.axes]
    for values in product(*(method.axes.get(name, (AXES[name].default,)) for name in names)):
        chosen: dict[str, Any] = dict(zip(names, values, strict=True))
        first_steps, steps = chosen.pop("first_steps"), chosen["steps"]
        further = tuple((name, chosen.pop(name)) for name in names if name not in _OWN_FIELD)
        chosen["axes"] = tuple((name, value) for name, value in further if value != AXES[name].default)
        chosen["end"] = method.end if first_steps is None else first_steps / steps
        chosen |= {"negative": "", "branches": "positive"}
        if chosen["true_cfg"] != 1:
            chosen |= {"negative": method.negative, "branches": method.branches}
        elif method.decoupled != NONE:
            chosen |= {"negative": method.negative}
        yield first_steps, chosen


@cache
def noise_seed(seed: int, identity: str) -> int:
    """The noise of a person's pictures: the same for all methods and prompts, whoever makes them and in what order."""
    return int(hashlib.sha256(f"{seed}/{identity}".encode()).hexdigest()[:12], 16)


def unique(points: Iterable[SweepPoint]) -> list[Job]:
    """The jobs behind points, each once, in order."""
    return list({point.job.id: point.job for point in points}.values())


def by_group(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    """Jobs by `Job.group`, in order."""
    groups = defaultdict(list)
    for job in jobs:
        groups[job.group].append(job)
    return groups


def partition(jobs: Sequence[Job], ranks: int) -> list[list[Job]]:
    """Jobs parted so that all ranks finish together: the longest group first to whoever has the least.

    A group stays whole, one job after the other. Each rank's are in rounds, see `in_rounds`.
    """
    groups, load, whose = by_group(jobs), [0.0] * ranks, dict[str, int]()
    cost = {name: sum(job.cost for job in group) for name, group in groups.items()}
    for name in sorted(groups, key=lambda name: (-cost[name], name)):
        whose[name] = rank = load.index(min(load))
        load[rank] += cost[name]
    return [in_rounds([group for name, group in groups.items() if whose[name] == rank]) for rank in range(ranks)]


def in_rounds(groups: Sequence[Sequence[Job]]) -> list[Job]:
    """The jobs of groups in rounds over the people, so that a slow hour of the machine hits all methods alike.

    A round is sorted by backbone, every other one backwards: the one that is loaded goes on.
    """
    people = list(dict.fromkeys(group[0].identity for group in groups))
    turn = {identity: number * ROUNDS // len(people) for number, identity in enumerate(people)}
    ordered: list[Job] = []
    for number in range(ROUNDS):
        mine = [group for group in groups if turn[group[0].identity] == number]
        mine.sort(key=lambda group: (group[0].role, group[0].adapter), reverse=number % 2 == 1)
        ordered += [job for group in mine for job in group]
    return ordered
