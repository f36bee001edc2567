"""Attention manipulation in a joint attention, where identity tokens and image tokens share one softmax, as in FLUX.

FastFace changes the attention A that image queries pay to identity tokens, after the softmax and without renormalising:
A becomes A'. In a joint attention A is never there to be changed, for a fused kernel gives its sum alone. But kernels
also know the logsumexp of each query's scores, and with it A = exp(q.k / sqrt(d) - logsumexp) for the few identity
keys. Adding the sum over these of (A' - A) v is exact, and no attention matrix is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SettingsError
from .attention import wide
from .manipulation import Manipulation, Part, ScalePower, SoftMask


@dataclass(frozen=True, kw_only=True)
class SoftMaskOfShare(SoftMask):
    """A soft mask for identity tokens that have a share of the attention alone, beside thousands of image tokens.

    FastFace's adapter gives its tokens a softmax of their own, so that the largest attention is near 1 and a mask of
    height 1.55 is a little more than that. Here everything counts in each token's largest share in the picture: the
    height, because a mask of 1.55 itself for each of eight tokens ruins the picture, and the quantile, because the
    mask's edge lies in a map of 0..1, where a quantile of the shares themselves would be next to 0, whichever it is.
    """

    def _changed(self, attention: Tensor, part: Part, step: int) -> Tensor:
        largest = attention.amax(2, keepdim=True).amax(1, keepdim=True)  # two short reductions: one long is slower
        largest = largest.clamp_(min=torch.finfo(attention.dtype).tiny)
        return super()._changed(attention / largest, part, step).mul_(largest)


ATTENTIONS: Mapping[str, Callable[[float], Manipulation]] = {
    "scale": lambda scale: ScalePower(up=scale, down=scale),
    "soft mask": lambda scale: SoftMaskOfShare(sharpness=(5.0,), up=(scale,), down=(scale,), inverted=False),
}
"""What the attention to the identity may become in a joint attention, by name: one scale, the same at every step.

Published values otherwise, those of later steps. FastFace turns its adapter's first token inside out; InfuseNet's eight
have none like it.
"""
NO_ATTENTION = "none"
ATTENTION_SCALE = 1.55  # published, for another adapter

_PART: Part = "down"  # a ControlNet's blocks are no halves of a UNet
_CHUNK = 256  # queries whose scores are held at once where no kernel tells the logsumexp


def attention_named(name: str, scale: float = ATTENTION_SCALE) -> Manipulation | None:
    """The manipulation of a name out of `ATTENTIONS`; None for "none".

    Raises:
        SettingsError: another name, or a scale that is none.
    """
    if name == NO_ATTENTION:
        return None
    if name not in ATTENTIONS:
        known = ", ".join((NO_ATTENTION, *ATTENTIONS))
        raise SettingsError(f"Unknown attention {name!r}. Known: {known}.")
    if not 0 <= scale < float("inf"):  # NaN fails too
        raise SettingsError(f"Expected an attention scale of 0 or more, got {scale}. The published one is 1.55.")
    return ATTENTIONS[name](scale)


def manipulated_attention(
    query: Tensor, key: Tensor, value: Tensor, tokens: int, manipulation: Manipulation, step: int
) -> Tensor:
    """Joint attention in which what the image pays to the identity is changed. Identity tokens come first.

    Args:
        query, key, value: [B, heads, tokens + image tokens, d].
        tokens: how many of them are the identity's.
        manipulation: what becomes of their attention.
        step: of the run, from 0.

    Returns:
        [B, heads, tokens + image tokens, d]. The identity's own rows are those of plain attention.
    """
    out, logsumexp = attention_with_logsumexp(query, key, value)
    keys = wide(key[:, :, :tokens]) / query.shape[-1] ** 0.5
    scores = keys @ wide(query[:, :, tokens:]).mT  # [B, heads, tokens, image tokens]: queries lie side by side
    attention = scores.sub_(logsumexp[:, :, None, tokens:]).exp_().mT
    identity = value[:, :, :tokens]
    weights, offset = manipulation.weights(attention, identity, _PART, step)
    _add_change(out[:, :, tokens:], weights, attention, identity, offset)
    return out


@torch.no_grad()
def _add_change(out: Tensor, weights: Tensor, attention: Tensor, values: Tensor, offset: Tensor | None) -> None:
    """out += (weights - attention) @ values + offset, multiplied in the values' dtype, in one pass over out.

    The offset is what the queries pay to one more token, of ones. There are no gradients: changing a fused kernel's
    output forbids them anyway, and without them the difference is rounded where it is written.

    Args:
        out: [B, heads, queries, d], in any layout.
        weights, attention: [B, heads, queries, tokens].
        values: [B, heads, tokens, d].
        offset: [B, heads, queries, 1], or None for zeros.
    """
    batch, heads, queries, tokens = weights.shape
    change = values.new_empty(batch, heads, tokens + (offset is not None), queries)
    torch.sub(weights.mT, attention.mT, out=change[:, :, :tokens])
    if offset is not None:
        change[:, :, tokens:] = offset.mT
        values = F.pad(values, (0, 0, 0, 1), value=1.0)
    for item in range(batch):  # batch and heads lie as one axis in some layouts only
        out[item].baddbmm_(change[item].mT, values[item])


def attention_with_logsumexp(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Attention, with the logsumexp of each query's scores from the same call of a fused kernel where there is one.

    Args:
        query, key, value: [B, heads, tokens, d].

    Returns:
        What `torch.nn.functional.scaled_dot_product_attention` gives, and logsumexp(q.k / sqrt(d)) over the keys,
        float32 [B, heads, tokens].
    """
    out, logsumexp = _kernel(query, key, value)
    if logsumexp is None:
        return out, _logsumexp(query, key)
    tokens = query.shape[2]
    return out, logsumexp.reshape(*query.shape[:2], -1)[..., :tokens].float()  # some have a last axis, some are padded


def _kernel(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor | None]:
    """A fused kernel's output, and its logsumexp if it tells it."""
    aten: Any = torch.ops.aten
    if query.device.type == "cuda":
        cuda = torch.backends.cuda
        params = cuda.SDPAParams(query, key, value, None, 0.0, False, False)
        if cuda.can_use_cudnn_attention(params):
            return aten._scaled_dot_product_cudnn_attention(query, key, value, None, True)[:2]
        if cuda.can_use_efficient_attention(params):
            return aten._scaled_dot_product_efficient_attention(query, key, value, None, True)[:2]
    if query.device.type == "cpu":
        return aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[:2]
    return F.scaled_dot_product_attention(query, key, value), None


def _logsumexp(query: Tensor, key: Tensor) -> Tensor:
    """The same from scores, a few queries at a time."""
    keys = key.mT.float() / query.shape[-1] ** 0.5
    return torch.cat([(some.float() @ keys).logsumexp(-1) for some in query.split(_CHUNK, dim=2)], dim=2)
