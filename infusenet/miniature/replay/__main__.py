"""Replay what the pack advises and how it stops: `python -m infusenet.miniature.replay --out DIR [--quick]`.

Writes replay.json, rules.csv, advice.csv and replay.html. Its people, prompts and noises are new: no rule was chosen on
them. `--crowd design` uses those that the rules were chosen on.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ...files import write_atomically
from . import follow, stops
from .compare import Row
from .lab import Lab
from .page import page
from .runs import DESIGN, VALIDATION

QUICK = 6  # subjects


def measure(lab: Lab) -> dict[str, Any]:
    """All tables of one crowd."""
    began = time.perf_counter()
    record = {
        "crowd": lab.crowd.name,
        "seed": lab.crowd.seed,
        "runs": len(lab.who),
        "stopping": stops.table(lab),
        "advice": follow.table(lab),
        "rejected": follow.rejected(lab),
        "by_others": follow.by_others(lab),
        "seconds_of": clock(lab),
    }
    return {**record, "seconds": round(time.perf_counter() - began, 1)}


def clock(lab: Lab) -> dict[str, float]:
    """Seconds of one step of one run here, and of one look at a prediction: decoding, finding, comparing."""
    import torch

    alone = stops.DEV

    def best(action: Callable[[], Any]) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            action()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        return min(times)

    course = lab.course(alone, [0])
    step = best(lambda: lab.course(alone, [0])) / alone.steps
    look = best(lambda: lab.look(course.x0[:, -1], alone.backbone, [0]))
    return {"step": round(step, 5), "look": round(look, 5)}


def as_plain(value: Any) -> Any:
    """Rows as dictionaries, numbers rounded, for JSON."""
    if isinstance(value, Row):
        return {**{key: as_plain(own) for key, own in asdict(value).items()}, "helps": value.helps}
    if isinstance(value, dict):
        return {key: as_plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(own) for own in value]
    return round(value, 5) if isinstance(value, float) else value


def as_csv(rows: Sequence[Row]) -> str:
    """A table of rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Row)])
    writer.writerows([as_plain(value) for value in asdict(row).values()] for row in rows)
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infusenet.miniature.replay", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the record and the page")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"only {QUICK} runs: goes through everything in minutes, but proves nothing",
    )
    parser.add_argument("--runs", type=int, help="how many runs (default: all of the crowd)")
    parser.add_argument(
        "--crowd",
        choices=["validation", "design"],
        default="validation",
        help="which people to run (default: validation)",
    )
    parser.add_argument("--device", default="cpu", help='where to sample: "cpu" or "cuda" (default: cpu)')
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes that measure faces")
    parser.add_argument("--batch", type=int, default=8, help="runs at a time (default: 8)")
    options = parser.parse_args(arguments)
    crowd = DESIGN if options.crowd == "design" else VALIDATION
    count = min(QUICK if options.quick else options.runs or crowd.count, crowd.count)
    lab = Lab(crowd, count, options.out / "cache", device=options.device, workers=options.workers, batch=options.batch)
    try:
        record = measure(lab)
    finally:
        lab.close()
    out = options.out
    write_atomically(out / "replay.json", (json.dumps(as_plain(record), indent=1, allow_nan=False) + "\n").encode())
    write_atomically(out / "rules.csv", (as_csv(record["stopping"]["rules"])).encode())
    write_atomically(out / "advice.csv", (as_csv([one["row"] for one in record["advice"]])).encode())
    write_atomically(out / "replay.html", page(as_plain(record)).encode())
    for row in [*record["stopping"]["rules"], *(one["row"] for one in record["advice"])]:
        print(told(row))
    print(f"{record['seconds']:.0f} s; see {out / 'replay.html'}")
    return 0


def told(row: Row) -> str:
    """A row in one line of text."""
    if row.gain is None:
        return f"{row.name:44} no run asked for it"
    interval = "" if row.low is None else f" [{row.low:+.3f}, {row.high:+.3f}]"
    return (
        f"{row.name:44} {row.gain:+.3f}{interval} worse {row.worse:5.1%} evaluations {row.evaluations:5.1f} "
        f"sharpness {row.sharpness:.2f} of {row.runs}"
    )


if __name__ == "__main__":
    sys.exit(main())
