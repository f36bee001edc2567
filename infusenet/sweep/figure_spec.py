"""What a figure of a sweep's report shows, and what it is held against: claims, such as the paper's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from ..axes import AXES
from ..metrics import METRICS
from .toml import Table, number, refuse, text, texts

FIGURES = ("table", "pairs", "people", "curve", "plane", "drift", "spread", "map", "trajectory", "blocks", "pictures")
STREAMS = ("stream_ratio", "stream_ratio_single", "stream_ratio_all", "residual_ratio")
RECORDS = ("trajectory", "streams", "agreement")

Text = Annotated[str, text()]
Texts = tuple[str, ...]
Along = Annotated[str, text(lambda: [*axis_names(), "prompt", "method"])]
Split = Annotated[str, text(lambda: [*axis_names(), "prompt", "method", "value"])]
Number = Annotated[float, number(-1e6, 1e6)]


def axis_names() -> list[str]:
    """The settings that a method may name; noise has `seeds` at the top of the file."""
    return [name for name in AXES if name != "seed"]


def on_request() -> list[str]:
    """What is measured where `metrics` ask for it; RECORDS are more than a number a picture."""
    return [*(name for name, metric in METRICS.items() if not metric.always), *RECORDS]


def values_of(*, steps: bool = False) -> list[str]:
    """What a figure can show, of pictures or of each step of a run."""
    always = [name for name, metric in METRICS.items() if metric.always]
    further = [] if steps else ["agreement", "seconds", *(name for name in METRICS if name not in always)]
    return ["similarity", *(("sharpness", "contrast") if steps else always), *further, *STREAMS]


class Claim(Table):
    """Something that a figure's numbers can agree with or contradict, such as a finding of the paper.

    It is about `of` - `than`: settings of rows, as {method = "dev", steps = 4}, whose means are compared on the same
    person, noise and (unless both name one) prompt; a step of -1 is the last one of a run.
    """

    says: Text
    of: dict[str, Any]
    than: dict[str, Any]
    against: dict[str, Any] = Field(default_factory=dict)  # of a second difference, taken off the first
    value: str = ""  # a column; the figure's first by default
    ratio: bool = False  # of / than instead
    paper: Number | None = None  # the paper's figure; where it gives none, the sign of what it says: 1 or -1
    sign: Annotated[int, number(-1, 1, whole=True)] = 0
    margin: Annotated[float | None, number(0)] = None  # of a claim of equality: within which the difference must lie
    most: Annotated[float | None, number(0)] = None  # the same from above alone
    source: Text = ""  # where it is said

    @model_validator(mode="after")
    def _can_be_judged(self) -> Claim:
        if not (self.paper or self.sign) and self.margin is None and self.most is None:
            refuse("a paper's figure, a sign (1 or -1), a margin or most", key="paper")
        if self.value and self.value not in (known := [*values_of(), *values_of(steps=True)]):
            refuse(f"one of {', '.join(dict.fromkeys(known))}", self.value, key="value")
        for key in ("of", "than", "against"):
            for name in getattr(self, key):
                if name not in (known := ["method", "prompt", "step", *axis_names()]):
                    refuse(f"settings from {', '.join(known)}", name, key=key)
        return self


class FigureSpec(Table):
    """One figure of the report."""

    kind: Annotated[str, text(lambda: FIGURES)]
    title: Text
    note: Text = ""  # what a reader must know
    values: Annotated[Texts, texts(values_of)] = ("similarity",)
    """Of a curve or trajectory several, a panel each; of a plane two: the first one up, the second across."""
    x: Along = "steps"
    y: Along = "prompt"  # the rows of a map
    methods: Annotated[Texts, texts()] = ()  # labels shown, in order, all by default; compared with the first
    prompts: Annotated[Texts, texts()] = ()
    people: Text = "all"  # or "first N", or "top N": of half of the noises, shown in the others
    against: Annotated[float | None, number(0)] = None  # a place on x: a curve shows paired differences to it beside
    early: Annotated[float, number(0)] = 4  # the place that drift is counted from, named before any value was seen
    split: Split = "method"  # a line for each method, prompt or value of an axis; of a trajectory for each "value"
    panels: Annotated[str, text(lambda: ("prompt",))] = ""  # a panel each prompt, of a curve or of people
    minus: Annotated[float | None, number(0)] = None
    """A value of `split`: a curve shows what others have more, on the same person, prompt and noise. Older: `less`."""
    paper: dict[str, Annotated[float, number(-1)]] = Field(default_factory=dict)
    """The paper's figures, shown beside: of a table by line, of pairs and drift by "method / group", of a curve by
    "line / x", where both are as the report writes them."""
    claims: tuple[Claim, ...] = ()  # what its numbers are held against; the first is the figure's main one

    @property
    def value(self) -> str:
        """The column of figures that show one."""
        return self.values[0]

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The older name of minus understood."""
        key = "minus" if "minus" in data else "less"
        rest = dict(data)
        if (value := rest.pop(key, None)) is None:
            return rest
        if data.get("kind") != "curve" or data.get("split", "method") in ("method", "prompt", "value"):
            refuse("a curve split by a number, such as strength", value, key=key)
        return {**rest, "minus": value}

    @model_validator(mode="after")
    def _goes_together(self) -> FigureSpec:
        which, _, count = self.people.partition(" ")
        if self.people != "all" and (which not in ("first", "top") or not count.isdecimal() or int(count[:9]) == 0):
            refuse("all, first N or top N, such as top 10", self.people, key="people")
        if self.kind == "plane":
            rising = ["similarity", *(name for name, metric in METRICS.items() if metric.better == "higher")]
            if len(self.values) != 2 or not set(self.values) <= set(rising):
                refuse(
                    f"two values (up, across) of which more is better: {', '.join(rising)}",
                    [*self.values],
                    key="values",
                )
        elif len(self.values) > 1 and self.kind not in ("curve", "trajectory"):
            refuse("one value, unless the kind is curve or trajectory", [*self.values], key="values")
        if self.panels and (self.kind not in ("curve", "people") or self.split != "method" or len(self.values) > 1):
            refuse("a curve or people with one value and no other split", self.panels, key="panels")
        if self.kind == "blocks" and self.value not in (known := (STREAMS[0], STREAMS[-1])):
            refuse(f"{' or '.join(known)} with kind blocks", self.value, key="values")
        if self.split == "value" and self.kind != "trajectory":
            refuse("a trajectory, where split is value", self.kind, key="kind")
        return self
