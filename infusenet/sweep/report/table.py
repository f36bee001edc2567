"""All results of a sweep as tables, and which of their rows a figure shows, in which groups."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...axes import AXES
from ...metrics import METRICS
from ...metrics.base import mean_of as mean
from ..figure_spec import STREAMS, FigureSpec, axis_names
from ..results import JobResult, Results, Streams
from .stats import Summary, summarise

Column = tuple[type, str]
TIME_COLUMNS = ("seconds", "alone", "cpu_seconds", "load")
_BEFORE: dict[str, Column] = {
    "method": (str, "the specification's label"),
    "person": (str, "file or folder name, or a drawn person's number"),
    "prompt": (str, "the specification's label"),
    "seed": (int, "as in the specification"),
    "role": (str, "what the specification calls the backbone, such as dev or schnell"),
    "backbone": (str, "name of the weights, and a fingerprint of their content"),
}
_AXES = {
    "steps": "steps of the run",
    "strength": "of the adapter; InfuseNet was trained with 1",
    "guidance": "empty: the backbone's own",
    "true_cfg": "1 is off",
    "first_steps": "how many of the first steps the adapter acted in; empty: see start and end",
}
_SETTINGS: dict[str, Column] = {
    "start": (float, "share of the run at which the adapter started to act"),
    "end": (float, "share of the run at which it stopped"),
    "branches": (str, "with true CFG, where the adapter acts: positive or both"),
    "refresh": (str, "when the adapter was computed again: every step, every 4, 1,3, adaptive"),
    "schedule": (str, "noise levels: exact, 2+4 (its first 2 steps, then 4), adaptive, or a list"),
    "decoupled": (str, "separate guidance of text and identity: its kind and its weights by step, or none"),
    "attention": (str, "how the attention to the identity was changed: scale, soft mask or none"),
    "noise_seed": (int, "seed of the noise: the same for all methods and prompts of a person and seed"),
    "status": (str, "done, failed or missing"),
    "error": (str, "why the job failed, or why similarity is empty"),
    "similarity": (float, "cosine to the reference by the measuring recognizer; empty: no face"),
}
_AFTER: dict[str, Column] = {
    "agreement": (float, "mean cosine to the pictures of the same person, prompt and method from other noise"),
    "stream_ratio": (float, "text-stream / image-stream norm, mean over double blocks and steps; empty: not asked for"),
    "stream_ratio_single": (float, "the same over single blocks"),
    "stream_ratio_all": (float, "the same over all blocks"),
    "residual_ratio": (float, "residual / hidden state norm, mean over blocks and steps; empty: not asked for or none"),
    "seconds": (float, "from the prompt to the picture, models loaded"),
    "alone": (bool, "nothing else ran at the same time, so seconds can be compared"),
    "cpu_seconds": (float, "CPU time within these seconds"),
    "load": (float, "the machine's load before the job: processes that wanted to run, mean over one minute"),
    "recognizer": (str, "what measured"),
    "detector": (str, "what found the face"),
    "rule": (str, "how similarity was measured; compare only numbers of one rule"),
    "job": (str, "id: results/ID.json and pictures/ID.png"),
}
_TITLES = {"seconds": "seconds a picture", "step": "step of the run"}
_TITLES |= {"stream_ratio": "text over image norm, double blocks", "residual_ratio": "residual over hidden state"}
_TITLES |= {"stream_ratio_single": "single blocks", "stream_ratio_all": "all blocks", "sigma": "noise level"}
_TITLES |= {"agreement": "agreement of noises"}
_DTYPES = {str: object, int: "Int64", float: "float64", bool: "boolean"}
_NUMBERS = {"seed": int, "steps": int, "step": int, "seen": bool, **dict.fromkeys(("sigma", "similarity"), float)}
_NUMBERS |= dict.fromkeys(("sharpness", "contrast", *STREAMS), float)


def columns() -> dict[str, Column]:
    """Type and meaning of each column of the table; those of axes and metrics follow AXES and METRICS."""
    axes = {name: (int if AXES[name].whole else float, _AXES.get(name, AXES[name].label)) for name in axis_names()}
    metrics: dict[str, Column] = {name: (float, metric.help) for name, metric in METRICS.items()}
    return {**_BEFORE, **axes, **_SETTINGS, **metrics, **_AFTER}


def title(name: str) -> str:
    """A column's name on axes and in headings."""
    if name in AXES:
        return AXES[name].shown
    return METRICS[name].title if name in METRICS else _TITLES.get(name, name)


@dataclass(frozen=True)
class Tables:
    """A sweep's results, undefined values missing: `points` has a row a sweep point with the columns of `columns`;
    `steps` one a step of each run whose trajectory or streams were asked for, `blocks` one a block and step."""

    points: pd.DataFrame
    steps: pd.DataFrame
    blocks: pd.DataFrame


