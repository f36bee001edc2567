"""What a sweep is asked for: a TOML specification as frozen records. Nothing is loaded or drawn here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .figure_spec import FigureSpec, read_figure
from .toml import SpecError, Table, read_toml

SPECS = Path(__file__).with_name("specs")
EXTRA_METRICS = ("latent_distance", "lpips", "trajectory", "streams")

ALL = "all"

Role = Literal["dev", "schnell"]


@dataclass(frozen=True)
class Filter:
    """Whom to leave out: photos of several faces, of faces below a confidence or narrower than some pixels.

    The defaults are the paper's. Its third rule, people of age, is the user's to keep.
    """

    confidence: float = 0.7
    width: float = 80


@dataclass(frozen=True)
class People:
    """Whose pictures are made: a folder's (one person a file or subfolder), or drawn ones.

    Attributes:
        folder: pictures; None for drawn people, whom only the miniature knows.
        drawn: how many to draw; without meaning where a folder is given.
        filter: whom to leave out.
        limit: at most so many, the first ones.
    """

    folder: Path | None = None
    drawn: int = 0
    filter: Filter | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Method:
    """A way to make a picture; every combination of its axes is one method of the table.

    Attributes:
        label: what figures call it.
        backbone: "dev" or "schnell".
        steps, strength, guidance, true_cfg: axes; guidance () is the backbone's own.
        first_steps: InfuseNet acts in the first so many steps only; () for all steps.
        start, end: shares of the run between which InfuseNet acts.
        negative: what true CFG steers away from.
    """

    label: str
    backbone: Role
    steps: tuple[int, ...]
    strength: tuple[float, ...] = (1.0,)
    guidance: tuple[float, ...] = ()
    true_cfg: tuple[float, ...] = (1.0,)
    first_steps: tuple[int, ...] = ()
    start: float = 0.0
    end: float = 1.0
    negative: str = ""


@dataclass(frozen=True)
class Spec:
    """A whole sweep.

    Attributes:
        title: the page's heading.
        about: a paragraph on what is asked.
        threads: CPU threads of each process, so that results do not depend on the machine's load.
        seeds: each gives every person other noise, the same for all methods and prompts.
        size: width and height; None for the backbone's own.
        metrics: what is measured beside similarity, sharpness and contrast.
        people: whose pictures.
        prompts: label and text.
        methods: how.
        figures: what the report shows.
        text: the file as it was read, for the record.
    """

    title: str
    about: str
    threads: int
    seeds: tuple[int, ...]
    size: tuple[int, int] | None
    metrics: tuple[str, ...]
    people: People
    prompts: tuple[tuple[str, str], ...]
    methods: tuple[Method, ...]
    figures: tuple[FigureSpec, ...]
    text: str


def shipped() -> list[str]:
    """Names of the specifications in this package."""
    return sorted(path.stem for path in SPECS.glob("*.toml"))


def order_of_reading() -> list[str]:
    """The shipped specifications as the paper tells its story, any further ones behind."""
    story = ("main-table", "step-budget", "trajectory", "guidance", "strength", "complexity", "ablation", "true-cfg")
    return sorted(shipped(), key=lambda name: (*story, name).index(name))


def find_spec(name: str | Path) -> Path:
    """A specification by path, or a shipped one by name.

    Raises:
        SpecError: neither.
    """
    for path in (Path(name), SPECS / f"{name}.toml"):
        if path.is_file():
            return path
    raise SpecError(f"{name}: no such file, and no shipped specification. Shipped: {ALL}, {', '.join(shipped())}")


def read_spec(path: Path, *, quick: bool = False, people: Path | None = None, papers_filter: bool = False) -> Spec:
    """Read a specification.

    Args:
        path: a TOML file.
        quick: apply its [quick] table: fewer people, prompts, seeds or steps.
        people: a folder of pictures instead of the specification's people.
        papers_filter: leave out people as the paper does, whatever the specification says.

    Returns:
        The sweep.

    Raises:
        SpecError: a key is unknown or missing, or a value cannot be meant; the message names its place.
    """
    table = read_toml(path)
    size = table.axis("size", None, low=16, whole=True, distinct=False)
    if size is not None and len(size) not in (1, 2):
        raise table.wrong("size", "[width, height]", list(size))
    spec = Spec(
        title=table.text("title"),
        about=table.text("about", ""),
        threads=table.whole("threads", 1, low=1),
        seeds=table.axis("seeds", (0,), low=0, whole=True),
        size=None if size is None else (size[0], size[-1]),
        metrics=table.texts("metrics", (), one_of=EXTRA_METRICS),
        people=_people(table.table("people"), path.parent, people),
        prompts=_prompts(table.table("prompts")),
        methods=_methods(table.tables("methods")),
        figures=(),
        text=path.read_text(encoding="utf-8"),
    )
    labels = tuple(method.label for method in spec.methods)
    prompts = tuple(label for label, _ in spec.prompts)
    figures = tuple(read_figure(each, labels, prompts, spec.metrics) for each in table.tables("figures", []))
    small = table.table("quick", None)
    table.done()
    reduced = spec if small is None else _reduced(spec, small)
    chosen = reduced if quick else spec
    if papers_filter:
        chosen = replace(chosen, people=replace(chosen.people, filter=Filter()))
    return replace(chosen, figures=figures)


def _people(table: Table | None, home: Path, given: Path | None) -> People:
    assert table is not None
    folder, drawn = table.text("folder", None), table.whole("drawn", None, low=1)
    limit = table.whole("limit", None, low=1)
    rule = table.table("filter", None)
    table.done()
    chosen = given if given is not None else None if folder is None else home / folder
    if (folder and drawn) or not (folder or drawn):
        raise table.wrong("", 'either folder = "pictures" or drawn = 28', {"folder": folder, "drawn": drawn})
    if chosen is not None and not chosen.is_dir():
        raise table.wrong("folder", "a folder of pictures", str(chosen))
    found = None
    if rule is not None:
        confidence = rule.number("confidence", Filter.confidence, low=0, high=1)
        width = rule.number("width", Filter.width, low=0)
        rule.done()
        found = Filter(confidence, width)
    return People(chosen, 0 if chosen else drawn or 0, found, limit)


def _prompts(table: Table | None) -> tuple[tuple[str, str], ...]:
    assert table is not None
    prompts = tuple((key, table.text(key)) for key in table.names())
    if not prompts:
        raise table.wrong("", 'one or more prompts, as in portrait = "a portrait of a person"')
    return prompts


def _methods(tables: list[Table]) -> tuple[Method, ...]:
    methods: list[Method] = []
    for table in tables:
        method = Method(
            label=table.text("label"),
            backbone=table.text("backbone", one_of=("dev", "schnell")),  # type: ignore[arg-type]
            steps=table.axis("steps", low=1, whole=True),
            strength=table.axis("strength", (1.0,), low=0, high=3),
            guidance=table.axis("guidance", (), low=0),
            true_cfg=table.axis("true_cfg", (1.0,), low=0),
            first_steps=table.axis("first_steps", (), low=0, whole=True),
            start=table.number("start", 0.0, low=0, high=1),
            end=table.number("end", 1.0, low=0, high=1),
            negative=table.text("negative", ""),
        )
        table.done()
        if method.start > method.end:
            raise table.wrong("end", f"{method.start:g} or more, its start", method.end)
        if method.first_steps and max(method.first_steps) > min(method.steps):
            raise table.wrong("first_steps", f"at most the {min(method.steps)} steps", max(method.first_steps))
        if method.label in {each.label for each in methods}:
            raise table.wrong("label", "a label of its own", method.label)
        methods.append(method)
    return tuple(methods)


def _reduced(spec: Spec, table: Table) -> Spec:
    """The sweep in a quick size."""
    people = table.whole("people", None, low=1)
    prompts = table.texts("prompts", None, one_of=tuple(label for label, _ in spec.prompts))
    seeds = table.axis("seeds", spec.seeds, low=0, whole=True)
    steps = table.axis("steps", None, low=1, whole=True)
    table.done()
    methods = spec.methods
    if steps is not None:
        kept = [tuple(n for n in method.steps if n in steps) or method.steps[-1:] for method in methods]
        methods = tuple(replace(method, steps=few) for method, few in zip(methods, kept, strict=True))
    return replace(
        spec,
        seeds=seeds,
        people=spec.people if people is None else replace(spec.people, limit=people),
        prompts=spec.prompts if prompts is None else tuple(each for each in spec.prompts if each[0] in prompts),
        methods=methods,
    )


__all__ = [
    "SPECS",
    "Filter",
    "Method",
    "People",
    "Spec",
    "SpecError",
    "find_spec",
    "read_spec",
    "shipped",
]
