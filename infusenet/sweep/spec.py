"""What a sweep is asked for: a TOML specification, checked whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from ..adapters import ADAPTERS, BRANCHES
from ..axes import AXES
from ..backbones import BACKBONES
from ..errors import SettingsError
from ..guidance.notation import NONE, parse_attention, parse_decoupled
from ..measures import MEASURES
from ..speed import EVERY_STEP, EXACT, parse_refresh, parse_schedule
from .figure_spec import STREAMS, FigureSpec, Text, Texts, axis_names, on_request, values_of
from .toml import SpecError, Table, check_numbers, number, numbers, one_line, read_toml, refuse, say, text, texts

ROLES = ("dev", "schnell")
MOST_THREADS = 1024  # more, and the library that computes breaks down


class Filter(Table):
    """Whom to leave out, by the paper's rules: photos of several, unsure or narrow faces. Age is the user's to know."""

    confidence: Annotated[float, number(0, 1)] = 0.7
    width: Annotated[float, number(0)] = 80


class Cohort(Table):
    """Whose pictures are made: a folder's (one person a file or subfolder), or drawn ones, whom the miniature knows."""

    folder: Annotated[Path | None, text()] = None
    drawn: Annotated[int, number(1, whole=True)] = 0  # how many to draw
    filter: Filter | None = None  # whom to leave out
    limit: Annotated[int | None, number(1, whole=True)] = None  # at most so many, the first ones

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Cohort:
        if (self.folder is None) == (not self.drawn):
            refuse('either folder = "pictures" or drawn = 28', {"folder": str(self.folder), "drawn": self.drawn})
        return self


def _reads(parse: Callable[[str], object]) -> BeforeValidator:
    """Takes what a parser reads, as it writes it."""

    def read(value: Any) -> str:
        try:
            return str(parse(str(value)))
        except SettingsError as error:
            say(str(error)[0].lower() + str(error)[1:], "")

    return BeforeValidator(read)


