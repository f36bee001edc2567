"""What a user should know of an identity: told on its node, and by the conditioning in the report of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ...infusenet.sampling import LITTLE_NOISE

_KEY = "infusenet_notices"  # among a conditioning's options, of which the host keeps those it does not know
_FULL, _NEAR = 0.99, 1e-3  # from where on a first noise level is all noise; noise levels that are the same


def noted(conditioning: list[list[Any]], notices: Iterable[str]) -> list[list[Any]]:
    """A conditioning that carries these notices besides its own; the very same where there is none to add."""
    added = tuple(notices)
    if not added:
        return conditioning
    return [[embedding, {**options, _KEY: (*options.get(_KEY, ()), *added)}] for embedding, options in conditioning]


def notices_of(options: Iterable[dict[str, Any]]) -> list[str]:
    """The notices that conditionings' options carry, each once."""
    return list(dict.fromkeys(notice for one in options for notice in one.get(_KEY, ())))


def never_active(window: tuple[float, float], gate: str) -> str | None:
    """What to say of a run in which an identity was asked and never acted; None where its node has said so before."""
    start, end = window
    if start > end:
        return None
    return (
        f"The identity was not active in any step of this run (start_percent {start:g}, end_percent {end:g}, gate "
        f"{gate}). Move start_percent and end_percent further apart. If another sampler runs the steps between them, "
        "ignore this."
    )


class Start:
    """Where the runs of one identity start: below full noise it can do little."""

    def __init__(self) -> None:
        self.levels: Tensor | None = None  # noise levels of the run that goes on, where they are known
        self._left: float | None = None  # the noise level that the run before ended at

    def remark(self, acted: bool) -> str | None:
        """What to say of a run that is over, if it started from a picture and not where the one before ended."""
        if self.levels is None:
            return None
        first, before = float(self.levels[0]), self._left
        self._left, self.levels = float(self.levels[-1]), None
        return LITTLE_NOISE if acted and first < _FULL and (before is None or abs(first - before) > _NEAR) else None
