"""Running a sweep: what is missing is dealt to the processes, each result is written at once, a failure is a result."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from ..errors import InfuseNetError, PackageError, SettingsError
from .jobs import Job, deal
from .plan import Plan, read_result, save_plan, write_result

log = logging.getLogger(__name__)
_PATIENCE = timedelta(days=7)  # how long processes wait for the slowest one


class Doer(Protocol):
    """Whoever makes results, such as `work.Worker`."""

    def do(self, job: Job) -> dict[str, Any]:
        """Make one."""


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that a launcher started.

    Attributes:
        rank: 0 for the first.
        world: how many.
        local: its number on this machine.
        local_world: how many on this machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1

    @classmethod
    def from_environment(cls) -> Place:
        """As `accelerate launch` and `torchrun` tell it."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        values = [int(os.environ.get(name, default)) for name, default in zip(names, "0101", strict=True)]
        if "LOCAL_WORLD_SIZE" not in os.environ:
            values[3] = values[1]
        return cls(*values)


def run(
    plan: Plan,
    out: Path,
    make: Callable[[Place, str], Doer],
    *,
    device: str = "auto",
    retry: bool = False,
    quiet: bool = False,
) -> tuple[int, int]:
    """Make all results that are missing.

    Args:
        plan: what to do.
        out: the sweep's folder; made if missing.
        make: gives whoever does the jobs, for this process's place and device; called only if there is something to do.
        device: "auto", "cpu", "cuda", ...; with several processes each takes a GPU of its own.
        retry: do failed jobs again.
        quiet: no progress bar.

    Returns:
        How many jobs were done by this process, and how many of these failed.

    Raises:
        SettingsError: more processes on this machine than GPUs.
    """
    import torch

    torch.set_num_threads(plan.spec.threads)
    place = Place.from_environment()
    device = _device(device, place)
    together = _Together(place, device)
    mine: Sequence[Job] = []
    if place.rank == 0:
        (out / "results").mkdir(parents=True, exist_ok=True)
        _clear_drafts(out)
        save_plan(out, plan)
        _save_people(plan, out)
        todo = pending(plan, out, retry=retry)
        hands = deal(todo, place.world)
    else:
        hands = []
    hands = together.share(hands)
    mine = hands[place.rank]
    failed = _work(mine, out, make, place, device, None if quiet else plan.spec.title) if mine else 0
    together.wait()
    return len(mine), failed


def _clear_drafts(out: Path) -> None:
    """Remove files that a killed process was writing; such a file never bears its final name."""
    for folder in (out, *(out / name for name in ("results", "pictures", "people", "figures"))):
        for draft in folder.glob(".*.part"):
            draft.unlink(missing_ok=True)


def _save_people(plan: Plan, out: Path) -> None:
    """The reference of each person, for the report's grids; small, and no file of the user's is touched."""
    from PIL import Image

    from ..files import save_picture

    (out / "people").mkdir(exist_ok=True)
    for person in plan.people:
        path = out / "people" / f"{person.name}.png"
        if not path.exists():
            picture = Image.fromarray(person.pictures()[0])
            picture.thumbnail((512, 512))
            save_picture(picture, path, {"Title": person.name}, generated=False, inputs=person.files)


def pending(plan: Plan, out: Path, *, retry: bool = False) -> list[Job]:
    """Jobs without a result, and failed ones where they are to be tried again."""
    missing = []
    for job in plan.jobs:
        result = read_result(out, job)
        if result is None or (retry and result["status"] == "failed"):
            missing.append(job)
    return missing


def _work(
    jobs: Sequence[Job], out: Path, make: Callable[[Place, str], Doer], place: Place, device: str, title: str | None
) -> int:
    """Do jobs one after the other, with a bar under a title if there is one; returns how many failed."""
    from tqdm import tqdm

    doer, failed = make(place, device), 0
    for job in tqdm(jobs, desc=title, unit="", disable=title is None or place.rank > 0, leave=False):
        try:
            result = {"status": "done", "error": None, **doer.do(job)}
        except Exception as error:  # whatever it is: it is this job's result, and the sweep goes on
            failed += 1
            told = isinstance(error, InfuseNetError)
            log.log(logging.WARNING, "Job %s failed: %s", job.id, error)
            result = {
                "status": "failed",
                "error": f"{type(error).__name__}: {error}",
                "where": None if told else traceback.format_exc(limit=-3),
            }
        write_result(out, job, {**result, "rank": place.rank, "world": place.world})
    return failed


def _device(device: str, place: Place) -> str:
    """The device of this process."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and place.world > 1:
        if place.local >= torch.cuda.device_count():
            raise SettingsError(
                f"Expected a GPU for each of {place.local_world} processes, found {torch.cuda.device_count()}. "
                "Start fewer processes."
            )
        return f"cuda:{place.local}"
    return device


class _Together:
    """What processes have to agree on, through accelerate; nothing where there is one."""

    def __init__(self, place: Place, device: str) -> None:
        self._state: Any = None
        if place.world == 1:
            return
        try:
            from accelerate import PartialState
        except ImportError:
            raise PackageError("Several processes need accelerate. Install it: pip install accelerate") from None
        self._state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)

    def share(self, value: Any) -> Any:
        """The first process's value, for all."""
        if self._state is None:
            return value
        from accelerate.utils import broadcast_object_list

        boxed = [value]
        broadcast_object_list(boxed)
        return boxed[0]

    def wait(self) -> None:
        """Until all are here."""
        if self._state is None:
            return
        if self._state.device.type == "cpu":  # accelerate names a GPU in its barrier wherever there is one
            from torch import distributed

            distributed.barrier()
        else:
            self._state.wait_for_everyone()


def leave() -> None:
    """Part from the other processes, after the last sweep."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
