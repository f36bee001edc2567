"""A TOML file as typed tables: what a value may be, and one line that names the place where it is not."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from reprlib import Repr
from typing import Any, NoReturn

from ..errors import InfuseNetError, PackageError

try:
    from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
    from pydantic_core import PydanticCustomError
except ImportError:
    raise PackageError("Sweeps need pydantic to read specifications. Run: pip install pydantic") from None

_LARGEST, _MOST_DIGITS, _MOST_BRACKETS = 2**63 - 1, 4000, 60
_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80


class SpecError(InfuseNetError):
    """A specification of a sweep holds something that cannot be meant."""


def read_toml(path: Path) -> dict[str, Any]:
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
            raise PackageError("Python 3.10 needs tomli to read TOML. Run: pip install tomli") from None
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_the_boundless(text, path.name)
        return tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no TOML
        why = " ".join(str(error).split())
        raise SpecError(
            f"{path}: cannot be read as TOML ({why}). Compare it with a specification that comes with the package."
        ) from None


def _refuse_the_boundless(text: str, file: str) -> None:
    """Numbers and nesting that Python's reader gives up on without a word of where."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(rf"[0-9a-fA-F_]{{{_MOST_DIGITS}}}", line):
            raise SpecError(f"{file}: line {number}: expected a number with fewer than {_MOST_DIGITS} digits, got more")
        if line.count("[") + line.count("{") > _MOST_BRACKETS:
            raise SpecError(f"{file}: line {number}: expected lists of numbers or texts, got lists within lists")


def refuse(expected: str, *got: object, key: str = "") -> NoReturn:
    """Raise the error for a value, or for one `key` of a table: expected this, got that, or nothing."""
    say(f"expected {expected}, got {_shown(got[0]) if got else 'nothing'}", key)


def say(words: str, key: str) -> NoReturn:
    """Raise an error for a key in these words."""
    raise PydanticCustomError("spec", "{words}", {"words": words, "key": key})


def _shown(value: object) -> str:
    try:
        return _short.repr(value)
    except ValueError:  # Python writes no whole number of so many digits
        return "a number of thousands of digits"


def one_line(file: str, error: ValidationError) -> SpecError:
    """The first error, after the place that it names."""
    first = error.errors()[0]
    context = first.get("ctx", {})
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    place = f"{place}.{context['key']}" if context.get("key") else place
    expected = "one or more tables" if first["type"] in ("tuple_type", "too_short") else "a table"
    words = context.get("words") or f"expected {expected}, got {_shown(first['input'])}"
    return SpecError(f"{file}: {place.strip('.')}: {words}")


# -- values: each gives a check, for pydantic's BeforeValidator ----------------------------------------------------


def number(low: float, high: float = math.inf, *, whole: bool = False) -> BeforeValidator:
    """A finite number from low to high."""
    most = "" if high == math.inf else f"{' and at most' if whole else ' to'} {high:g}"
    expected = f"a whole number, {low:g} or more{most}" if whole else f"a number from {low:g}{most}"

    def check(value: Any) -> float:
        if not _is_number(value, low, high, whole):
            refuse(expected, value)
        return value if whole else float(value)

    return BeforeValidator(check)


def check_numbers(
    value: Any, low: float, high: float = math.inf, *, whole: bool = False, distinct: bool = True, key: str = ""
) -> tuple[Any, ...]:
    """A list of finite numbers, different ones if `distinct`; a single number stands for a list of one."""
    kinds = f"{'different ' * distinct}{'whole ' * whole}numbers"
    expected = f"a list of {kinds} from {low:g}" + (f" to {high:g}" if high < math.inf else "")
    values = value if isinstance(value, list | tuple) else [value]
    for each in values:
        if not _is_number(each, low, high, whole):
            refuse(expected, each, key=key)
    if not values or (distinct and len(set(values)) < len(values)):
        refuse(expected, value, key=key)
    return tuple(values if whole else map(float, values))


def numbers(low: float, *, whole: bool = False) -> BeforeValidator:
    """As `check_numbers`."""
    return BeforeValidator(lambda value: check_numbers(value, low, whole=whole))


def text(names: Callable[[], Iterable[str]] = tuple) -> BeforeValidator:
    """A text that is not blank, one of these names if there are any."""

    def check(value: Any) -> str:
        known = list(names())
        if not isinstance(value, str) or not value.strip() or (known and value not in known):
            refuse(f"one of {', '.join(known)}" if known else "a text", value)
        return value

    return BeforeValidator(check)


def texts(names: Callable[[], Iterable[str]] = tuple) -> BeforeValidator:
    """A list of texts, out of these names if there are any."""

    def check(value: Any) -> tuple[str, ...]:
        known = list(names())
        expected = "a list of texts" + (f" out of {', '.join(known)}" if known else "")
        if not isinstance(value, list | tuple) or not value:
            refuse(expected, value)
        for each in value:
            if not isinstance(each, str) or not each or (known and each not in known):
                refuse(expected, each)
        return tuple(value)

    return BeforeValidator(check)


def _is_number(value: Any, low: float, high: float, whole: bool) -> bool:
    allowed = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    return allowed and low <= value <= min(high, _LARGEST if whole else sys.float_info.max)


class Table(BaseModel):
    """A table of the file: its keys are the fields, and no others."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @classmethod
    def keys(cls) -> list[str]:
        """The keys that it may have."""
        return sorted(cls.model_fields)

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The file's keys as fields."""
        return data

    @model_validator(mode="before")
    @classmethod
    def _is_whole(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            refuse("a table", data)
        data = cls.prepared(data)
        for name, field in cls.model_fields.items():
            if field.is_required() and name not in data:
                refuse(field.description or "a text", key=name)
        return data

    @model_validator(mode="after")
    def _holds_nothing_else(self) -> Any:
        for key in self.model_extra or ():
            say(f"unknown key. Known here: {', '.join(self.keys())}", key)
        return self
