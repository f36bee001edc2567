"""What FastFace does to the attention that image queries pay to identity tokens: pure functions, after the softmax.

All take probabilities over identity tokens, [B, heads, queries, tokens], and give another map of that shape whose rows
no longer sum to 1: how much of the identity reaches a place is what they change. Sums are made in float32, results
come in the input's dtype. Unlike the original's, a column without contrast gives no NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..errors import SettingsError

Across = Literal["picture", "batch"]

_LEAST_CONTRAST = 1e-6  # a column that spans less is constant but for rounding


def scale_power(attention: Tensor, scale: float, power: float = 1.3, cap: float = 10) -> Tensor:
    """Weaken what is attended little, strengthen what is attended much: min(scale A^power, cap).

    Args:
        attention: probabilities A over identity tokens, [B, heads, queries, tokens].
        scale: published are 1.45 in the "up" blocks and 1.55 in the "down" ones.
        power: above 1, more contrast.
        cap: largest value; never reached with the published ones.

    Returns:
        As `attention`. Every value depends on its own alone.

    Raises:
        SettingsError: a value below 0, or none.
    """
    for name, value in (("scale", scale), ("power", power), ("cap", cap)):
        _check_positive(value, name)
    return (scale * wide(attention) ** power).clamp(max=cap).to(attention.dtype)


def soft_mask(
    attention: Tensor,
    sharpness: float,
    quantile: float | None,
    scale: float,
    *,
    invert: Sequence[int] = (0,),
    across: Across = "picture",
    round_quantile: bool = False,
    cap: float = 10,
) -> Tensor:
    """Make each token's attention a soft mask: 0..scale, with a sigmoid's edge at a quantile of the map.

    N = minmax(X), with X = A; Y = minmax(sigmoid(sharpness (N - threshold))); A' = min(scale Y, cap). For a token in
    `invert` X = 1 - A, and A' = max(A') - A' over the queries: the first token's mask is made from where it is not
    attended. The threshold is a quantile of X itself over the queries, as in the original, not of N.

    Args:
        attention: probabilities A over identity tokens, [B, heads, queries, tokens].
        sharpness: slope of the edge; published are 7.5 at the first step and 5 after it, 12.5 without a schedule.
        quantile: 0..1; published are .65, .6 without a schedule. None puts the edge at one half.
        scale: the mask's height; published are 1 at the first step and 1.55 after it.
        invert: tokens whose mask is made inside out.
        across: "picture" takes minima and maxima over one batch item's heads and queries; "batch" over the batch too,
            as the original, so that other pictures, and the branches of guidance, change each other.
        round_quantile: rounds the threshold to half precision, as the original.
        cap: largest value.

    Returns:
        As `attention`. A column without contrast has no mask: it is only scaled.

    Raises:
        SettingsError: another shape, or a value outside what is said here.
    """
    _check_mask(attention, sharpness, quantile, scale, invert, across, cap)
    inverted = torch.zeros(attention.shape[-1], dtype=torch.bool)
    inverted[list(invert)] = True
    inverted = inverted.to(attention.device)
    raw = wide(attention)
    seen = torch.where(inverted, 1 - raw, raw)
    over = (1, 2) if across == "picture" else (0, 1, 2)
    normed, contrast = _minmax(seen, over)
    edge = 0.5 if quantile is None else _threshold(seen, quantile, round_quantile)
    mask, edged = _minmax(torch.sigmoid(sharpness * (normed - edge)), over)
    mask = (scale * mask).clamp(max=cap)
    mask = torch.where(inverted, mask.amax(dim=2, keepdim=True) - mask, mask)
    return torch.where(contrast & edged, mask, (scale * raw).clamp(max=cap)).to(attention.dtype)


def match_moments(values: Tensor, like: Tensor, weight: float = 0.7, dim: int | Sequence[int] = -1) -> Tensor:
    """Blend values with themselves brought to another's mean and spread (AdaIN).

    weight values + (1 - weight) ((values - mean) sd(like) / (sd + 1e-6) + mean(like)).

    Args:
        values: what was changed: a map [B, heads, queries, tokens], or what it gathers [B, heads, queries, channels].
        like: the same before the change, in the same shape.
        weight: 0..1, the share that stays as it is.
        dim: over which means and unbiased standard deviations are taken: of the original's two uses the tokens, and
            a head's channels.

    Returns:
        As `values`.

    Raises:
        SettingsError: shapes that differ, or a weight outside 0..1.
    """
    if values.shape != like.shape:
        raise SettingsError(f"Expected both to have the same shape, got {tuple(values.shape)} and {tuple(like.shape)}.")
    if not 0 <= weight <= 1:
        raise SettingsError(f"Expected a weight between 0 and 1, got {weight}.")
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    changed, before = wide(values), wide(like)
    ratio = _deviation(before, dims) / (_deviation(changed, dims) + 1e-6)
    centred = changed - changed.mean(dims, keepdim=True)
    moved = centred * ratio + before.mean(dims, keepdim=True)
    return (weight * changed + (1 - weight) * moved).to(values.dtype)


def wide(values: Tensor) -> Tensor:
    """In float32 at least: the difference of two halves that are nearly equal is mostly rounding."""
    return values.float() if values.dtype.itemsize < 4 else values


def _minmax(values: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Values brought to 0..1 over some axes, and where they had a contrast to do so."""
    low, high = values.amin(over, keepdim=True), values.amax(over, keepdim=True)
    contrast = high - low > _LEAST_CONTRAST
    return (values - low) / torch.where(contrast, high - low, 1.0), contrast


def _threshold(values: Tensor, quantile: float, rounded: bool) -> Tensor:
    """The quantile over the queries, [B, heads, 1, tokens], above 0. By item: torch's has a largest input."""
    edge = torch.stack([item.quantile(quantile, dim=-2, keepdim=True) for item in values])
    if rounded:
        return edge.half().clamp(min=1e-6).to(values.dtype)  # the least value is rounded too
    return edge.clamp(min=1e-6)


def _deviation(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Unbiased standard deviation; of a single value 0."""
    count = 1
    for dim in dims:
        count *= values.shape[dim]
    return values.std(dims, correction=min(1, count - 1), keepdim=True)


def _check_positive(value: float, name: str) -> None:
    if not 0 <= value < float("inf"):  # NaN fails too
        raise SettingsError(f"Expected a number of 0 or more as {name}, got {value}.")


def _check_mask(
    attention: Tensor,
    sharpness: float,
    quantile: float | None,
    scale: float,
    invert: Sequence[int],
    across: str,
    cap: float,
) -> None:
    if attention.ndim != 4:
        raise SettingsError(f"Expected attention [B, heads, queries, tokens], got {tuple(attention.shape)}.")
    for name, value in (("sharpness", sharpness), ("scale", scale), ("cap", cap)):
        _check_positive(value, name)
    if quantile is not None and not 0 <= quantile <= 1:
        raise SettingsError(f"Expected quantile between 0 and 1, or None for an edge fixed at 0.5, got {quantile}.")
    if across not in ("picture", "batch"):
        raise SettingsError(f'Expected across="picture" or across="batch", got {across!r}.')
    tokens = attention.shape[-1]
    if not all(0 <= token < tokens for token in invert):
        raise SettingsError(f"Expected tokens to invert between 0 and {tokens - 1}, got {list(invert)}.")
