"""Rows of figures as the cells of a table that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..charts.labels import number

Cell = tuple[str, str]
"""A text and its class."""
_ENDS = "95 %"  # in the names of columns that hold both ends of an interval


def readable(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Cell], list[list[Cell]]]:
    """Head and body of a table, without columns that say nothing.

    Args:
        rows: values by column, None where undefined. Columns that end in "low" and "high" become one with both ends.
    """
    rows = [_read(row) for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [name for name in columns if any(row.get(name) is not None for row in rows)]
    if not any(row.get("missing") for row in rows):
        columns = [name for name in columns if name != "missing"]
    texts = {
        name for name in columns if _ENDS not in name and all(isinstance(row.get(name), str | None) for row in rows)
    }
    classes = {name: "text" if name in texts else "" for name in columns}
    return list(classes.items()), [[(_cell(row.get(name)), of) for name, of in classes.items()] for row in rows]


def _read(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the ends of an interval in one cell."""
    read = {}
    for name, value in row.items():
        if name.endswith("low"):
            of = name.removesuffix("low")
            read[f"{of}{_ENDS}"] = None if value is None else f"{_cell(value)} to {_cell(row[f'{of}high'])}"
        elif not name.endswith("high"):
            read[name] = value
    return read


def _cell(value: Any) -> str:
    if value is None or isinstance(value, float):
        return number(value, 3 if value is None or abs(value) < 100 else 1)
    return str(value)
