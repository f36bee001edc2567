"""FastFace's two ways of reshaping attention to identity tokens, as settings with the published values.

A setting holds no state: which step it is, is told to it. What carries it into a network keeps the step in the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..errors import SettingsError
from .attention import Across, match_moments, match_products, scale_power, soft_mask
from .schedules import as_weights

Part = Literal["down", "up"]
"""A UNet's half. Published values differ between them; the middle block is never changed."""


def part_of(name: str) -> Part | None:
    """The half in which a cross-attention layer lies, by its name in a UNet: `down_blocks.1...attn2`; else None."""
    if not name.endswith("attn2"):
        return None
    return "down" if "down" in name else "up" if "up" in name else None


@dataclass(frozen=True, kw_only=True)
class Manipulation:
    """What the two have in common.

    Attributes:
        blend: what is gathered, and the map before it, is blended with itself at the moments of what was there
            (`match_moments`), with this weight, 0..1; None leaves both as they are.
        tokens: identity tokens that are changed, in this order; None means all.
        steps: steps in which it acts, from 0; None means all.
    """

    blend: float | None = None
    tokens: Sequence[int] | None = None
    steps: Sequence[int] | None = None

    @property
    def neutral(self) -> bool:
        """Whether it changes nothing at any step."""
        return False

    def acts(self, step: int) -> bool:
        """Whether anything is changed at a step."""
        return self.steps is None or step in self.steps

    def map(self, attention: Tensor, part: Part, step: int) -> Tensor:
        """The changed map A', [B, heads, queries, tokens], of probabilities A of that shape."""
        if self.tokens is None:
            return self._changed(attention, part, step)
        tokens, count = list(self.tokens), attention.shape[-1]
        if not all(0 <= token < count for token in tokens):
            raise SettingsError(f"Expected tokens between 0 and {count - 1}, got {tokens}.")
        changed = attention.clone()
        changed[..., tokens] = self._changed(attention[..., tokens], part, step)
        return changed

    def gather(self, attention: Tensor, values: Tensor, part: Part, step: int) -> Tensor:
        """What a layer gets of the identity: A' V, blended.

        Args:
            attention: A, probabilities over identity tokens, [B, heads, queries, tokens].
            values: V, [B, heads, tokens, channels].
            part: where the layer lies.
            step: of the run, from 0.

        Returns:
            [B, heads, queries, channels].
        """
        weights, offset = self.weights(attention, values, part, step)
        gathered = weights @ values
        return gathered if offset is None else gathered + offset.to(gathered.dtype)

    def weights(self, attention: Tensor, values: Tensor, part: Part, step: int) -> tuple[Tensor, Tensor | None]:
        """W [B, heads, queries, tokens] and t [B, heads, queries, 1], or None for zeros, of which `gather` is W V + t.

        Args as of `gather`.
        """
        changed = self.map(attention, part, step)
        if self.blend is None:
            return changed, None
        return match_products(match_moments(changed, attention, self.blend), attention, values, self.blend)

    def _changed(self, attention: Tensor, part: Part, step: int) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ScalePower(Manipulation):
    """Attention raised to a power and scaled (`scale_power`; "AM1"): min(scale A^power, 10).

    Attributes:
        up, down: scale in each half of the UNet.
        power: exponent.
    """

    up: float = 1.45
    down: float = 1.55
    power: float = 1.3

    @property
    def neutral(self) -> bool:
        """Whether it changes nothing at any step."""
        return self.up == self.down == self.power == 1 and self.blend in (None, 1)

    def _changed(self, attention: Tensor, part: Part, step: int) -> Tensor:
        return scale_power(attention, self.up if part == "up" else self.down, self.power)


@dataclass(frozen=True, kw_only=True)
class SoftMask(Manipulation):
    """Attention as a soft mask for each token (`soft_mask`; "AM2"), by step; of each list the last value goes on.

    The defaults are those published together with guidance. Used alone, the original does not blend. Without a
    schedule its values are sharpness 12.5, quantile .6, up 1.45 and down 1.55.

    Attributes:
        sharpness: slope of the mask's edge.
        quantile: where the edge is; None puts it at one half.
        up, down: the mask's height in each half of the UNet.
        inverted: whether the first token's mask is made inside out.
        across: over what minima and maxima are taken, "picture" or, as the original, "batch".
        round_quantile: rounds the edge to half precision, as the original.
    """

    blend: float | None = 0.7
    sharpness: Sequence[float] = (7.5, 5.0, 5.0, 5.0)
    quantile: float | None = 0.65
    up: Sequence[float] = (1.0, 1.55, 1.55, 1.55)
    down: Sequence[float] = (1.0, 1.55, 1.55, 1.55)
    inverted: bool = True
    across: Across = "picture"
    round_quantile: bool = False

    def __post_init__(self) -> None:
        for name in ("sharpness", "up", "down"):
            object.__setattr__(self, name, as_weights(getattr(self, name), name))

    def _changed(self, attention: Tensor, part: Part, step: int) -> Tensor:
        order = list(range(attention.shape[-1]) if self.tokens is None else self.tokens)
        return soft_mask(
            attention,
            _at(self.sharpness, step),
            self.quantile,
            _at(self.up if part == "up" else self.down, step),
            invert=[order.index(0)] if self.inverted and 0 in order else [],
            across=self.across,
            round_quantile=self.round_quantile,
        )


def _at(values: Sequence[float], step: int) -> float:
    return values[min(step, len(values) - 1)]
