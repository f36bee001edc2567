"""Running a sweep: what is missing is parted among processes, each result is written at once, a failure is a result."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from ..errors import InfuseNetError, PackageError, SettingsError
from .jobs import Job, SweepPlan, partition
from .results import BrokenResult, ids_in, is_whole, picture_path, read_result, save_plan, set_aside, write_result

log = logging.getLogger(__name__)
_PATIENCE = timedelta(days=7)  # how long processes wait for the slowest one
_BEAT, _DEAD = 20.0, 300.0  # seconds between two signs of life, and without one for so long it is over


class Doer(Protocol):
    """Whoever makes results, such as `worker.Worker`."""

    def do(self, job: Job) -> dict[str, Any]:
        """Make one."""


@dataclass(frozen=True)
class Rank:
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
    def from_environment(cls) -> Rank:
        """As `accelerate launch` and `torchrun` tell it."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        values = [int(os.environ.get(name, default)) for name, default in zip(names, "0101", strict=True)]
        if "LOCAL_WORLD_SIZE" not in os.environ:
            values[3] = values[1]
        return cls(*values)


def run(
    plan: SweepPlan,
    folder: Path,
    make: Callable[[Rank, str], Doer],
    *,
    device: str = "auto",
    retry: bool = False,
    quiet: bool = False,
) -> tuple[int, int]:
    """Make all results that are missing.

    Args:
        plan: what to do.
        folder: the sweep's; made if missing.
        make: gives whoever does the jobs, for this process's rank and device; called only if there is something to do.
        device: "auto", "cpu", "cuda", ...; with several processes each takes a GPU of its own.
        retry: do failed jobs again.
        quiet: no progress bar.

    Returns:
        How many jobs were done by this process, and how many of these failed.

    Raises:
        SettingsError: more processes on this machine than GPUs, or another sweep is at work in the folder.
    """
    import torch

    torch.set_num_threads(plan.spec.threads)
    rank = Rank.from_environment()
    device = _device(device, rank)
    group = _Group(rank, device)
    with locked(folder) if rank.rank == 0 else nullcontext():
        parts = partition(_prepare(plan, folder, retry), rank.world) if rank.rank == 0 else []
        mine = group.share(parts)[rank.rank]
        failed = _work(mine, folder, make, rank, device, None if quiet else plan.spec.title) if mine else 0
        group.wait()
    return len(mine), failed


def _prepare(plan: SweepPlan, folder: Path, retry: bool) -> list[Job]:
    """Write down what the folder is for, and find out what is to be done in it."""
    (folder / "results").mkdir(exist_ok=True)
    for inside in (folder, *(folder / name for name in ("results", "pictures", "people", "figures"))):
        for draft in inside.glob(".*.part"):  # a killed process was writing it: it never bore its final name
            draft.unlink(missing_ok=True)
    save_plan(folder, plan)
    _save_people(plan, folder)
    return pending(plan, folder, retry=retry, tidy=True)


def _save_people(plan: SweepPlan, folder: Path) -> None:
    """The reference of each person, for the report's grids; small, and no file of the user's is touched."""
    from PIL import Image

    from ..files import save_picture

    (folder / "people").mkdir(exist_ok=True)
    for person in plan.people:
        path = folder / "people" / f"{person.name}.png"
        if not is_whole(path):
            picture = Image.fromarray(person.pictures()[0])
            picture.thumbnail((512, 512))
            save_picture(picture, path, {"Title": person.name}, generated=False, inputs=person.files)


def pending(plan: SweepPlan, folder: Path, *, retry: bool = False, tidy: bool = False) -> list[Job]:
    """Jobs that have no result, or none with a whole picture, and failed ones where they are to be tried again.

    Args:
        plan: what to do.
        folder: the sweep's.
        retry: failed ones too.
        tidy: set results aside that cannot be read, and tell.
    """
    there = ids_in(folder)

    def is_done(job: Job) -> bool:
        if job.id not in there:
            return False
        try:
            result = read_result(folder, job)
        except BrokenResult as error:
            if tidy:
                log.warning("%s It is kept as %s and made again.", error, set_aside(folder, job).name)
            return False
        return not retry if result.status == "failed" else is_whole(picture_path(folder, job))

    return [job for job in plan.jobs if not is_done(job)]


