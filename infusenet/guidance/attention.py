"""What FastFace does to the attention that image queries pay to identity tokens: pure functions, after the softmax.

All take probabilities over identity tokens, [B, heads, queries, tokens], and give another map of that shape whose rows
no longer sum to 1: how much of the identity reaches a place is what they change. Sums are made in float32, results
come in the input's dtype. Unlike the original's, a column without contrast gives no NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..errors import SettingsError

Across = Literal["picture", "batch"]

_LEAST_CONTRAST = 1e-6  # a column that spans less is constant but for rounding
_LEAST_SPREAD = 1e-6  # added to a standard deviation that is divided by
_RIDGE = 8  # roundings that a variance has more, so that these cannot take all of it where tokens cancel out


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
    return (wide(attention) ** power).mul_(scale).clamp_(max=cap).to(attention.dtype)


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
    raw = seen = wide(attention)
    inverted = _marked(invert, raw) if len(invert) else None
    if inverted is not None:
        seen = torch.where(inverted, 1 - raw, raw)
    first = 1 if across == "picture" else 0
    ends = torch.cat(list(seen.aminmax(dim=2, keepdim=True)), dim=2)  # [B, heads, 2, tokens], as of two queries
    low, span = _reach(ends, first)
    edge = span.new_full((), 0.5) if quantile is None else _threshold(seen, quantile, round_quantile)
    shift = edge * -sharpness

    def edged(values: Tensor) -> Tensor:
        """Rising in each head, so that what it makes of a map spans what it makes of the map's ends."""
        return torch.addcdiv(shift, values - low, span, value=sharpness).sigmoid_()

    least, height = _reach(edged(ends), first)
    masked = torch.minimum(span, height) > _LEAST_CONTRAST  # not where either is NaN, as 0 / 0
    mask = torch.where(masked, edged(seen) - least, raw)
    mask.mul_(torch.where(masked, scale / height, scale)).clamp_(0, cap)
    if inverted is not None:
        mask = torch.where(inverted & masked, mask.amax(dim=2, keepdim=True) - mask, mask)
    return mask.to(attention.dtype)


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
    if weight == 1:
        return values  # to the last bit
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    changed = wide(values)
    (spread, mean), (spread_before, mean_before) = _moments(changed, dims), _moments(wide(like), dims)
    mean_after = torch.lerp(mean_before, mean, weight)
    return torch.addcmul(mean_after, changed - mean, _gain(spread, spread_before, weight)).to(values.dtype)


def match_products(changed: Tensor, like: Tensor, values: Tensor, weight: float = 0.7) -> tuple[Tensor, Tensor | None]:
    """What `match_moments` makes of changed @ values against like @ values over the channels, before either is made.

    It is W @ values + t. A query's mean over the channels is a . mean(V), its variance a C a with the tokens'
    covariance C over the channels: both come from the few weights a that it gives the tokens.

    Args:
        changed: a map after a change, [B, heads, queries, tokens].
        like: the map before it.
        values: V, [B, heads, tokens, channels].
        weight: 0..1, the share that stays as it is.

    Returns:
        W [B, heads, queries, tokens] as `changed`; t [B, heads, queries, 1] in float32 at least, or None for zeros.
    """
    if weight == 1:
        return changed, None
    channels, mean, form = _covariance(wide(values))
    both = torch.cat([wide(changed).mT, wide(like).mT], dim=-1)  # [B, heads, tokens, 2 queries]
    product = torch.cat([form, mean.mT], dim=-2) @ both
    spreads = (product[..., :-1, :] * both).sum(-2, keepdim=True).clamp_(min=0).sqrt_()
    (spread, spread_before), (mean, mean_before) = spreads.mT.chunk(2, -2), product[..., -1:, :].mT.chunk(2, -2)
    gain = _gain(spread, spread_before, weight, _LEAST_SPREAD * channels**0.5)
    shift = torch.addcmul(torch.lerp(mean_before, mean, weight), gain, mean, value=-1)
    return (changed * gain).to(changed.dtype), shift


def wide(values: Tensor) -> Tensor:
    """In float32 at least: the difference of two halves that are nearly equal is mostly rounding."""
    return values.float() if values.dtype.itemsize < 4 else values


def _marked(tokens: Sequence[int], like: Tensor) -> Tensor:
    """True at some tokens. Nothing is copied to the device, which would have to be waited for."""
    marked = torch.zeros(like.shape[-1], dtype=torch.bool, device=like.device)
    for token in tokens:
        marked[token] = True
    return marked


def _reach(ends: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """The least of some values over the axes from `first` to the queries, and how far they reach above it."""
    low, high = ends.flatten(first, 2).aminmax(dim=first, keepdim=True)
    return low.unsqueeze(first), (high - low).unsqueeze(first)


def _threshold(values: Tensor, quantile: float, rounded: bool) -> Tensor:
    """The quantile over the queries, [B, heads, 1, tokens], above 0, as torch's, which sorts and has a largest input.

    The two values between which it lies are the least two of those from its rank on. `kthvalue` would do as well, but
    PyTorch refuses it where algorithms have to be deterministic, and on Apple's GPUs.
    """
    rank = float(
        torch.tensor(quantile, dtype=values.dtype, device="cpu") * (values.shape[-2] - 1)
    )  # as rounded in torch
    below = int(rank)
    upper = values.mT.topk(values.shape[-2] - below, sorted=False).values
    pair = upper.topk(min(2, upper.shape[-1]), largest=False).values
    edge = torch.lerp(pair[..., :1], pair[..., -1:], rank - below).mT
    if rounded:
        return edge.half().clamp(min=1e-6).to(values.dtype)  # the least value is rounded too
    return edge.clamp_(min=1e-6)


def _moments(values: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Unbiased standard deviation, of a single value 0, and mean."""
    count = math.prod(values.shape[dim] for dim in dims)
    variance, mean = torch.var_mean(values, dims, correction=min(1, count - 1), keepdim=True)
    return variance.sqrt_(), mean


def _covariance(values: Tensor) -> tuple[int, Tensor, Tensor]:
    """Of tokens over the channels: a number n, means [.., tokens, 1], n times the covariance [.., tokens, tokens]."""
    mean = values.mean(-1, keepdim=True)
    centred = values - mean
    form = centred @ centred.mT
    form.diagonal(dim1=-2, dim2=-1).mul_(1 + _RIDGE * torch.finfo(form.dtype).eps)
    return max(1, values.shape[-1] - 1), mean, form


def _gain(spread: Tensor, before: Tensor, weight: float, least: float = _LEAST_SPREAD) -> Tensor:
    """What deviations from the mean are multiplied by, where `weight` of them stays as it is."""
    return (before / (spread + least)).mul_(1 - weight).add_(weight)


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
