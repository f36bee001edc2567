"""What `infusenet sweep` and `infusenet report` do, apart from reading the command line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import SettingsError
from .index import write_index
from .page import write_page
from .plan import Plan, estimate, load_plan, make_plan, picture_path, read_result, result_path
from .run import Place, leave, pending, run
from .spec import ALL, find_spec, order_of_reading, read_spec
from .table import write_tables
from .weights import Weights
from .work import Worker


@dataclass(frozen=True)
class Order:
    """A sweep as asked for on the command line.

    Attributes:
        spec: a TOML file, the name of a shipped specification, or "all" for each of these.
        out: the folder.
        weights: what stands behind "dev" and "schnell".
        quick: the specification's small size.
        dry_run: only say what would be done.
        people: a folder of pictures instead of the specification's people.
        filter: leave out people as the paper does.
        retry: do failed jobs again.
        device: as everywhere.
        dtype: as everywhere.
        offload: keep on the GPU only the network at work.
        quiet: no progress bar.
        command: how it was asked for, for the record.
    """

    spec: str
    out: Path
    weights: Weights = field(default_factory=Weights)
    quick: bool = False
    dry_run: bool = False
    people: Path | None = None
    filter: bool = False
    retry: bool = False
    device: str = "auto"
    dtype: str | None = None
    offload: bool = False
    quiet: bool = False
    command: str = "infusenet sweep"


def sweep(order: Order) -> str:
    """Run a sweep, or all shipped ones, and write tables and pages.

    Args:
        order: what is asked for. Its spec may be "all": then each shipped specification gets a folder of its own, and
            an index leads to them.

    Returns:
        What to tell the user; nothing on processes other than the first.

    Raises:
        InfuseNetError: the specification, a picture or a weight file cannot be used; nothing is written then.
    """
    if order.spec != ALL:
        told = _sweep(order)
    else:
        told = _sweep_all(order)
    leave()
    return told


def _sweep_all(order: Order) -> str:
    """Every shipped specification, one after the other."""
    told, names = [], order_of_reading()
    for name in names:
        began = time.monotonic()
        command = order.command.replace(f"sweep {ALL}", f"sweep {name}")
        said = _sweep(replace(order, spec=name, out=order.out / name, command=command))
        if order.dry_run:
            told.append(said)
        elif said:
            told.append(f"{name}: {said.splitlines()[0]} {_duration(time.monotonic() - began)}.")
    if told and not order.dry_run:
        told.append(f"Open {write_index(order.out, names)} in a browser.")
    return "\n".join(told)


def _sweep(order: Order) -> str:
    """One specification."""
    spec = read_spec(find_spec(order.spec), quick=order.quick, people=order.people, papers_filter=order.filter)
    plan = make_plan(spec, order.weights, order.command)
    if order.dry_run:
        return _outlook(plan, order)
    if order.out.exists() and not order.out.is_dir():
        raise SettingsError(f"{order.out} is a file. Name a folder with --out.")

    def make(place: Place, device: str) -> Worker:
        crowded = place.local_world > 1 and not device.startswith("cuda")
        return Worker(plan, order.weights, order.out, device, order.dtype, order.offload, alone=not crowded)

    run(plan, order.out, make, device=order.device, retry=order.retry, quiet=order.quiet)
    return report(order.out) if Place.from_environment().rank == 0 else ""


def report(out: Path) -> str:
    """Write tables and pages anew from results: of a sweep, or of all sweeps in a folder.

    Returns:
        What to tell the user.

    Raises:
        InfuseNetError: the folder holds no sweep.
    """
    inside = {path.parent.name for path in out.glob("*/sweep.json")}
    if (out / "sweep.json").is_file() or not inside:
        return _report(out)
    names = [name for name in order_of_reading() if name in inside]
    names += sorted(inside - {*names})
    told = [f"{name}: {_report(out / name).splitlines()[0]}" for name in names]
    return "\n".join([*told, f"Open {write_index(out, names)} in a browser."])


def _report(out: Path) -> str:
    """Of one sweep."""
    done = load_plan(out)
    tables = write_tables(done, out)
    jobs = {row.job.id: row.job for row in done.rows}
    results = [read_result(out, job) for job in jobs.values()]
    finished = sum(result is not None and result["status"] == "done" for result in results)
    failed = sum(result is not None and result["status"] == "failed" for result in results)
    told = [f"{finished} of {len(jobs)} pictures made, {failed} failed, {len(jobs) - finished - failed} missing."]
    for job, result in zip(jobs.values(), results, strict=True):
        if result is not None and result["status"] == "failed":
            told.append(f"  for example {result_path(out, job).name}: {result['error']} (try again with --retry)")
            break
    page = write_page(done, out)
    told.append(f"Table: {tables[0]}\nOpen {page} in a browser.")
    return "\n".join(told)


def _outlook(plan: Plan, order: Order) -> str:
    """How many jobs there are, and how long they may take."""
    jobs, todo = plan.jobs, pending(plan, order.out, retry=order.retry)
    finished = []
    for job in jobs:
        result = read_result(order.out, job)
        if result is not None and result["status"] == "done" and picture_path(order.out, job).exists():
            finished.append((job, float(result["seconds"])))
    processes = Place.from_environment().world
    lines = [
        f"{plan.spec.title}",
        f"{len(jobs)} jobs for {len(plan.rows)} rows: {len(plan.people)} people, {len(plan.spec.prompts)} prompts, "
        f"{len(plan.spec.seeds)} seeds, {len(plan.spec.methods)} methods; {len(jobs) - len(todo)} have a result.",
    ]
    lines += [f"left out: {name} ({reason})" for name, reason in plan.dropped]
    found = estimate(todo, finished, processes)
    if found is None:
        lines.append("No estimate before the first jobs have run: real weights differ too much.")
    else:
        lines.append(f"About {_duration(found[0])} with {processes} process{'es' * (processes > 1)}, {found[1]}.")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
