"""How long a way takes, by all pictures that were timed: so much a picture, a step and an InfuseNet of a backbone.

Single pictures are timed badly on a machine that does other work too; hundreds of them fix three numbers well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from .ways import Way


@dataclass(frozen=True)
class Pace:
    """Seconds of one backbone: of a picture without its steps, of an evaluation, of an InfuseNet beside it."""

    picture: float
    step: float
    infusenet: float

    def seconds(self, way: Way) -> float:
        """How long a picture of a way takes."""
        steps, infusenet = way.calls
        return self.picture + self.step * steps + self.infusenet * infusenet


def paces(timed: Iterable[tuple[Way, float]]) -> dict[str, Pace]:
    """The pace of each backbone, from ways and the seconds that pictures of them took.

    Least squares on the relative error of each way's median, with no negative part. Parts that the ways cannot tell
    apart, such as a step and its InfuseNet where every step had one, share what they take together.
    """
    seconds: dict[str, dict[Way, list[float]]] = defaultdict(lambda: defaultdict(list))
    for way, took in timed:
        seconds[way.backbone][way].append(took)
    return {backbone: _fitted({way: median(each) for way, each in own.items()}) for backbone, own in seconds.items()}


def _fitted(medians: Mapping[Way, float]) -> Pace:
    from scipy.optimize import nnls

    took = np.array([*medians.values()])
    calls = np.array([(1.0, *way.calls) for way in medians]) / took[:, None]
    return Pace(*map(float, nnls(calls, np.ones(len(took)))[0]))
