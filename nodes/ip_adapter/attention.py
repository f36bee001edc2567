"""What the host calls in the place of a cross-attention: the text's as before, and the identity's beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.ops
import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor, nn

from ...infusenet.errors import SettingsError
from ...infusenet.guidance.manipulation import Manipulation, Part
from ..infusenet.gate import step_now
from ..infusenet.hint import repeated

Attention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


class Projections(nn.Module):
    """Keys and values of identity tokens, for each cross-attention; the host loads them as it loads its own weights.

    Args:
        layers: (keys, values), [width, text width] each.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.keys = nn.ModuleList(_linear(keys) for keys, _ in layers)
        self.values = nn.ModuleList(_linear(values) for _, values in layers)


def _linear(weight: Tensor) -> nn.Module:
    """The host's layer, which computes in its input's dtype, wherever the weight lies."""
    width, text = weight.shape
    layer = comfy.ops.manual_cast.Linear(text, width, bias=False, device="meta", dtype=weight.dtype)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


@dataclass(frozen=True, eq=False)
class Binding:
    """An IP-Adapter bound to a person: what all layers of a MODEL share. It holds nothing of a run.

    Attributes:
        face: the person's tokens [n, tokens, text width]; one for all pictures, or one each.
        nobody: those of a zero identity [1, tokens, text width], which branches without identity see.
        projections: keys and values.
        strength: what the identity's attention is multiplied by, for each layer.
        window: noise levels between which it acts, (highest, lowest); None = always.
        manipulation: what is done to the attention; None = nothing.
    """

    face: Tensor = field(repr=False)
    nobody: Tensor = field(repr=False)
    projections: Projections = field(repr=False)
    strength: Sequence[float]
    window: tuple[float, float] | None = None
    manipulation: Manipulation | None = None
    _seen: list[Any] = field(default_factory=lambda: [None, True, 0], repr=False)

    def __deepcopy__(self, memory: dict[int, Any]) -> Binding:
        """Itself: hosts of 2025 copy a MODEL's options deeply with every node, and it never changes."""
        return self

    def now(self, options: Mapping[str, Any]) -> tuple[bool, int]:
        """Whether it acts in this evaluation, and at which step; the noise level is read once for all layers."""
        if self.window is None and self.manipulation is None:
            return True, 0
        sigmas = options["sigmas"]
        if self._seen[0] is not sigmas:
            sigma = float(sigmas.max())
            acts = self.window is None or self.window[1] <= sigma <= self.window[0]
            self._seen[:] = [sigmas, acts, step_now(dict(options), sigma) or 0]
        return self._seen[1], self._seen[2]

    def tokens(self, sides: Sequence[int], like: Tensor) -> Tensor:
        """The tokens of a batch: the person's where the host says 0, nobody's where it says 1.

        Args:
            sides: `cond_or_uncond`, one for each of the branches that lie in the batch one after the other.
            like: of the batch's size, device and dtype.
        """
        images = len(like) // len(sides)
        parts = [repeated(self.nobody if side == 1 else self.face, images) for side in sides]
        return torch.cat(parts).to(like)


class IdentityAttention:
    """One layer's cross-attention.

    Args:
        binding: what the layers share.
        index: of the layer in the file.
        part: of the UNet; in the middle (None) attention is never manipulated.
        before: what stood in this place: another adapter's; None = the host's own attention.
    """

    def __init__(self, binding: Binding, index: int, part: Part | None, before: Attention | None = None) -> None:
        self._binding, self._index, self._part, self._before = binding, index, part, before

    def __deepcopy__(self, memory: dict[int, Any]) -> IdentityAttention:
        """Itself, see `Binding`."""
        return self

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """Attention before the output projection: [B, queries, width] of queries, text keys and text values."""
        heads, binding = extra_options["n_heads"], self._binding
        if self._before is not None:
            out = self._before(q, k, v, extra_options)
        else:
            precision = extra_options.get("attn_precision")
            out = optimized_attention(q, k, v, heads, attn_precision=precision, transformer_options=extra_options)
        strength, (acts, step) = binding.strength[self._index], binding.now(extra_options)
        if not strength or not acts:
            return out
        tokens = binding.tokens(extra_options["cond_or_uncond"], q)
        key, value = (layers[self._index](tokens) for layers in (binding.projections.keys, binding.projections.values))
        return out + strength * self._identity(q, key, value, heads, step)

    def _identity(self, q: Tensor, key: Tensor, value: Tensor, heads: int, step: int) -> Tensor:
        """What a layer takes from the identity, [B, queries, width]."""
        manipulation = self._binding.manipulation
        if manipulation is None or self._part is None or not manipulation.acts(step):
            return optimized_attention(q, key, value, heads)
        q, key, value = (tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in (q, key, value))
        attention = (q @ key.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return manipulation.gather(attention, value, self._part, step).transpose(1, 2).flatten(2)

    def add(self, *_: Any, **__: Any) -> None:
        """How IPAdapter_plus would join in; it would change every MODEL that has this layer.

        Raises:
            SettingsError: always; the other order works.
        """
        raise SettingsError("Put Apply IP-Adapter after the nodes of IPAdapter_plus, not before them.")
