"""What the host's guider tells of a run: its model, and the InfuseNets on its conditionings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...infusenet.probe.records import same_network
from ..infusenet.adapter import InfuseNetControl, chain
from ..infusenet.notices import notices_of


def infusenets(guider: Any) -> Iterator[InfuseNetControl]:
    """The InfuseNets that a guider's conditionings carry."""
    controls = (control for cond in _conds(guider) for control in chain(cond.get("control")))
    return (control for control in controls if isinstance(control, InfuseNetControl))


def notices_on(guider: Any) -> list[str]:
    """What the nodes before had to say of the identities on a guider's conditionings."""
    return notices_of(_conds(guider))


def _conds(guider: Any) -> list[dict[str, Any]]:
    return [cond for group in getattr(guider, "conds", {}).values() for cond in group]


def size_of(guider: Any, shape: Sequence[int]) -> tuple[int, int]:
    """Width and height in pixels of a picture whose latents have this shape."""
    ratio = getattr(guider.model_patcher.model.latent_format, "spacial_downscale_ratio", 8)
    return int(shape[-1]) * ratio, int(shape[-2]) * ratio


def about(guider: Any, controls: Sequence[InfuseNetControl]) -> dict[str, Any]:
    """What the guider tells about the run: model, and how InfuseNet acts."""
    told: dict[str, Any] = {"backbone": type(guider.model_patcher.model).__name__}
    for control in controls[:1]:
        told |= {"strength": float(control.strength), "start": control.window[0], "end": control.window[1]}
        told["recognizer"] = control.recognizer
    return told


def conditions(measuring: str, known: Sequence[str | None]) -> str | None:
    """Which recognizer conditions: of several the one that measures, of which a trace warns; None = not known."""
    names = [name for name in known if name is not None]
    return next((name for name in names if same_network(name, measuring)), names[0] if names else None)
