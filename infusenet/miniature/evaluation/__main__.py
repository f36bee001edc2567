"""The released miniature on people it never saw: `python -m infusenet.miniature.evaluation --out DIR [--quick]`.

`--only judging` measures just the judging recognizer, and `--only sdxl` just mini-sdxl, into a file of that name.

Runs the released files through the library's own code, on the CPU, with its own seeds. Writes evaluation.json and
sheets. Nothing is tuned by it: it states targets and whether they were met.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import captions
from . import sdxl
from .measure import defined
from .sheets import SHOWN, pages, perception_sheet
from .subjects import (
    DEV,
    IDENTIFIED,
    LEVELS,
    NINE,
    RECONSTRUCTED,
    RENDERER,
    SCHNELL,
    VIEWS,
    Job,
    Setting,
    empty_scenes,
    name_of,
    perceive,
    recognizer,
    second_recognizer,
    see,
)
from .tables import identity, judging, perception

TARGETS = {
    "recognizer AUC, plain": (">=", 0.995),
    "recognizer AUC, worst style": (">=", 0.98),
    "judging recognizer AUC, worst view": (">=", 0.99),
    "judging recognizer rank-1, worst view": (">=", 0.95),
    "faces found": (">=", 0.99),
    "landmark error / eye distance": ("<=", 0.04),
    "false alarms on empty scenes": ("<", 0.01),
    "autoencoder PSNR, plain (dB)": (">=", 30.0),
    "similarity, mini-dev 28": (">=", 0.45),
    "rank-1 of 32, mini-dev 28": (">=", 0.80),
    "mini-schnell 4 / mini-dev 28": (">=", 0.90),
    "strength 0 against strangers": ("<=", 0.02),
    "attributes obeyed, mini-dev 28": (">=", 0.85),
    "attributes obeyed, mini-schnell 4": (">=", 0.85),
    "similarity, mini-sdxl-4step 4": (">=", 0.40),
    "rank-1 of 32, mini-sdxl-4step 4": (">=", 0.80),
    "mini-sdxl-4step 4 against strangers": ("<=", 0.03),
    "attributes obeyed, mini-sdxl-4step 4": (">=", 0.85),
}
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    crowd: int = 32  # people whose identity is carried
    seeds: int = 2
    part: int = 8  # people of the smaller subsets
    perceived: int = 128
    reconstructed: int = 64
    empty: int = 256
    batch: int = 8  # pictures at once: more do not stay in a CPU's cache


FULL = Scale()
QUICK = Scale(crowd=8, seeds=1, part=0, perceived=16, reconstructed=8, empty=32)


def jobs(scale: Scale) -> list[Job]:
    """All batches of pictures, the long ones first."""

    def of(setting: Setting, people: int, prompts: Iterable[int] = NINE, seeds: int = 1) -> list[Job]:
        parts = [tuple(range(k, min(k + scale.batch, people))) for k in range(0, people, scale.batch)]
        return [Job(setting, p, seed, part, scale.crowd) for p in prompts for seed in range(seeds) for part in parts]

    crowd, part = scale.crowd, scale.part
    others = [k for k in range(len(captions.PROMPTS)) if k not in NINE]
    every = [*of(DEV, crowd, seeds=scale.seeds), *of(Setting("mini-dev", 28, 0.0), crowd)]
    for setting in (SCHNELL, Setting("mini-dev", 4), Setting(RENDERER)):
        every += of(setting, crowd, seeds=scale.seeds)
    every += of(Setting(RECONSTRUCTED), crowd)
    for strength in (0.5, 1.5, 2.0):
        every += of(Setting("mini-dev", 28, strength), part)
    for setting in (
        Setting("mini-dev", 1),
        Setting("mini-dev", 8),
        Setting("mini-schnell", 1),
        Setting("mini-schnell", 2),
    ):
        every += of(setting, part)
    for setting in (DEV, SCHNELL):
        every += of(setting, part or SHOWN, others if part else [k for k in LEVELS if k in others])
    return every


def _workers(count: int) -> ProcessPoolExecutor:
    """Processes of one thread each: threads of one process would wait for each other on a busy machine."""
    os.environ["OMP_NUM_THREADS"] = "1"
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


def _each(pool: ProcessPoolExecutor, work: Callable[[T], R], tasks: Sequence[T], what: str) -> list[R]:
    from tqdm import tqdm

    return list(tqdm(pool.map(work, tasks), what, total=len(tasks), mininterval=1.0))


# ------------------------------------------------------------------------------------------ the command


def against_targets(record: dict[str, Any]) -> dict[str, Any]:
    """Each target of what was measured, what came of it, and whether it is met (None where it is undefined)."""
    values = _of_judging(record["judging"]) if "judging" in record else {}
    if "identity" in record:
        values |= _of_the_rest(record)
    if "sdxl" in record:
        values |= _of_sdxl(record["sdxl"])
    tests = {">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b, "<": lambda a, b: a < b}
    return {
        name: {
            "target": f"{sign} {limit:g}",
            "value": values[name],
            "met": None if values[name] is None else tests[sign](values[name], limit),
        }
        for name, (sign, limit) in TARGETS.items()
        if name in values
    }


def _least(values: Iterable[float | None]) -> float | None:
    """The smallest, or None where one is undefined."""
    return min(values, key=lambda v: -1 if v is None else v)


def _of_judging(record: dict[str, Any]) -> dict[str, float | None]:
    views = record["views"].values()
    return {
        "judging recognizer AUC, worst view": _least(view["auc"] for view in views),
        "judging recognizer rank-1, worst view": _least(view["rank_1"] for view in views),
    }


def _of_sdxl(record: dict[str, Any]) -> dict[str, float | None]:
    few = record["nine_prompts"][name_of(sdxl.FEW)]
    strangers = few["strangers"]["mean"]
    return {
        "similarity, mini-sdxl-4step 4": few["similarity"]["mean"],
        "rank-1 of 32, mini-sdxl-4step 4": few["rank_1"]["mean"],
        "mini-sdxl-4step 4 against strangers": None if strangers is None else abs(strangers),
        "attributes obeyed, mini-sdxl-4step 4": few["obeyed"]["mean"],
    }


def _of_the_rest(record: dict[str, Any]) -> dict[str, float | None]:
    look_, nine = record["perception"], record["identity"]["nine_prompts"]
    dev, schnell = nine[name_of(DEV)], nine[name_of(SCHNELL)]
    found = [row["found"] for row in look_["views"].values()]
    errors = [row["landmark_error"] for row in look_["views"].values()]
    zero = nine[name_of(Setting("mini-dev", 28, 0.0))]["own_minus_strangers"]["mean"]
    return {
        "recognizer AUC, plain": look_["views"]["plain"]["auc"],
        "recognizer AUC, worst style": _least(look_["views"][name]["auc"] for name in VIEWS[2:]),
        "faces found": defined(np.mean(found)),
        "landmark error / eye distance": None if None in errors else defined(np.mean(errors)),
        "false alarms on empty scenes": look_["false_alarms"],
        "autoencoder PSNR, plain (dB)": look_["views"]["plain"]["psnr_db"],
        "similarity, mini-dev 28": dev["similarity"]["mean"],
        "rank-1 of 32, mini-dev 28": dev["rank_1"]["mean"],
        "mini-schnell 4 / mini-dev 28": record["identity"]["schnell_4_over_dev_28"]["mean"],
        "strength 0 against strangers": None if zero is None else abs(zero),
        "attributes obeyed, mini-dev 28": dev["obeyed"]["mean"],
        "attributes obeyed, mini-schnell 4": schnell["obeyed"]["mean"],
    }


def evaluate(out: Path, scale: Scale, workers: int, only: str = "") -> dict[str, Any]:
    """Measure everything and write evaluation.json and the sheets into `out`.

    Args:
        out: a folder; made if it is not there.
        scale: how much to measure.
        workers: processes.
        only: "judging": just the judging recognizer, on mini-schnell's and the renderer's pictures, into judging.json.

    Returns:
        The record, as written.
    """
    from ...probe.versions import library_versions

    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    step = scale.batch
    tasks = [
        (view, tuple(range(k, min(k + step, scale.perceived))), scale.perceived, k < scale.reconstructed and not only)
        for view in range(len(VIEWS))
        for k in range(0, scale.perceived, step)
    ]
    plan = jobs(scale)
    if only:
        plan = [job for job in plan if job.setting in (SCHNELL, Setting(RENDERER)) and job.prompt in NINE]
    with _workers(workers) as pool:
        wrong = None if only else pool.submit(empty_scenes, scale.empty)
        views = _each(pool, perceive, tasks, "perception")
        seen = _each(pool, see, plan, "pictures")
    instrument = recognizer().name  # loads the libraries whose versions are told
    options = f"{'' if scale == FULL else ' --quick'}{f' --only {only}' if only else ''}"
    record: dict[str, Any] = {
        "command": f"python -m infusenet.miniature.evaluation{options}",
        "versions": library_versions(),
        "recognizer": instrument,
        "judging_recognizer": second_recognizer().name,
        "seeds": {"people": IDENTIFIED, "training": 1},
        "scale": scale.__dict__,
        "judging": judging(views, seen, scale.crowd),
    }
    if wrong is not None:
        record["perception"] = {"views": perception(views), "false_alarms": wrong.result()[0] / scale.empty}
        record["identity"] = identity(seen, scale.crowd, scale.part)
    record["targets"] = against_targets(record)
    record["seconds"] = round(time.perf_counter() - start, 1)
    sheets = {} if only else {"perception": perception_sheet(views), **pages(seen, scale.crowd)}
    _write(record, sheets, out, only or "evaluation")
    return record


def evaluate_sdxl(out: Path, scale: Scale, workers: int) -> dict[str, Any]:
    """Measure mini-sdxl, its FaceID and its few-step LoRA, and write sdxl.json and a sheet into `out`."""
    from ...probe.versions import library_versions

    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    plan = sdxl.jobs(scale.crowd, scale.seeds, scale.part, scale.batch, NINE)
    with _workers(workers) as pool:
        seen = _each(pool, sdxl.see, plan, "pictures")
    record: dict[str, Any] = {
        "command": f"python -m infusenet.miniature.evaluation{'' if scale == FULL else ' --quick'} --only sdxl",
        "recognizer": recognizer().name,
        "judging_recognizer": second_recognizer().name,
        "versions": library_versions(),
        "seeds": {"people": IDENTIFIED, "training": 1},
        "scale": scale.__dict__,
        "sdxl": sdxl.table(seen, scale.crowd),
    }
    record["targets"] = against_targets(record)
    record["seconds"] = round(time.perf_counter() - start, 1)
    _write(record, {"sdxl": sdxl.page(seen, scale.crowd)}, out, "sdxl")
    return record


def _write(record: dict[str, Any], sheets: dict[str, Any], out: Path, name: str) -> None:
    """Write the record, whole or not at all, and its sheets."""
    from ...files import save_picture

    for sheet, page in sheets.items():
        save_picture(page, out / f"{sheet}.png", {"infusenet": {"evaluation": sheet}})
    file = out / f"{name}.json"
    part = out / f".{file.name}.{os.getpid()}.part"
    part.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, file)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infusenet.miniature.evaluation", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for evaluation.json and the sheets")
    parser.add_argument(
        "--quick", action="store_true", help="few people and one seed: goes through everything in minutes"
    )
    parser.add_argument("--only", choices=["judging", "sdxl"], default="", help="measure only this")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: 2)")
    options = parser.parse_args(arguments)
    scale = QUICK if options.quick else FULL
    if options.only == "sdxl":
        record = evaluate_sdxl(options.out, scale, options.workers)
    else:
        record = evaluate(options.out, scale, options.workers, options.only)
    for name, row in record["targets"].items():
        told = {True: "met", False: "NOT met", None: "undefined"}[row["met"]]
        print(f"{name:36} {row['value']!s:>8}  target {row['target']:8} {told}")
    print(f"{record['seconds']:.0f} s; see {options.out / (options.only or 'evaluation')}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
