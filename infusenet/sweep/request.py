"""What `infusenet sweep` and `infusenet report` do, apart from reading the command line."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import require
from ..files import check_folder
from .jobs import Job, SweepPlan, check_size, expand
from .levels import save_levels
from .people import filter_people, find_people
from .results import pending, read_result, read_results
from .runner import Do, Models, Rank, leave, run
from .spec import Spec, read_spec
from .toml import SpecError
from .worker import Worker

SPECS = Path(__file__).with_name("specs")
STORY = ("main-table", "step-budget", "trajectory", "guidance", "strength", "complexity", "ablation", "true-cfg")
ALL = "all"
_MINI_STEP = 0.022  # seconds a step of the miniature takes on one of two cores


@dataclass(frozen=True)
class SweepRequest:
    """A sweep as asked for on the command line."""

    spec: str  # a TOML file, the name of a shipped specification, or "all" for each of these
    out: Path
    models: Models = field(default_factory=Models)
    quick: bool = False  # the specification's small size
    dry_run: bool = False  # only say what would be done
    people: Path | None = None  # a folder of pictures instead of the specification's people
    filter: bool = False  # leave out people as the paper does
    retry: bool = False  # do failed jobs again
    device: str = "auto"
    dtype: str | None = None
    offload: bool = False  # keep on the GPU only the network at work
    quiet: bool = False  # no progress bar
    further: tuple[Mapping[str, Any], ...] = ()  # methods beside the specification's, such as a recipe's
    command: str = "infusenet sweep"  # how it was asked for, for the record


def sweep(request: SweepRequest) -> str:
    """Run a sweep, or all shipped ones, each in a folder of its own under an index, and write tables and pages.

    Returns:
        What to tell the user; nothing on processes other than the first.

    Raises:
        InfuseNetError: the specification, a picture or a weight file cannot be used; nothing is written then.
    """
    summary = _sweep_all(request) if request.spec == ALL else _sweep(request)
    leave()
    return summary


def _sweep_all(request: SweepRequest) -> str:
    """Every shipped specification, one after the other."""
    lines = []
    for name in order_of_reading():
        began = time.monotonic()
        command = request.command.replace(f"sweep {ALL}", f"sweep {name}")
        summary = _sweep(replace(request, spec=name, out=request.out / name, command=command))
        if request.dry_run:
            lines.append(summary)
        elif summary:
            lines.append(f"{name}: {summary.splitlines()[0]} {_duration(time.monotonic() - began)}.")
    if lines and not request.dry_run:
        from .report import write_index

        lines.append(f"Open {write_index(request.out, order_of_reading())} in a browser.")
    return "\n".join(lines)


def _sweep(request: SweepRequest) -> str:
    """One specification: spec, people, jobs, results, report."""
    path, roles = find_spec(request.spec), request.models.backbones
    spec = read_spec(path, quick=request.quick, people=request.people, papers_filter=request.filter, roles=roles)
    spec = spec.with_methods(request.further)
    plan = make_plan(spec, request.models, request.command)
    if request.dry_run:
        return _outlook(plan, request)
    check_folder(request.out)
    require("jinja2", "matplotlib", "pandas", "scipy")  # for the report, which comes last

    def make(rank: Rank, device: str) -> Do:
        crowded = rank.local_world > 1 and not device.startswith("cuda")
        return Worker(plan, request.models, request.out, device, request.dtype, request.offload, alone=not crowded).do

    run(plan, request.out, make, device=request.device, retry=request.retry, quiet=request.quiet)
    if Rank.from_environment().rank > 0:
        return ""
    save_levels(plan, request.models, request.out, request.device)
    return report(request.out)


def shipped() -> list[str]:
    """Names of the specifications in this package."""
    return sorted(path.stem for path in SPECS.glob("*.toml"))


def order_of_reading() -> list[str]:
    """The shipped specifications as the paper tells its story, any further ones behind."""
    return sorted(shipped(), key=lambda name: (*STORY, name).index(name))


def find_spec(name: str | Path) -> Path:
    """A specification by path, or a shipped one by name; SpecError where it is neither."""
    for path in (Path(name), SPECS / f"{name}.toml"):
        if path.is_file():
            return path
    raise SpecError(
        f"{name}: there is no such file or specification. Choose a file, or one of: {ALL}, {', '.join(shipped())}"
    )


def make_plan(spec: Spec, models: Models, command: str) -> SweepPlan:
    """Everything that a sweep will do, before any model is loaded (a filter loads the face detector).

    Raises:
        InfuseNetError: pictures or weights are missing or unreadable, or the sweep is too large to be planned.
    """
    models.check_people(spec)
    check_size(spec, min(spec.people.drawn, spec.people.limit or spec.people.drawn))
    people, dropped = find_people(spec.people), list[tuple[str, str]]()
    check_size(spec, len(people))
    if spec.people.filter is not None:
        from ..faces import FaceDetector

        detector = FaceDetector.from_pack(models.face_pack(spec))
        people, dropped = filter_people(people, spec.people.filter, detector.detect)
    points = expand(spec, people, models.contents(spec), models.metrics_of(spec), models.measure_of(spec))
    return SweepPlan(spec, tuple(people), tuple(dropped), tuple(points), command)


def report(folder: Path) -> str:
    """Write tables and pages anew from results, of a sweep or of all sweeps in a folder; what to tell the user.

    Raises:
        InfuseNetError: the folder holds no sweep.
    """
    from .report import write_index, write_report

    inside = {path.parent.name for path in folder.glob("*/sweep.json")}
    if (folder / "sweep.json").is_file() or not inside:
        return write_report(read_results(folder))
    names = [name for name in dict.fromkeys([*order_of_reading(), *sorted(inside)]) if name in inside]
    lines = [f"{name}: {write_report(read_results(folder / name)).splitlines()[0]}" for name in names]
    return "\n".join([*lines, f"Open {write_index(folder, names)} in a browser."])


def _outlook(plan: SweepPlan, request: SweepRequest) -> str:
    """How many jobs there are, and how long they may take."""
    todo, spec = pending(plan, request.out, retry=request.retry), plan.spec
    lines = [
        spec.title,
        f"{len(plan.jobs)} jobs for {len(plan.points)} rows: {len(plan.people)} people, {len(spec.prompts)} prompts, "
        f"{len(spec.seeds)} seeds, {len(spec.methods)} methods; {len(plan.jobs) - len(todo)} have a result.",
    ]
    lines += [f"left out: {name} ({reason})" for name, reason in plan.dropped]
    processes, waiting = Rank.from_environment().world, {job.id for job in todo}
    finished = [(job, read_result(request.out, job)) for job in plan.jobs if job.id not in waiting]
    pace = [(job, result.seconds) for job, result in finished if result.seconds is not None]
    if (estimated := estimate(todo, pace, processes)) is None:
        return "\n".join([*lines, "No estimate until the first jobs have run: real weights differ too much."])
    seconds, rests_on = estimated
    with_so_many = f"with {processes} process{'es' * (processes > 1)}"
    return "\n".join([*lines, f"About {_duration(seconds)} {with_so_many}, {rests_on}."])


def estimate(jobs: Sequence[Job], done: Sequence[tuple[Job, float]], processes: int) -> tuple[float, str] | None:
    """Seconds that jobs will take, and what that rests on: finished ones with their seconds; None if on nothing."""
    cost = sum(job.cost for job in jobs)
    if done:
        pace = sum(seconds for _, seconds in done) / sum(job.cost for job, _ in done)
        return cost * pace / processes, f"judging by the {len(done)} finished jobs"
    if all(job.backbone.startswith("mini-") for job in jobs):
        return cost * _MINI_STEP / processes, "judging by the miniature's usual pace on a CPU"
    return None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
