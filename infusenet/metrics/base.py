"""What every metric of a finished picture has: a title, a unit, a direction, what it needs, and a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]  # RGB [H, W, 3]


class Undefined(Exception):
    """What a metric's function raises where there is no value, with the reason as its text."""


@dataclass(frozen=True)
class Subject:
    """A finished picture, and what it may be compared with.

    Attributes:
        picture: RGB uint8 [H, W, 3].
        resources: what metrics need, by name; None or absent where there is none. "reference" is the person's first
            picture RGB uint8 [h, w, 3], "vae" the backbone's own, "lpips" the network of `perceptual.lpips_network`,
            "face" and "reference_face" the aligned faces of picture and reference RGB uint8 [c, c, 3]. Functions of a
            picture that give a number or raise `Undefined`: "second", its cosine with the person by a second
            recognizer, "nearest", whether that finds it more like the person than like anybody else (1 or 0), and
            "prompt_fit", how well it obeys its prompt.
        absent: why there is no such resource, by its name.
    """

    picture: Pixels
    resources: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.resources[name]

    def lacks(self, needs: tuple[str, ...]) -> list[str]:
        """Which of some resources there is none of."""
        return [name for name in needs if self.resources.get(name) is None]


@dataclass(frozen=True)
class Metric:
    """A number that a finished picture is given.

    Attributes:
        name: its key in `METRICS`, and its column in tables.
        title: for axes and headings.
        unit: of its values, in words.
        better: which way is better; None where neither is.
        help: what a column's reader must know; says what undefined means.
        run: Subject -> the value; NaN or None where undefined, or it raises `Undefined` with the reason.
        needs: names of `Subject.resources` without which it is undefined.
        always: measured of every picture, not only where it is asked for.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    help: str
    run: Callable[[Subject], float | None]
    needs: tuple[str, ...] = ()
    always: bool = False

    def __call__(self, subject: Subject) -> float | None:
        """The value; None where undefined or where a resource is missing."""
        return self.reading(subject)[0]

    def reading(self, subject: Subject) -> tuple[float | None, str | None]:
        """The value, and why there is none where that is known."""
        if lacking := subject.lacks(self.needs):
            return None, subject.absent.get(lacking[0], f"there is no {lacking[0]}")
        try:
            value = self.run(subject)
        except Undefined as error:
            return None, str(error)
        return (None if value is None or value != value else float(value)), None


def as_tensor(picture: Pixels) -> Tensor:
    """RGB uint8 [H, W, 3] -> float32 [1, 3, H, W], 0..1."""
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the defined values; None where there is none."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None
