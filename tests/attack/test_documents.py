"""Specifications, results and traces: what can be read means what it says, all else is refused with its place."""

import csv
import json
import math
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from infusenet.charts import similarity_figure
from infusenet.probe import Trace
from infusenet.probe.drift import in_words
from infusenet.probe.trajectory import analyse
from infusenet.sweep.spec import read_spec

from .odd import Change, changed, changes
from .oracle import Place, command, expect

OLD = Path(__file__).parents[1] / "old"
TRACES = sorted((OLD / "traces").glob("*.json"))
SPECS = [OLD / "sweep" / "old.toml", *sorted((OLD / "specs").glob("*.toml"))]
VALUES = (
    "0", "-1", "1", "2", "1.5", "nan", "-inf", "1e400", "9" * 30, "9" * 5000, "true", '""', '"x"', '"\\u0000"',
    '"\\u001b[31m"',
    '"all"', '"first 0"', '"top 99"', '"mini-dev"', '"schnell"', "[]", "[1, 1]", "[0.0, 1.0]", "[1, 2, 3]",
    '["similarity"]',
    '["lpips"]', '["agreement"]', "{}", "{a = 1}", "2020-01-01", "'''x\ny'''", "[" * 5000, "[" * 59 + "]" * 59,
    "[16, 16]",
    '"../../../outside"', '"in"', '{says = "x", of = {steps = 1}, than = {steps = 2}, sign = 1}', "é", "",
)  # fmt: skip
KEYS = (
    "title", "threads", "seeds", "size", "measure", "metrics", "drawn", "folder", "limit", "confidence", "label",
    "backbone",
    "steps", "strength", "guidance", "true_cfg", "first_steps", "seed", "start", "end", "negative", "branches",
    "adapter", "refresh", "schedule", "decoupled", "attention",
    "kind", "values", "x", "y", "people", "prompts", "methods", "split", "panels", "minus", "less", "paper",
    "against", "early",
    "claims", "figures", "quick", "axes", "a.b.c", '""', "odd",
)  # fmt: skip

TomlChange = tuple[str, int, str, str]


def toml_changes() -> st.SearchStrategy[list[TomlChange]]:
    operation = st.sampled_from(("value", "value", "value", "line", "drop", "double", "cut", "byte", "table"))
    line = st.tuples(operation, st.integers(0, 999), st.sampled_from(KEYS), st.sampled_from(VALUES))
    number = st.sampled_from(
        ("1", "2", "0", "0.5", "1.0", "[1, 2]", "[0.5, 1]", "3", '["portrait"]', '"x"', "[0, 1]", "true")
    )
    gentle = st.tuples(st.sampled_from(("number", "number", "drop")), st.integers(0, 999), st.just(""), number)
    return st.lists(gentle, min_size=1, max_size=2) | st.lists(line, min_size=1, max_size=3)


def changed_toml(text: str, wanted: list[TomlChange]) -> bytes:
    """A specification after changes of its lines."""
    lines = text.splitlines()
    for operation, number, key, value in wanted:
        at = number % len(lines)
        with_value = [index for index, line in enumerate(lines) if "=" in line]
        numbers = [index for index in with_value if re.search(r"= *[\d\[]", lines[index])]
        if operation == "number" and numbers:
            at = numbers[number % len(numbers)]
            lines[at] = f"{lines[at].split('=')[0]}= {value}"
        elif operation == "value" and with_value:
            at = with_value[number % len(with_value)]
            lines[at] = f"{lines[at].split('=')[0]}= {value}"
        elif operation == "line":
            lines.insert(at, f"{key} = {value}")
        elif operation == "drop" and len(lines) > 1:
            del lines[at]
        elif operation == "double":
            lines.insert(at, lines[at])
        elif operation == "table":
            lines.insert(at, f"[{key}]")
    content = "\n".join(lines).encode()
    for operation, number, *_ in wanted:
        if operation == "cut":
            content = content[: number * 7 % (len(content) + 1)]
        elif operation == "byte":
            place = number * 7 % (len(content) + 1)
            content = content[:place] + b"\xff\x00"[number % 2 :][:1] + content[place:]
    return content


