"""What a figure of the report is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from .toml import Table

KINDS = ("table", "pairs", "people", "curve", "drift", "map", "trajectory", "blocks", "pictures")
MEASURED = ("similarity", "sharpness", "contrast", "seconds")
STREAMS = ("stream_ratio", "residual_ratio")
ASKED_FOR = {"latent_distance": "latent_distance", "lpips": "lpips", **dict.fromkeys(STREAMS, "streams")}
VALUES = (*MEASURED, *ASKED_FOR)
AXES = ("steps", "strength", "guidance", "true_cfg", "first_steps", "prompt", "method")
OF_STEPS = ("similarity", "sharpness", "contrast", *STREAMS)
"""What is known of each step of a run, for a trajectory."""


@dataclass(frozen=True)
class FigureSpec:
    """One figure of the report.

    Attributes:
        kind: one of KINDS.
        title: its heading.
        note: what a reader must know.
        values: the columns shown; a curve or trajectory has a panel for each, other kinds show one.
        x: the column along it.
        y: the rows of a map.
        methods: labels shown, in order; all by default. The first is what others are compared with.
        prompts: labels of prompts shown; all by default.
        people: "all", "first N" or "top N" by mean similarity.
        split: a curve or bars for each method ("method"), prompt or strength.
        panels: "prompt" for a panel each prompt, of a curve or of people.
        less: a value of `split`: a curve shows what the others have more than it, on the same person, prompt and noise.
        paper: the paper's figures, shown beside and never mixed in: of a table by line, of pairs and drift by "method /
            group", of a curve by "line / x", where both are as the report writes them.
    """

    kind: str
    title: str
    note: str = ""
    values: tuple[str, ...] = ("similarity",)
    x: str = "steps"
    y: str = "prompt"
    methods: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    people: str = "all"
    split: str = "method"
    panels: str = ""
    less: float | None = None
    paper: tuple[tuple[str, float], ...] = ()

    @property
    def value(self) -> str:
        """The column of figures that show one."""
        return self.values[0]


def read_figure(
    table: Table, methods: tuple[str, ...], prompts: tuple[str, ...], metrics: tuple[str, ...]
) -> FigureSpec:
    """One [[figures]] of a specification.

    Args:
        table: as in the file.
        methods: labels of the specification's methods.
        prompts: labels of its prompts.
        metrics: what it asks to be measured beside the usual.

    Raises:
        SpecError: a key is unknown or missing, or a value cannot be meant.
    """
    paper = table.table("paper", None)
    figure = FigureSpec(
        kind=table.text("kind", one_of=KINDS),
        title=table.text("title"),
        note=table.text("note", ""),
        values=table.texts("values", ("similarity",), one_of=VALUES),
        x=table.text("x", "steps", one_of=AXES),
        y=table.text("y", "prompt", one_of=AXES),
        methods=table.texts("methods", methods, one_of=methods),
        prompts=table.texts("prompts", prompts, one_of=prompts),
        people=table.text("people", "all"),
        split=table.text("split", "method", one_of=AXES),
        panels=table.text("panels", "", one_of=("prompt",)),
        less=table.number("less", None, low=0),
        paper=() if paper is None else tuple((key, paper.number(key, low=-1)) for key in paper.names()),
    )
    table.done()
    _check(figure, table, metrics)
    return figure


def _check(figure: FigureSpec, table: Table, metrics: tuple[str, ...]) -> None:
    """Refuse what does not go together."""
    kind, _, count = figure.people.partition(" ")
    if figure.people != "all" and (kind not in ("first", "top") or not count.isdigit() or count == "0"):
        raise table.wrong("people", "all, first N or top N, such as top 10", figure.people)
    if len(figure.values) > 1 and figure.kind not in ("curve", "trajectory"):
        raise table.wrong("values", "one value but for a curve or a trajectory", list(figure.values))
    if figure.panels and (figure.kind not in ("curve", "people") or figure.split != "method" or len(figure.values) > 1):
        raise table.wrong("panels", "a curve or people of one value, not split otherwise", figure.panels)
    if figure.less is not None and (figure.kind != "curve" or figure.split in ("method", "prompt")):
        raise table.wrong("less", "a curve that is split by a number, such as strength", figure.less)
    if figure.kind == "blocks" and figure.value not in STREAMS:
        raise table.wrong("values", f"{' or '.join(STREAMS)} with kind blocks", figure.value)
    per_step = figure.kind == "trajectory"
    for value in figure.values:
        if per_step and value not in OF_STEPS:
            raise table.wrong("values", f"out of {', '.join(OF_STEPS)} for a trajectory", value)
        needed = ASKED_FOR.get(value, "trajectory" if per_step else None)
        if needed is not None and needed not in metrics:
            raise table.wrong("values", f'metrics = ["{needed}"] at the top to show it', value)


__all__ = ["FigureSpec", "read_figure"]
