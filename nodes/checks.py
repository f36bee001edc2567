"""What a node is given, checked by its own schema before it runs.

The host checks what is typed into a node (but takes NaN for a number). Of what a link brings it knows the type's name
at most, and nothing where another pack's node gives "*". So a setting that says nothing is one message here, never a
traceback in mid-sampling, and never left out without a word.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from ..infusenet.axes import as_text
from ..infusenet.errors import SettingsError
from ..infusenet.weights import catalogue
from .sockets import NONE

_PLAIN = (type(None), Real, str, bytes, list, tuple, dict, Tensor)
"""What is none of the objects that nodes hand on to one another."""
OTHERS_IDENTITY = "id_embedding"
"""What the official InfiniteYou pack's identities, and its InfuseNets, carry."""


def checked(execute: Callable[..., Any]) -> Callable[..., Any]:
    """A node's `execute` that refuses what is not as its schema says.

    Raises:
        SettingsError: the message names node and input, and says what was expected and what came.
    """
    signature = inspect.signature(execute)

    @wraps(execute)
    def run(cls: Any, *args: Any, **named: Any) -> Any:
        schema, given = cls.define_schema(), signature.bind(cls, *args, **named).arguments
        for entry in schema.inputs:
            missing = given.get(entry.id) is None and signature.parameters[entry.id].default is None
            if not missing and entry.id in given:
                check(entry, schema.display_name, given[entry.id])
        return execute(cls, *args, **named)

    return run


def check(entry: Any, title: str, value: Any) -> None:
    """Raise SettingsError unless a value is what an input takes; what lies in pictures and latents is not looked at."""
    wanted, fits = _wanted(entry, value)
    if not fits and isinstance(value, dict) and OTHERS_IDENTITY in value:
        raise SettingsError(
            f"{title}: {entry.id} must be {wanted}, got the ID embedding of another pack's InfiniteYou nodes. The "
            "two packs cannot share it. Use this pack's Load Identity Encoder and Encode Identity."
        )
    if not fits:
        raise SettingsError(
            f"{title}: {entry.id} must be {wanted}, got {shown(value)}. Check the node connected to it."
        )


def listed(node: Any, **chosen: Any) -> bool | str:
    """What a node's `validate_inputs` answers: True, or which files are missing and where each is to be had.

    Args:
        node: its class.
        chosen: what its combos of files are set to; None where a link will tell.
    """
    missing = []
    for entry in node.define_schema().inputs:
        name = chosen.get(entry.id)
        options = [] if name is None else [*entry.options, *(option.replace("\\", "/") for option in entry.options)]
        if name is not None and name not in options:
            missing.append(
                f"{entry.id}: {shown(name)} is missing.{catalogue.advice(str(name)) or ' Choose another file.'}"
            )
    return " ".join([*missing, "Refresh the page (R) once the files are there."]) if missing else True


def shown(value: Any) -> str:
    """A value that was given, for a message."""
    if value is None:
        return "nothing"
    return f"{value!r:.80}" if isinstance(value, (Real, str)) else with_article(type(value).__name__)


def with_article(name: str) -> str:
    """A name after "a" or "an"."""
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _wanted(entry: Any, value: Any) -> tuple[str, bool]:
    """What an input takes, in words, and whether a value is it."""
    kind, options = str(entry.get_io_type()), getattr(entry, "options", None)
    if options is not None and options[0] == NONE:  # files, which are looked for when they are opened
        return "the name of a file", isinstance(value, str)
    if options is not None:
        return f"one of ({', '.join(options)})", isinstance(value, str) and value in options
    if kind in ("INT", "FLOAT"):
        number, words = (Integral, "a whole number") if kind == "INT" else (Real, "a number")
        fits = isinstance(value, number) and entry.min <= value <= entry.max
        return f"{words} from {as_text(entry.min)} to {as_text(entry.max)}", fits
    if kind in ("BOOLEAN", "STRING"):
        return "true or false" if kind == "BOOLEAN" else "text", isinstance(value, bool if kind == "BOOLEAN" else str)
    if kind in ("IMAGE", "MASK"):
        return with_article(kind), isinstance(value, Tensor)
    if kind == "LATENT":
        return "a LATENT of floats that holds at least one picture", _is_latent(value)
    if kind == "CONDITIONING":
        return "a CONDITIONING with at least one entry", _is_conditioning(value)
    return with_article(kind.replace(",", " or ")), not isinstance(value, _PLAIN)


def _is_latent(value: Any) -> bool:
    """Whether it is a LATENT of floats that holds something, and whose mask, if it has one, is a tensor."""
    samples = value.get("samples") if isinstance(value, dict) else None
    masks = isinstance(value, dict) and isinstance(value.get("noise_mask", samples), Tensor)
    return masks and isinstance(samples, Tensor) and samples.is_floating_point() and samples.numel() > 0


def _is_conditioning(value: Any) -> bool:
    """Whether it is a CONDITIONING that says something."""
    return isinstance(value, list) and bool(value) and all(map(_is_entry, value))


def _is_entry(entry: Any) -> bool:
    """Whether it is an embedding with its options."""
    pair = isinstance(entry, (list, tuple)) and len(entry) == 2
    return pair and isinstance(entry[0], Tensor) and isinstance(entry[1], dict)