def test_specification(attack: Callable[..., None]) -> None:
    def case(place: Place, drawn: tuple[Path, list[TomlChange], bool]) -> Callable[[], None]:
        source, wanted, quick = drawn
        path = place.given / "odd.toml"
        path.write_bytes(changed_toml(source.read_text(), wanted))

        def act() -> None:
            said = command("sweep", str(path), "--dry-run", "--out", str(place.out), *["--quick"] * quick)
            spec = read_spec(path, quick=quick)
            expect(" jobs for " in said and spec.title.split()[0] in said, f"says {said[:200]!r}")
            numbers = [value for method in spec.methods for values in method.axes.values() for value in values]
            expect(all(map(math.isfinite, numbers)), "a number of a method is not finite")

        return act

    attack(st.tuples(st.sampled_from(SPECS), toml_changes(), st.booleans()), case)


def test_trace(attack: Callable[..., None]) -> None:
    def case(place: Place, drawn: tuple[Path, list[Change]]) -> Callable[[], None]:
        path = place.given / "odd.trace.json"
        path.write_bytes(changed(json.loads(drawn[0].read_text()), drawn[1]))

        def act() -> None:
            trace = Trace.load(path)
            figures = analyse(trace)
            expect(bool(in_words(trace)), "nothing is said of it")
            expect(similarity_figure([trace]) is not None, "there is no chart")
            expect(Trace.from_json(trace.to_json()) == trace, "it is another one when written and read again")
            expect(trace.to_csv().count("\n") >= 1 + len(trace.records), "the table lacks steps")
            expect(figures.final is None or -1.001 <= figures.final <= 1.001, f"a cosine of {figures.final}")

        return act

    attack(st.tuples(st.sampled_from(TRACES), changes()), case)


@cache
def small_sweep() -> dict[str, Any]:
    """An old sweep.json, and what else a case may change, by file."""
    home = OLD / "sweep" / "out"
    results = {path.name: json.loads(path.read_text()) for path in sorted((home / "results").glob("*.json"))[:3]}
    levels = {"made_of": "x", "blank": {"mean": 0.1, "std": 0.1, "count": 9}, "impostor": None}
    return {"sweep.json": json.loads((home / "sweep.json").read_text()), "levels.json": levels} | {
        f"results/{name}": content for name, content in results.items()
    }


def test_results(attack: Callable[..., None]) -> None:
    """A sweep's folder with one or two figures: its report is whole, and holds no NaN, or is refused."""

    def case(place: Place, drawn: tuple[dict[str, list[Change]], int, str]) -> Callable[[], None]:
        wanted, figure, harm = drawn
        folder = place.out / "sweep"
        shutil.copytree(OLD / "sweep" / "out", folder, ignore=shutil.ignore_patterns("*.csv", "figures"))
        place.allowed.append(folder)
        for name, content in small_sweep().items():
            figures = {"figures": content["figures"][figure : figure + 1]} if name == "sweep.json" else {}
            (folder / name).write_bytes(changed({**content, **figures}, wanted.get(name, [])))
        picture = sorted((folder / "pictures").iterdir())[figure]
        if harm == "gone":
            picture.unlink()
        elif harm == "cut":
            picture.write_bytes(picture.read_bytes()[:90])
        elif harm == "text":
            picture.write_text("no picture")
        elif harm == "middle":
            content = bytearray(picture.read_bytes())
            content[100:200] = b"\xff" * 100
            picture.write_bytes(content)
        elif harm == "in the way":
            (folder / "index.html").mkdir()

        def act() -> None:
            said = command("report", str(folder))
            expect(any(folder.glob("*.html")), "there is no page")
            expect("pictures made" in said, f"says {said[:200]!r}")
            for path in folder.rglob("*.csv"):
                for row in csv.reader(path.open(newline="", encoding="utf-8")):
                    expect(not {"nan", "inf", "-inf"} & {cell.lower() for cell in row}, f"{path.name} holds {row}")

        return act

    files = st.sampled_from([*["sweep.json"] * 3, *small_sweep()])
    harms = st.sampled_from(("", "", "", "gone", "cut", "text", "middle", "in the way"))
    attack(
        st.tuples(st.dictionaries(files, changes(), min_size=1, max_size=2), st.integers(0, 8), harms), case, share=0.5
    )
