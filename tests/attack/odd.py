"""Odd values: words of a command line, JSON that no program writes, and where to put it in a document."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

NUMBERS = (
    "0", "-1", "1", "2", "1.5", "nan", "inf", "-inf", "1e400", "1e-320", "1e308", "9" * 30, "9" * 5000, "-" + "9" * 30,
    "2147483648", "9223372036854775807", "9223372036854775808", "18446744073709551616", "0x10", "1_0", "٣", "½", "²",
)  # fmt: skip
WORDS = (
    "", " ", "\t", "None", "true", "-", "--", "four", "\udcff\udcfe", "a\nb", "\x1b[31mred", "é", "人", "🙂", "\u202e",
    "a" * 300, "a" * 5000, "%s%n", "{}", "${HOME}", "$(id)", "'; --", "<b>", "\\", "..",
)  # fmt: skip
PATHS = (
    "in/face.png", "in", "out", "in/nothing.png", "in/face.png/x.png", "in/text.png", "in/empty.png", "in/link.png",
    "in/loop.png", "in/pipe.png", "../../outside/secret.txt", "../../x.png", "/dev/null", "/dev/full",
    "/dev/null/x.png",
    "/proc/self/mem", "/proc/x.png", "~", "~/x.png", ".", "/", "in/\udcff.png", "out/\udcff.png", "out/é人🙂.png",
    "out/a\nb.png", "out/\x1b[31m.png", "out/" + "a" * 300 + ".png", "a/" * 3000 + "x.png", "in/readonly/x.png",
    "in/weights.safetensors", "in/taken.png", "in/taken.png/", "out/.png", "out/..png", ".png",
)  # fmt: skip

numbers = st.sampled_from(NUMBERS)
words = st.sampled_from(WORDS) | st.text(max_size=8)
paths = st.sampled_from(PATHS)
anything = numbers | words | paths

RAW = (
    "null", "true", "-1", "0", "0.5", "1e999", "-1e999", "NaN", "Infinity", "1e308", "9" * 30, "9" * 5000,
    "1" + "0" * 400,
    '""', '"x"', '"nan"', '"\\ud800"', '"\\u0000"', '"\\u001b[31m"', '"<b>"', '"../../outside/secret.txt"', "[]", "{}",
    "[[[]]]", "[null]", '[1, "x"]', '{"a": {"b": {}}}', '{"": null}', "[" * 300 + "]" * 300, "[" * 100_000,
    "[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000, "", "// no", "'x'", '"' + "x" * 10_000 + '"',
    "[0, 0, 0, 0]",
)  # fmt: skip
"""Pieces of JSON text, some of which are none."""
_HOLE = '"@{}@"'


def _places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value in a document."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [at, *(place for key, value in inside for place in _places(value, (*at, key)))]


Change = tuple[str, int, str]


def changes(most: int = 3) -> st.SearchStrategy[list[Change]]:
    """What is done to a document: an operation, a number that chooses the place, and a piece of text."""
    gentle = st.sampled_from(("nudge", "nudge", "double", "swap"))
    rough = st.sampled_from(("put", "put", "put", "drop", "rename", "add", "cut", "byte"))
    change = (
        st.tuples(gentle, st.integers(0, 10_000), st.just("")),
        st.tuples(rough, st.integers(0, 10_000), st.sampled_from(RAW)),
    )
    return st.lists(change[0], min_size=1, max_size=most) | st.lists(st.one_of(*change), min_size=1, max_size=most)


def _nudged(value: Any, number: int) -> Any:
    """Another value of the same kind, which a reader may well accept."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return (value + 1, value - 1, 0, 10**6, -value, 1)[number % 6]
    if isinstance(value, float):
        return (-value, value * 2, 0.0, 1e300, 1.0, 1e-300)[number % 6]
    if isinstance(value, str):
        return (value + "x", value[:-1], value.upper(), " ", "é<b>\x1b[31m", "x" * 500)[number % 6]
    return (None, [], {}, 0.5)[number % 4] if value is None or number % 3 == 0 else value


def changed(document: Any, wanted: list[Change]) -> bytes:
    """A JSON document's text after changes; where one has no place any more it is left out."""
    document, holes = json.loads(json.dumps(document)), []
    for operation, number, raw in wanted:
        places = [place for place in _places(document) if place]
        if operation in ("cut", "byte") or not places:
            continue
        # shallow places first, as often as deep ones: a document has few of these and many of those
        depth = sorted({len(place) for place in places})[number % len({len(place) for place in places})]
        near = [place for place in places if len(place) == depth]
        *way, last = near[number // 7 % len(near)]
        home = document
        for key in way:
            home = home[key]
        hole = f"@{len(holes)}@"
        holes.append(raw)
        if operation == "put":
            home[last] = hole
        elif operation == "nudge":
            home[last] = _nudged(home[last], number // 11)
        elif operation == "drop":
            del home[last]
        elif isinstance(home, list):
            home.insert(last, home[last] if operation == "double" else hole)
        elif operation == "rename":
            home[raw[:40]] = home.pop(last)
        elif operation == "swap" and len(home) > 1:
            other = next(key for key in home if key != last)
            home[last], home[other] = home[other], home[last]
        else:
            home[raw[:40]] = hole
    text = json.dumps(document)
    for index, raw in enumerate(holes):
        text = text.replace(_HOLE.format(index), raw)
    content = text.encode("utf-8", "surrogatepass")
    for operation, number, _ in wanted:
        place = number % max(1, len(content))
        if operation == "cut":
            content = content[:place]
        elif operation == "byte" and content:
            content = content[:place] + bytes([number % 256]) + content[place + 1 :]
    return content
