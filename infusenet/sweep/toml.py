"""A TOML file read strictly: every value is asked for by name and kind, and an error tells its place in the file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..errors import InfuseNetError, PackageError

_REQUIRED = object()


class SpecError(InfuseNetError):
    """A specification of a sweep holds something that cannot be meant."""


def read_toml(path: Path) -> Table:
    """A TOML file's top table.

    Raises:
        SpecError: the file cannot be read, or is not TOML.
        PackageError: Python 3.10 without tomli.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise PackageError("Python 3.10 reads TOML with tomli. Install it: pip install tomli") from None
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as TOML ({error}). Compare it with a shipped specification.") from None
    return Table(data, path.name, "")


class Table:
    """One table of the file. Values are taken out by name; `done` refuses what is left."""

    def __init__(self, data: dict[str, Any], file: str, place: str) -> None:
        self._data, self._file, self.place = dict(data), file, place
        self._known: list[str] = []

    def wrong(self, key: str, expected: str, got: object = _REQUIRED) -> SpecError:
        """The error for a value, in one line."""
        at = f"{self.place}.{key}".strip(".")
        came = "got nothing" if got is _REQUIRED else f"got {got!r}"
        return SpecError(f"{self._file}: {at}: expected {expected}, {came}")

    def names(self) -> list[str]:
        """The names that have not been taken."""
        return list(self._data)

    def take(self, key: str, expected: str, default: Any = _REQUIRED) -> Any:
        """Any value."""
        self._known.append(key)
        value = self._data.pop(key, default)
        if value is _REQUIRED:
            raise self.wrong(key, expected)
        return value

    def text(self, key: str, default: Any = _REQUIRED, *, one_of: tuple[str, ...] = ()) -> str:
        """A text that is not blank, out of `one_of` if that is given."""
        expected = f"one of {', '.join(one_of)}" if one_of else "a text"
        value = self.take(key, expected, default)
        if value is not default and (
            not isinstance(value, str) or not value.strip() or (one_of and value not in one_of)
        ):
            raise self.wrong(key, expected, value)
        return value

    def number(self, key: str, default: Any = _REQUIRED, *, low: float, high: float = float("inf")) -> float:
        """One number from low to high."""
        expected = f"a number from {low:g} to {high:g}"
        value = self.take(key, expected, default)
        if value is not default and not _is_number(value, low, high, whole=False):
            raise self.wrong(key, expected, value)
        return value

    def whole(self, key: str, default: Any = _REQUIRED, *, low: int) -> int:
        """One whole number, at least low."""
        expected = f"a whole number, {low} or more"
        value = self.take(key, expected, default)
        if value is not default and not _is_number(value, low, float("inf"), whole=True):
            raise self.wrong(key, expected, value)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.take(key, "true or false", default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def axis(
        self,
        key: str,
        default: Any = _REQUIRED,
        *,
        low: float,
        high: float = float("inf"),
        whole: bool = False,
        distinct: bool = True,
    ) -> tuple[Any, ...]:
        """A list of numbers, different ones if `distinct`; a single number stands for a list of one."""
        kind = f"{'different ' * distinct}{'whole ' * whole}numbers"
        expected = f"a list of {kind} from {low:g}" + (f" to {high:g}" if high < float("inf") else "")
        value = self.take(key, expected, default)
        if value is default:
            return value
        values = value if isinstance(value, list) else [value]
        if not values or (distinct and len(set(map(repr, values))) < len(values)):
            raise self.wrong(key, expected, value)
        for number in values:
            if not _is_number(number, low, high, whole=whole):
                raise self.wrong(key, expected, number)
        return tuple(values if whole else map(float, values))

    def texts(self, key: str, default: Any = _REQUIRED, *, one_of: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of texts."""
        expected = "a list of texts" + (f" out of {', '.join(one_of)}" if one_of else "")
        value = self.take(key, expected, default)
        if value is default:
            return value
        if not isinstance(value, list) or not value:
            raise self.wrong(key, expected, value)
        for text in value:
            if not isinstance(text, str) or not text or (one_of and text not in one_of):
                raise self.wrong(key, expected, text)
        return tuple(value)

    def table(self, key: str, default: Any = _REQUIRED) -> Table | None:
        """A table inside this one; None where it is left out and has a default."""
        value = self.take(key, "a table", default)
        if value is default and default is not _REQUIRED:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, "a table", value)
        return Table(value, self._file, f"{self.place}.{key}".strip("."))

    def tables(self, key: str, default: Any = _REQUIRED) -> list[Table]:
        """A list of tables, [[key]] in the file."""
        value = self.take(key, f"one or more [[{key}]]", default)
        if not isinstance(value, list) or (default is _REQUIRED and not value):
            raise self.wrong(key, f"one or more [[{key}]]", value)
        for number, each in enumerate(value):
            if not isinstance(each, dict):
                raise self.wrong(f"{key}[{number}]", "a table", each)
        place = f"{self.place}.{key}".strip(".")
        return [Table(each, self._file, f"{place}[{number}]") for number, each in enumerate(value)]

    def done(self) -> None:
        """Refuse what nobody asked for.

        Raises:
            SpecError: a key is left.
        """
        for key in self._data:
            known = ", ".join(sorted(self._known))
            raise SpecError(f"{self._file}: {f'{self.place}.{key}'.strip('.')}: unknown key. Known here: {known}")


def _is_number(value: object, low: float, high: float, *, whole: bool) -> bool:
    kinds = (int,) if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