def make_tables(results: Results) -> Tables:
    """All tables of a sweep."""
    kinds = {name: kind for name, (kind, _) in columns().items()}
    points, steps, blocks, agreements = [], [], [], _agreements(results)
    for point in results.points:
        result, job = results.of.get(point.job.id), point.job
        whose = {"method": point.method, "person": point.person, "prompt": point.prompt, "seed": point.seed}
        points.append(
            {**whose, **_settings(point), **_outcome(result), "job": job.id, "agreement": agreements.get(job.id)}
        )
        if result is not None:
            steps += [{**whose, "role": job.role, "steps": job.steps, **step} for step in _steps(result)]
            of_run = {**whose, "status": result.status, "steps": job.steps}
            blocks += [{**of_run, **block} for block in _blocks(result.streams or ())]
    least = ["method", "person", "prompt", "seed", "steps", "step"]
    return Tables(_frame(points, kinds), _frame(steps, _NUMBERS, least), _frame(blocks, _NUMBERS, [*least, "block"]))


def _frame(rows: list[dict[str, Any]], kinds: Mapping[str, type], least: Sequence[str] = ()) -> pd.DataFrame:
    names = list(kinds) if not least else list(dict.fromkeys([*(key for row in rows for key in row), *least]))
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    return frame.astype({name: _DTYPES[kinds[name]] for name in names if kinds.get(name, str) is not str})


def _settings(point: Any) -> dict[str, Any]:
    job = point.job
    names = ("role", "backbone", "start", "end", "branches", "refresh", "schedule", "decoupled", "attention")
    same = {name: getattr(job, name) for name in names}
    return {**same, "noise_seed": job.seed, **{name: point.setting(name) for name in axis_names()}}


def _outcome(result: JobResult | None) -> dict[str, Any]:
    """What a job's result says, as columns; only its status where there is none."""
    if result is None:
        return {"status": "missing"}
    same = ("status", "similarity", "seconds", "alone", "cpu_seconds", "load", "recognizer", "detector", "rule")
    values = {name: getattr(result, name) for name in same}
    values |= {name: result.metric(name) for name in METRICS}
    return values | {"error": result.error or result.reason} | _mean_ratios(result.streams or ())


def _steps(result: JobResult) -> Iterable[dict[str, Any]]:
    seen, streams = result.trajectory or [], result.streams or []
    for place in range(max(len(seen), len(streams))):
        likeness = seen[place].model_dump(exclude_unset=True) if seen else {}
        yield {"step": place + 1, **likeness, **(_ratios(streams[place]) if streams else {})}


def _blocks(steps: Sequence[Streams]) -> Iterable[dict[str, Any]]:
    for step, streams in enumerate(steps, 1):
        for kind in ("double", "single"):
            ratios, residuals = getattr(streams, kind), getattr(streams, f"residual_{kind}")
            for place, ratio in enumerate(ratios):
                added = residuals[place] if residuals else None
                yield {"step": step, "block": f"{kind} {place + 1}", "stream_ratio": ratio, "residual_ratio": added}


def _ratios(streams: Streams) -> dict[str, float | None]:
    """Means over the blocks of one step, in the order of STREAMS."""
    added = [*(streams.residual_double or ()), *(streams.residual_single or ())]
    each = (streams.double, streams.single, [*streams.double, *streams.single], added)
    return {name: mean(values) for name, values in zip(STREAMS, each, strict=True)}


def _mean_ratios(steps: Sequence[Streams]) -> dict[str, float | None]:
    """Means over the steps of one run; residuals over those steps in which there were any."""
    each = [_ratios(streams) for streams in steps]
    return {name: mean([row[name] for row in each]) for name in STREAMS}


def _agreements(results: Results) -> dict[str, float | None]:
    """By job: the mean cosine between its picture and those of other noises; either of two may know a pair, or both."""
    known = {tuple(sorted((job, other))): value for job, result in results.of.items()
             for other, value in (result.agreement or {}).items()}  # fmt: skip
    pairs: dict[str, list[float | None]] = {}
    for both, value in known.items():
        for one in both:
            pairs.setdefault(one, []).append(value)
    return {job: mean(values) for job, values in pairs.items()}


# -- files ---------------------------------------------------------------------------------------------------------


def table_files(tables: Tables) -> dict[str, bytes]:
    """table.csv, its columns' meaning, steps and blocks if there are any, and table.parquet where pyarrow is."""
    meanings = [{"column": key, "type": kind.__name__, "meaning": text} for key, (kind, text) in columns().items()]
    frames = {"table": tables.points, "columns": pd.DataFrame(meanings), "steps": tables.steps, "blocks": tables.blocks}
    shown = {name: frame for name, frame in frames.items() if len(frame) or name == "table"}
    return {**{f"{name}.csv": to_csv(frame) for name, frame in shown.items()}, **_parquet(tables.points)}


