"""FastFace's settings as a user writes them, in a command, a specification or a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from .decoupled import Decoupled
    from .manipulation import Manipulation

NONE = "none"


def parse_decoupled(text: str | Decoupled | None) -> Decoupled | None:
    """Decoupled guidance from its words.

    Args:
        text: "none"; a kind, as "identity", with its published weights; or one with weights of its own, step by step,
            as in "identity a=1,1.5,1.5,1 b=1,3,3,1 rescale=0.75" or "direction a=1,1,2 rescale=0". `str()` of a
            `Decoupled` reads so; one that is ready is returned.

    Raises:
        SettingsError: something else is written.
    """
    if not isinstance(text, str) or text == NONE:
        return None if isinstance(text, str) else text
    from .decoupled import KINDS, Decoupled

    kind, *parts = text.split() or [""]
    settings = dict(part.partition("=")[::2] for part in parts)
    if kind not in KINDS or len(settings) < len(parts) or not set(settings) <= {"a", "b", "rescale"}:
        raise _refused(text)
    try:
        values = {name: [float(value) for value in written.split(",")] for name, written in settings.items()}
        (rescale,) = values.pop("rescale", [Decoupled.rescale])
    except ValueError:  # no number, or several to rescale by
        raise _refused(text) from None
    return Decoupled(kind, **values, rescale=rescale)


def parse_attention(text: str | Manipulation | None) -> Manipulation | None:
    """Attention manipulation from its words.

    Args:
        text: "none"; "scale" or "soft mask", with all that was published for SDXL's IP-Adapter, steps and halves of the
            UNet included; or with a scale of one's own, the same everywhere and at all steps (see
            `joint.attention_named`), as in "scale 1.2". A `Manipulation` is returned.

    Raises:
        SettingsError: something else is written.
    """
    if not isinstance(text, str) or text == NONE:
        return None if isinstance(text, str) else text
    from .joint import attention_named
    from .manipulation import ScalePower, SoftMask

    published = {"scale": ScalePower, "soft mask": SoftMask}
    if text in published:
        return published[text]()
    name, _, scale = text.rpartition(" ")
    try:
        return attention_named(name, float(scale))
    except ValueError:
        raise SettingsError(
            f'Expected attention as "none", "scale", "soft mask" or "scale 1.2", got {text!r:.80}.'
        ) from None


def _refused(text: str) -> SettingsError:
    return SettingsError(
        'Expected decoupled guidance as "none", "identity", "text-then-identity", "separate" or "direction", with '
        f"settings such as a=1,1.5,1.5,1 b=1,3,3,1 rescale=0.75 after it, got {text!r:.80}."
    )