def _work(
    jobs: Sequence[Job], folder: Path, make: Callable[[Rank, str], Doer], rank: Rank, device: str, title: str | None
) -> int:
    """Do jobs one after the other, with a bar under a title if there is one; returns how many failed."""
    from tqdm import tqdm

    doer, failed = make(rank, device), 0
    for job in tqdm(jobs, desc=title, unit="", disable=title is None or rank.rank > 0, leave=False):
        try:
            result = {"status": "done", "error": None, **doer.do(job)}
        except Exception as error:  # whatever it is: it is this job's result, and the sweep goes on
            failed += 1
            log.warning("Job %s failed: %s", job.id, error)
            result = {
                "status": "failed",
                "error": f"{type(error).__name__}: {error}",
                "where": None if isinstance(error, InfuseNetError) else traceback.format_exc(limit=-3),
            }
        write_result(folder, job, {**result, "rank": rank.rank, "world": rank.world})
    return failed


# -- one sweep at a time in a folder -------------------------------------------------------------------------------


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While it lasts, no other sweep works in the folder, which is made if missing.

    The lock is a file with host and process, touched every 20 seconds. It is taken over where its process is gone from
    this machine, or where another machine has not touched it for 5 minutes.

    Raises:
        SettingsError: another sweep is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, over = folder / ".sweep.lock", threading.Event()
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    own = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since, "token": uuid.uuid4().hex})
    while True:
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(own)
            break
        except FileExistsError:
            _remove_if_over(path)

    def beat() -> None:
        while not over.wait(_BEAT):
            with suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, name="infusenet sweep lock", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == own:
                path.unlink()


def _remove_if_over(path: Path) -> None:
    """Remove a lock that nobody holds any more.

    Raises:
        SettingsError: somebody does.
    """
    with suppress(FileNotFoundError):
        text, holder = path.read_text(encoding="utf-8"), {}
        with suppress(ValueError, TypeError):  # just being written, or damaged: its age tells
            holder = dict(json.loads(text))
        if _is_held(path, holder):
            raise SettingsError(
                f"Another sweep is at work in {path.parent}: process {holder.get('pid')} on {holder.get('host')}, "
                f"since {holder.get('since')}. Wait for it or stop it, or name another folder with --out; if there is "
                f"none, delete {path}."
            )
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        path.rename(aside)
        if aside.read_text(encoding="utf-8") != text:  # another process took it over in between: it is theirs
            aside.rename(path)
        aside.unlink(missing_ok=True)


def _is_held(path: Path, holder: Mapping[str, Any]) -> bool:
    """Whether a process of this machine that holds a lock runs, or another machine has touched it lately."""
    pid, is_here = holder.get("pid"), holder.get("host") == socket.gethostname() and os.name == "posix"
    if is_here and isinstance(pid, int) and pid != os.getpid():
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            return True
        return True
    clock = path.with_name(f".clock.{uuid.uuid4().hex}.part")
    clock.touch()  # by the clock that dates the folder's files, which may be another machine's
    age = clock.stat().st_mtime - path.stat().st_mtime
    clock.unlink(missing_ok=True)
    return age < _DEAD


# -- processes -----------------------------------------------------------------------------------------------------


def _device(device: str, rank: Rank) -> str:
    """The device of this process."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and rank.world > 1:
        if rank.local >= torch.cuda.device_count():
            raise SettingsError(
                f"Expected a GPU for each of {rank.local_world} processes, found {torch.cuda.device_count()}. "
                "Start fewer processes."
            )
        return f"cuda:{rank.local}"
    return device


class _Group:
    """The processes of one sweep, through accelerate; nothing where there is one."""

    def __init__(self, rank: Rank, device: str) -> None:
        self._state: Any = None
        if rank.world == 1:
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