class Method(Table):
    """A way to make a picture; every combination of its axes is one method of the table.

    In the file each axis is a key of its own, a number or a list. Steps are required.
    """

    label: Text  # what figures call it
    backbone: Text  # a role such as "dev", which the user maps to weights, or a name of BACKBONES
    axes: dict[str, tuple[int | float, ...]]
    adapter: Annotated[str, text(lambda: ADAPTERS)] = "infusenet"
    start: Annotated[float, number(0, 1)] = 0.0  # shares of the run: between start and end the adapter acts
    end: Annotated[float, number(0, 1)] = 1.0
    negative: Text = ""  # what true CFG and decoupled guidance steer away from
    branches: Annotated[str, text(lambda: BRANCHES)] = "positive"  # of true CFG: on which the adapter acts, or "both"
    refresh: Annotated[str, _reads(parse_refresh)] = str(EVERY_STEP)  # when the adapter is computed anew, as in "1,3"
    schedule: Annotated[str, _reads(parse_schedule)] = str(EXACT)  # noise levels, as in "2+4"
    decoupled: Annotated[str, _reads(lambda text: parse_decoupled(text) or NONE)] = NONE  # instead of true CFG
    attention: Annotated[str, _reads(lambda text: text if parse_attention(text) else NONE)] = NONE  # to the identity

    @classmethod
    def keys(cls) -> list[str]:
        """Its own and the axes' names."""
        return sorted({*cls.model_fields, *axis_names()} - {"axes"})

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The axes gathered, each value within its axis."""
        if "axes" in data:
            say(f"unknown key. Known here: {', '.join(cls.keys())}", "axes")
        axes = {name: _axis_values(name, data[name]) for name in axis_names() if name in data}
        if "steps" not in axes:
            refuse("a list of different whole numbers from 1", key="steps")
        return {**{key: value for key, value in data.items() if key not in axes}, "axes": axes}

    @model_validator(mode="after")
    def _fits_the_run(self) -> Method:
        if self.start > self.end:
            refuse(f"{self.start:g} or more (the start)", self.end, key="end")
        if self.decoupled != NONE and set(self.axes.get("true_cfg", (1,))) != {1}:
            refuse("no decoupled guidance together with true CFG, which it replaces", self.decoupled, key="decoupled")
        fewest, last = min(self.axes["steps"]), max(self.axes.get("first_steps", (0,)))
        if last > fewest:
            refuse(f"at most the {fewest} steps", last, key="first_steps")
        return self

    def with_steps(self, steps: tuple[int, ...]) -> Method:
        """With those of its steps that are among these; with its last one where none is."""
        kept = tuple(n for n in self.axes["steps"] if n in steps) or self.axes["steps"][-1:]
        return self.model_copy(update={"axes": {**self.axes, "steps": kept}})


def _axis_values(name: str, value: Any) -> tuple[Any, ...]:
    axis = AXES[name]
    open_ended = name in ("steps", "guidance", "true_cfg", "first_steps")  # a node offers less than a specification may
    return check_numbers(value, axis.low, math.inf if open_ended else axis.high, whole=axis.whole, key=name)


class Quick(Table):
    """The small size of a specification: fewer people, prompts, seeds or steps."""

    people: Annotated[int | None, number(1, whole=True)] = None
    prompts: Annotated[Texts | None, texts()] = None
    seeds: Annotated[tuple[int, ...] | None, numbers(0, whole=True)] = None
    steps: Annotated[tuple[int, ...] | None, numbers(1, whole=True)] = None


def _width_and_height(value: Any) -> tuple[int, int]:
    sides = check_numbers(value, 16, whole=True, distinct=False)
    if len(sides) > 2:
        refuse("[width, height]", value)
    return sides[0], sides[-1]


class Spec(Table):
    """A whole sweep."""

    title: Text
    about: Text = ""  # a paragraph under the title: what is asked
    threads: Annotated[int, number(1, MOST_THREADS, whole=True)] = 1  # of each process, whatever the machine has
    seeds: Annotated[tuple[int, ...], numbers(0, whole=True)] = (0,)  # each gives every person other noise
    size: Annotated[tuple[int, int] | None, BeforeValidator(_width_and_height)] = None  # None: the backbone's own
    measure: Annotated[str, text(lambda: MEASURES)] = "face"  # what likeness is measured with
    metrics: Annotated[Texts, texts(on_request)] = ()  # beside it and what always is measured
    people: Cohort = Field(description="a table")
    prompts: dict[str, Text] = Field(description="a table")  # by label
    methods: tuple[Method, ...] = Field(min_length=1, description="one or more [[methods]]")
    figures: tuple[FigureSpec, ...] = ()
    quick: Quick | None = None
    _file: str = PrivateAttr("")

    @property
    def source(self) -> str:
        """The file as it was read, for the record."""
        return self._file

    @model_validator(mode="after")
    def _goes_together(self) -> Spec:
        if not self.prompts:
            refuse('one or more prompts, as in portrait = "a portrait of a person"', key="prompts")
        labels = [method.label for method in self.methods]
        for index, label in enumerate(labels):
            if label in labels[:index]:
                refuse("a different label", label, key=f"methods[{index}].label")
        for index, figure in enumerate(self.figures):
            for key, known in (("methods", labels), ("prompts", self.prompts)):
                _are_known(getattr(figure, key), known, f"figures[{index}].{key}")
            self._is_measured(figure, f"figures[{index}].values")
        _are_known((self.quick and self.quick.prompts) or (), self.prompts, "quick.prompts")
        return self

    def _is_measured(self, figure: FigureSpec, key: str) -> None:
        """Whether what a figure shows is asked for."""
        of_steps = figure.kind == "trajectory"
        for value in figure.values:
            if of_steps and value not in (known := values_of(steps=True)):
                refuse(f"one of {', '.join(known)} for a trajectory", value, key=key)
            needed = "streams" if value in STREAMS else "trajectory" if of_steps else value
            needed = "agreement" if figure.kind == "spread" else needed
            if needed in on_request() and needed not in self.metrics:
                refuse(f'metrics = ["{needed}"] at the top to show it', value, key=key)

    def reduced(self) -> Spec:
        """The sweep in its quick size."""
        quick = self.quick or Quick()
        changes: dict[str, Any] = {"seeds": quick.seeds or self.seeds}
        if quick.people is not None:
            changes["people"] = self.people.model_copy(update={"limit": quick.people})
        if quick.prompts is not None:
            changes["prompts"] = {label: words for label, words in self.prompts.items() if label in quick.prompts}
        if quick.steps is not None:
            changes["methods"] = tuple(method.with_steps(quick.steps) for method in self.methods)
        return self.model_copy(update=changes)

    def with_methods(self, further: Iterable[Mapping[str, Any]]) -> Spec:
        """With further methods, behind its own."""
        return self.model_copy(update={"methods": (*self.methods, *map(Method.model_validate, further))})


def _are_known(labels: Collection[str], known: Collection[str], key: str) -> None:
    for label in labels:
        if label not in known:
            refuse(f"a list of texts out of {', '.join(known)}", label, key=key)


def read_spec(
    path: Path, *, quick: bool = False, people: Path | None = None, papers_filter: bool = False,
    roles: Collection[str] = ROLES,
) -> Spec:  # fmt: skip
    """Read a specification from a TOML file.

    Args:
        path: the file.
        quick: apply its [quick] table.
        people: a folder of pictures instead of its people.
        papers_filter: leave out people as the paper does, whatever it says.
        roles: what a method's backbone may be beside the names of BACKBONES.

    Raises:
        SpecError: a key is unknown or missing, or a value cannot be meant; the message names its place.
    """
    try:
        spec = Spec.model_validate(read_toml(path))
    except ValidationError as error:
        raise one_line(path.name, error) from None
    for index, method in enumerate(spec.methods):
        if method.backbone not in (known := [*roles, *BACKBONES]):
            at, or_named = f"{path.name}: methods[{index}].backbone", f"--backbone {method.backbone}=NAME|PATH"
            raise SpecError(f"{at}: expected one of {', '.join(known)}, got {method.backbone!r}. Or say {or_named}")
    folder = people or (spec.people.folder and path.parent / spec.people.folder)
    if folder and not folder.is_dir():
        raise SpecError(f"{path.name}: people.folder: expected a folder of pictures, got {str(folder)!r}")
    changes: dict[str, Any] = {"folder": folder, "drawn": 0 if folder else spec.people.drawn}
    changes |= {"filter": Filter()} if papers_filter else {}
    spec = (spec.reduced() if quick else spec).model_copy()
    spec = spec.model_copy(update={"people": spec.people.model_copy(update=changes)})
    spec._file = path.read_text(encoding="utf-8")
    return spec