def to_csv(frame: pd.DataFrame) -> bytes:
    """CSV: empty where undefined, floats so that they read back exactly; a text is never taken for a formula."""
    cells = frame.astype(object).map(_cell).rename(columns=_cell)
    return bytes(cells.to_csv(index=False, lineterminator="\n").encode())


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return float.__repr__(value)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t")) else text


def _parquet(frame: pd.DataFrame) -> dict[str, bytes]:
    try:
        import pyarrow
    except ImportError:
        return {}
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, (kind, _) in columns().items()])
    return {"table.parquet": frame.to_parquet(index=False, engine="pyarrow", schema=schema)}


# -- selection -----------------------------------------------------------------------------------------------------


def shown(frame: pd.DataFrame, figure: FigureSpec) -> pd.DataFrame:
    """The rows of a figure: its methods, in its order, its prompts and people."""
    for name, labels in (("method", figure.methods), ("prompt", figure.prompts)):
        frame = frame[frame[name].isin(labels)] if labels else frame
    if figure.methods:
        frame = frame.sort_values("method", key=lambda column: column.map(figure.methods.index), kind="stable")
    which, _, count = figure.people.partition(" ")
    if which == "all":
        return frame
    chosen, people = frame, list(frame["person"].unique())
    if which == "top":
        if figure.kind != "pictures":  # chosen by half of the noises, counted in the others: chance is not counted
            half = frame["seed"].isin(sorted(frame["seed"].unique())[::2])
            chosen, frame = frame[half], frame[~half]
        level = {who: mean_of(own, "similarity") for who, own in by(chosen, "person").items()}
        known = {who: value for who, value in level.items() if value is not None}
        people = sorted(known, key=lambda who: -known[who])
    return frame[frame["person"].isin(people[: int(count)])]


def by(frame: pd.DataFrame, name: str) -> dict[Any, pd.DataFrame]:
    """Rows by one column; numbers rising, texts in the table's order."""
    numeric = frame[name].dtype != object
    return {_plain(value): own for value, own in frame.groupby(name, sort=numeric)}


def series(frame: pd.DataFrame, *, but: Sequence[str] = ()) -> dict[str, pd.DataFrame]:
    """Rows by method and by each setting that varies within it (`but` not those), in the table's order."""
    found = {}
    settings = [name for name in axis_names() if name not in but and name in frame]
    for method, own in by(frame, "method").items():
        varied = [name for name in settings if own[name].nunique(dropna=False) > 1]
        for values, rows in own.groupby(varied, sort=False, dropna=False) if varied else [((), own)]:
            told = (f", {title(name)} {number(_plain(value))}" for name, value in zip(varied, values, strict=True))
            found[method + "".join(told)] = rows
    return found


def minus(frame: pd.DataFrame, figure: FigureSpec) -> pd.DataFrame:
    """Rows whose values are what they have more than the row that differs in `split` alone and has the value `minus`.

    Where one of the two is undefined, so is the difference.
    """
    same = [name for name in ("method", "person", "prompt", "seed", *axis_names()) if name != figure.split]
    known = frame[same].astype(object).where(frame[same].notna(), None)  # so that missing settings are equal
    keys = pd.Series(list(known.itertuples(index=False, name=None)), frame.index, dtype=object)
    is_base = (frame[figure.split] == figure.minus).fillna(False).astype(bool)
    changes = {}
    for value in figure.values:
        base = dict(zip(keys[is_base], frame[value][is_base], strict=True))
        changes[value] = frame[value] - keys.map(base).astype("float64")
    return frame.assign(**changes)[~is_base]


def summary(frame: pd.DataFrame, value: str) -> Summary:
    """Statistics of a column; seconds count only where the job ran alone on its device."""
    column = frame[value]
    if value == "seconds":
        column = column.where(frame["alone"].fillna(False).astype(bool))
    return summarise(_listed(column), frame["person"].tolist())


def mean_of(frame: pd.DataFrame, value: str) -> float | None:
    """Mean of a column where it is defined; None where nowhere."""
    return mean(_listed(frame[value]))


def paired_values(frame: pd.DataFrame, value: str) -> dict[tuple[Hashable, ...], float | None]:
    """A column by person, prompt and seed."""
    keys = frame[["person", "prompt", "seed"]].itertuples(index=False, name=None)
    return dict(zip(keys, _listed(frame[value]), strict=True))


def number(value: Any) -> str:
    """A setting as people write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(column: pd.Series[Any]) -> list[float | None]:
    return [None if value != value else value for value in column.tolist()]


def _plain(value: Any) -> Any:
    """A group's key as Python's own number, None where missing."""
    return None if pd.isna(value) else value.item() if hasattr(value, "item") else value
