"""From a template and plain records to the text of a page."""

from __future__ import annotations

import base64
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..charts.labels import number
from ..charts.palette import DARK, DOTS, LIGHT
from ..errors import PackageError

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, /, **context: Any) -> str:
    """A page as HTML.

    Args:
        template: a file of the folder templates, as "demo.html". What it does not mark as safe is escaped.
        context: what it shows, by name.

    Returns:
        The text, with its style inside.

    Raises:
        jinja2.UndefinedError: the template names what the context lacks.
        PackageError: jinja2 is missing.
    """
    return _environment().get_template(template).render(context)


def data_uri(png: bytes) -> str:
    """A PNG inside the page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def signed(text: str) -> str:
    """Text whose negative figures have a true minus sign."""
    return re.sub(r"(?<!\S)-(?=\d)", "\N{MINUS SIGN}", text)


def with_sign(value: float | None, digits: int = 3) -> str:
    """A difference: as `number`, a plus before what is not below zero."""
    text = number(value, digits)
    return f"+{text}" if text[0].isdigit() else text


def pixels_wide(png: bytes, dots: float = 96) -> int:
    """How many CSS pixels wide a PNG of so many dots an inch is shown: at 96, as many as it has."""
    return round(int.from_bytes(png[16:20], "big") * 96 / dots)


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise PackageError("Pages need jinja2, which is not installed. Run: pip install 'jinja2>=3.1'") from error

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    for filtered in (number, with_sign, signed, data_uri, pixels_wide):
        environment.filters[filtered.__name__] = filtered
    environment.globals.update(light=LIGHT.by_name(), dark=DARK.by_name(), DOTS=DOTS)
    return environment
