"""All results of a sweep as one table, and all steps of its trajectories as another."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_atomically
from .plan import Done, read_result

COLUMNS: dict[str, tuple[type, str]] = {
    "method": (str, "the specification's label"),
    "person": (str, "file or folder name, or a drawn person's number"),
    "prompt": (str, "the specification's label"),
    "seed": (int, "as in the specification"),
    "role": (str, "dev or schnell"),
    "backbone": (str, "name of the weights and a fingerprint of their content"),
    "steps": (int, "steps of the run"),
    "strength": (float, "of InfuseNet; 1 is what it was trained at"),
    "guidance": (float, "empty: the backbone's own"),
    "true_cfg": (float, "1 is off"),
    "first_steps": (int, "InfuseNet acted in the first so many steps only; empty: see start and end"),
    "start": (float, "share of the run at which InfuseNet set in"),
    "end": (float, "share at which it ended"),
    "noise_seed": (int, "seed of the noise: the same for all methods and prompts of a person and seed"),
    "status": (str, "done, failed or missing"),
    "error": (str, "of a failed job, or why similarity is empty"),
    "similarity": (float, "cosine to the reference by the measuring recognizer; empty: no face"),
    "sharpness": (float, "variance of the Laplacian of the luma"),
    "contrast": (float, "standard deviation of the luma"),
    "latent_distance": (float, "relative RMS difference to the reference in the VAE's latent space; empty: not asked"),
    "lpips": (float, "LPIPS (VGG) to the first reference, of the middle squares at 512 pixels; empty: no weights"),
    "stream_ratio": (float, "text over image stream norm, mean over double blocks and steps; empty: not asked"),
    "residual_ratio": (float, "residual over hidden state, mean over blocks and steps; empty: not asked or none"),
    "seconds": (float, "from the prompt to the picture, models loaded"),
    "alone": (bool, "nothing else of the sweep ran on the device: seconds can be compared"),
    "recognizer": (str, "what measured"),
    "detector": (str, "what found the face"),
    "rule": (str, "how similarity was measured; compare only numbers of one rule"),
    "job": (str, "id: results/ID.json and pictures/ID.png"),
}
TIME_COLUMNS = ("seconds", "alone")

Record = dict[str, Any]


def records(done: Done, out: Path) -> list[Record]:
    """One record a row of the sweep, keys as in COLUMNS; undefined values are None."""
    return [_record(row, read_result(out, row.job) or {"status": "missing"}) for row in done.rows]


def step_records(done: Done, out: Path) -> list[Record]:
    """One record a step of every run whose trajectory or streams were asked for; ratios are means over blocks."""
    found = []
    for row in done.rows:
        result = read_result(out, row.job) or {}
        told = {"method": row.method, "person": row.person, "prompt": row.prompt, "seed": row.seed}
        told |= {"role": row.job.role, "steps": row.job.steps}
        seen, streams = result.get("trajectory") or [], result.get("streams") or []
        for place in range(max(len(seen), len(streams))):
            step = {"step": place + 1, **(seen[place] if seen else {}), **(_ratios(streams[place]) if streams else {})}
            found.append({**told, **step})
    return found


def block_records(done: Done, out: Path) -> list[Record]:
    """One record a block and step of every run whose streams were asked for."""
    found = []
    for row in done.rows:
        result = read_result(out, row.job) or {}
        told = {"method": row.method, "person": row.person, "prompt": row.prompt, "seed": row.seed}
        told |= {"status": result.get("status", "missing"), "steps": row.job.steps}
        for step, streams in enumerate(result.get("streams") or [], 1):
            for kind in ("double", "single"):
                residuals = _residuals(streams, kind)
                for place, ratio in enumerate(streams[kind]):
                    added = residuals[place] if residuals else None
                    block = {"step": step, "block": f"{kind} {place + 1}"}
                    found.append({**told, **block, "stream_ratio": ratio, "residual_ratio": added})
    return found


def _ratios(streams: Mapping[str, Any]) -> dict[str, float | None]:
    """Means over the blocks of one step."""
    added = [*_residuals(streams, "double"), *_residuals(streams, "single")]
    return {"stream_ratio": _mean(streams["double"]), "residual_ratio": _mean(added)}


def _run_ratios(steps: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means over the steps of one run; residuals over those steps in which there were any."""
    ratios = [_ratios(streams) for streams in steps]
    return {
        name: _mean([value for each in ratios if (value := each[name]) is not None])
        for name in ("stream_ratio", "residual_ratio")
    }


def _residuals(streams: Mapping[str, Any], kind: str) -> list[float]:
    return streams[f"residual_{kind}"] or []


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def write_tables(done: Done, out: Path) -> list[Path]:
    """Write table.csv, its columns' meaning, the steps if there are any, and table.parquet where pyarrow is installed.

    Returns:
        The files written.
    """
    table, steps = records(done, out), step_records(done, out)
    meanings = [{"column": key, "type": kind.__name__, "meaning": text} for key, (kind, text) in COLUMNS.items()]
    written = [
        _write(out / "table.csv", to_csv(table, list(COLUMNS))),
        _write(out / "columns.csv", to_csv(meanings, ["column", "type", "meaning"])),
    ]
    if steps:
        written.append(_write(out / "steps.csv", to_csv(steps, [*steps[0]])))
    blocks = block_records(done, out)
    if blocks:
        written.append(_write(out / "blocks.csv", to_csv(blocks, [*blocks[0]])))
    parquet = _parquet(table, out / "table.parquet")
    return [*written, parquet] if parquet else written


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV; empty where undefined, floats so that they read back exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def _record(row: Any, result: Mapping[str, Any]) -> Record:
    job = row.job
    told = {"method": row.method, "person": row.person, "prompt": row.prompt, "seed": row.seed}
    told |= {"first_steps": row.first_steps, "noise_seed": job.seed, "job": job.id}
    told |= {name: getattr(job, name) for name in ("role", "backbone", "steps", "strength", "guidance", "true_cfg")}
    told |= _run_ratios(result.get("streams") or [])
    told |= {"start": job.start, "end": job.end, "status": result["status"]}
    told["error"] = result.get("error") or result.get("reason")
    return {key: told[key] if key in told else result.get(key) for key in COLUMNS}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _write(path: Path, text: str) -> Path:
    write_atomically(path, text.encode())
    return path


def _parquet(table: Sequence[Record], path: Path) -> Path | None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, (kind, _) in COLUMNS.items()])
    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(table), schema=schema), buffer)
    write_atomically(path, buffer.getvalue().to_pybytes())
    return path
