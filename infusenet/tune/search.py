"""The search itself: rounds of pictures through a sweep's runner, so that it goes on where it was stopped."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import SettingsError, require
from ..files import check_folder
from ..sweep.jobs import Job, SweepPlan, SweepPoint
from ..sweep.people import Person
from ..sweep.request import make_plan
from ..sweep.results import JobResult, pending, read_result, save_plan
from ..sweep.runner import Do, Make, Rank, leave, run
from ..sweep.spec import Spec
from ..sweep.worker import Worker
from .halving import Race, race
from .pace import paces
from .request import TuneRequest, in_turn, parted, rounds_of, too_few
from .standing import MEASURED_BY, Key, Share, Standing, Values, share_of
from .ways import Way

SECOND = "second_similarity"
METRICS = ("prompt_fit", SECOND)
_TABLES = {"Likeness": "similarity", "Prompt following": "prompt_fit", "Time": "seconds"}
Pair = tuple[Person, str]  # whom a picture shows, and its prompt


@dataclass(frozen=True)
class Verified:
    """How the chosen way stands on held-out people and prompts, which had no part in the choice.

    Attributes:
        standing: its identity is by the second recognizer where there is one.
        seconds, reference_seconds: medians, measured in turn.
        judge: the recognizer that says so.
        misses: criteria whose mean lies below the target.
        surely: whether one lies below it with its whole interval.
    """

    standing: Standing
    seconds: float
    reference_seconds: float
    judge: str
    misses: tuple[str, ...]
    surely: bool

    @property
    def verdict(self) -> str:
        """Whether it held up, in words."""
        if not self.misses:
            return "held up"
        return "did not hold up" if self.surely else "missed within noise"


@dataclass(frozen=True)
class Found:
    """All that a search has found."""

    request: TuneRequest
    race: Race
    verified: Verified | None  # None where no way meets the target
    people: tuple[tuple[Person, ...], tuple[Person, ...]]  # searched on, verified on
    prompts: tuple[tuple[str, ...], tuple[str, ...]]
    unmeasured: tuple[str, ...]  # criteria that nothing measured
    disturbed: bool  # whether something else was at work while seconds were taken
    machine: str
    versions: Mapping[str, str]

    @property
    def limits(self) -> list[str]:
        """What cannot be said, in sentences."""
        searched, held_out = self.people
        found = too_few(len(searched), len(held_out), searched == held_out)
        if self.prompts[0] == self.prompts[1]:
            found.append("With one prompt, none is held out. Give three or more.")
        found += [f"Nothing measured {_NEEDS[name]}, so that target was not judged." for name in self.unmeasured]
        if self.disturbed:
            found.append(
                "Something else was running on this machine, so the seconds are less certain than on an idle one."
            )
        return found


_NEEDS = {
    "identity": "likeness",
    "prompt": "how well a picture follows its prompt (give --clip DIR)",
    "sharpness": "sharpness",
}


def search(request: TuneRequest, make: Make | None = None) -> Found:
    """Find the fastest way that meets the target, and verify it; every picture's result is kept in the folder.

    Args:
        request: what is asked for.
        make: what does a job; the sweep's worker by default.

    Raises:
        InfuseNetError: a picture or a weight file cannot be used, or the reference way shows no face.
    """
    check_folder(request.out)
    require("jinja2", "matplotlib", "pandas", "scipy")  # for the page, which comes last
    pictures = _Pictures(request, make)
    pairs = in_turn(*pictures.search)
    found = race(
        request.ways,
        request.reference,
        lambda ways, count: pictures.standings(ways, pairs[:count]),
        rounds_of(len(pairs)),
        request.target,
        exhaustive=request.exhaustive,
    )
    verified = None if found.chosen is None else pictures.verified(found.chosen)
    if Rank.from_environment().rank == 0:
        save_plan(request.out, replace(pictures.plan, points=tuple(pictures.seen.values())))
    leave()
    shares = found.entry(request.reference).standing.shares
    return Found(
        request,
        found,
        verified,
        (pictures.search[0], pictures.held_out[0]),
        (pictures.search[1], pictures.held_out[1]),
        tuple(name for name in MEASURED_BY if name not in shares),
        pictures.disturbed,
        machine(pictures.device),
        pictures.versions,
    )


@dataclass
class _Pictures:
    """Pictures of ways: made where they are missing, measured, and summed up."""

    request: TuneRequest
    make: Make | None = None
    seen: dict[str, SweepPoint] = field(default_factory=dict)  # asked for so far, by job
    _round: int = 0
    _worker: Worker | None = None

    @cached_property
    def plan(self) -> SweepPlan:
        """Everything that could be asked for."""
        request = self.request
        cohort = {"folder": str(request.people)} if request.people else {"drawn": request.drawn}
        tables = [{"kind": "table", "title": title, "values": [of]} for title, of in _TABLES.items()]
        asked: dict[str, Any] = {
            "title": "Ways to make a picture, and their price",
            "about": "The rounds of a search for the fastest way that keeps a wanted quality.",
            "metrics": METRICS,
            "people": cohort,
            "prompts": {prompt: prompt for prompt in request.prompts},
            "methods": [way.method() for way in request.ways],
            "figures": tables,
        }
        return make_plan(Spec.model_validate(asked), request.models, request.command)

    @cached_property
    def _points(self) -> dict[tuple[str, str, str], SweepPoint]:
        return {(point.method, point.job.identity, point.prompt): point for point in self.plan.points}

    @cached_property
    def search(self) -> tuple[tuple[Person, ...], tuple[str, ...]]:
        """People and prompts to search on."""
        return parted(self.plan.people, 2)[0], parted(self.request.prompts, 3)[0]

    @cached_property
    def held_out(self) -> tuple[tuple[Person, ...], tuple[str, ...]]:
        """People and prompts to verify on."""
        return parted(self.plan.people, 2)[1], parted(self.request.prompts, 3)[1]

    def standings(self, ways: Sequence[Way], pairs: Sequence[Pair]) -> dict[Way, Standing]:
        """How ways stand on some pictures; what is missing is made first."""
        self._round += 1
        self._do(ways, pairs, f"Round {self._round}: {len(ways)} ways, {len(pairs)} pictures of each")
        pace = paces(self._timed())
        for way in ways:
            if way.backbone not in pace:
                raise self._none_made(way.backbone)
        return {way: self._standing(way, pairs, pace[way.backbone].seconds(way)) for way in ways}

    def verified(self, chosen: Way) -> Verified:
        """How the chosen way stands on held-out people and prompts."""
        reference, target = self.request.reference, self.request.target
        pairs = in_turn(*self.held_out)
        self._do(list(dict.fromkeys([reference, chosen])), pairs, "Held-out people and prompts")
        results = {way: self._results(way, pairs) for way in (reference, chosen)}
        second = any(result.metric(SECOND) is not None for result in results[reference].values())
        seconds = {way: self._median(way, map(_seconds, results[way].values())) for way in results}
        standing = self._standing(chosen, pairs, seconds[chosen], SECOND if second else "similarity")
        first = next(iter(results[reference].values()))
        judge = first.note(f"{SECOND}_with") if second else first.recognizer
        misses = tuple(standing.misses(target))
        surely = standing.surely_misses(target) or standing.loses_faces
        return Verified(standing, seconds[chosen], seconds[reference], judge or "unnamed", misses, surely)

    @property
    def device(self) -> str:
        """Where pictures were made."""
        return next((result.device for _, result in self._all() if result.device), "cpu")

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the libraries."""
        return next((result.versions for _, result in self._all() if result.versions), {})

    @property
    def disturbed(self) -> bool:
        """Whether most pictures were made beside other work."""
        alone = [result.alone is True for _, result in self._all() if result.seconds is not None]
        return sum(alone) < len(alone) / 2

    def _do(self, ways: Sequence[Way], pairs: Sequence[Pair], title: str) -> None:
        """Make what is missing of these pictures, the ways in turn for each person, so that a slow hour hits all."""
        points = [self._point(way, pair) for pair in pairs for way in ways]
        self.seen |= {point.job.id: point for point in points}
        spec = self.plan.spec.model_copy(update={"title": title})
        part = replace(self.plan, spec=spec, points=tuple(points))
        if Rank.from_environment().world > 1 or pending(part, self.request.out, retry=True):
            run(part, self.request.out, self.make or self._make, device=self.request.device, retry=True,
                quiet=self.request.quiet)  # fmt: skip

    def _make(self, rank: Rank, device: str) -> Do:
        """The sweep's worker, which keeps its models from round to round."""
        crowded = rank.local_world > 1 and not device.startswith("cuda")
        if self._worker is None:
            request = self.request
            self._worker = Worker(self.plan, request.models, request.out, device, request.dtype, request.offload,
                                  alone=not crowded)  # fmt: skip
        return self._worker.do

    def _point(self, way: Way, pair: Pair) -> SweepPoint:
        return self._points[way.name, pair[0].digest, pair[1]]

    def _results(self, way: Way, pairs: Iterable[Pair]) -> dict[Key, JobResult]:
        return {(who.digest, prompt): self._result(self._point(way, (who, prompt)).job) for who, prompt in pairs}

    def _result(self, job: Job) -> JobResult:
        return read_result(self.request.out, job)

    def _all(self) -> Iterable[tuple[Way, JobResult]]:
        """What was seen so far, whatever else the folder holds: so that a search that goes on decides the same."""
        by_name = {way.name: way for way in self.request.ways}
        return ((by_name[point.method], self._result(point.job)) for point in self.seen.values())

    def _timed(self) -> list[tuple[Way, float]]:
        return [(way, took) for way, result in self._all() if (took := _seconds(result)) is not None]

    def _median(self, way: Way, seconds: Iterable[float | None]) -> float:
        known = [each for each in seconds if each is not None]
        if not known:
            raise self._none_made(way.name)
        return median(known)

    def _none_made(self, what: str) -> SettingsError:
        results = self.request.out / "results"
        return SettingsError(
            f"No picture of {what} could be made; the reasons are in {results}. Fix that and run the command again, "
            "or name other backbones with --among."
        )

    def _standing(self, way: Way, pairs: Sequence[Pair], cost: float, likeness: str = "similarity") -> Standing:
        ours, theirs = self._results(way, pairs), self._results(self.request.reference, pairs)
        seen = {key for key, result in theirs.items() if result.similarity is not None}
        if not seen:
            raise SettingsError(
                f"None of {len(theirs)} pictures of {self.request.reference.name} shows a face, so nothing can be "
                f"compared. The reasons are in {self.request.out / 'results'}."
            )
        shares: dict[str, Share] = {}
        for name, column in (MEASURED_BY | {"identity": likeness}).items():
            share = share_of(_column(ours, column), _column(theirs, column))
            shares |= {} if share is None else {name: share}
        return Standing(shares, cost, sum(ours[key].similarity is None for key in seen), len(seen))


def _column(results: Mapping[Key, JobResult], name: str) -> Values:
    """A column of results, None where undefined."""
    return {key: result.similarity if name == "similarity" else result.metric(name) for key, result in results.items()}


def _seconds(result: JobResult) -> float | None:
    """How long a picture took: on a CPU the processor's time, which of one thread is the clock's on a quiet machine."""
    if result.device == "cpu" and result.cpu_seconds is not None and result.seconds is not None:
        return min(result.seconds, result.cpu_seconds)
    return result.seconds


def machine(device: str) -> str:
    """What seconds were taken on, in words."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    import os

    named = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{named[0] if named else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
