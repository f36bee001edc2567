"""The Resampler: one ArcFace embedding becomes the 8 identity tokens that InfuseNet reads as its text.

Source: InfiniteYou's `image_proj_model`, a Perceiver resampler. Published sizes: dim 1280, depth 4, 20 heads of 64,
ff_mult 4, 8 queries, 512 -> 4096, 84.6 M parameters. Keys: `latents`, `proj_in`, `proj_out`, `norm_out`,
`layers.N.0.{norm1,norm2,to_q,to_kv,to_out}` (attention), `layers.N.1.{0,1,3}` (feed-forward).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ...errors import WeightsError
from ...weights import Shapes, depth_of, load_checked, load_module, misfit

WHAT = "an identity Resampler"

HEAD_SIZES = (64, 32, 16)
"""Head sizes in use; the largest that divides the attention's width is taken when none is given."""
_UNREADABLE = (KeyError, IndexError, ValueError, StopIteration, RuntimeError, ZeroDivisionError)


class PerceiverAttention(nn.Module):
    """The queries attend to what is read and to themselves.

    Args:
        dim: width of both.
        heads: attention heads.
        dim_head: size of a head.
    """

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, inner * 2, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """What the queries [B, Q, dim] take from x [B, n, dim]: [B, Q, dim]."""
        x, latents = self.norm1(x), self.norm2(latents)  # [B, n, dim], [B, Q, dim]
        query = self._split(self.to_q(latents))
        key, value = map(self._split, self.to_kv(torch.cat((x, latents), dim=1)).chunk(2, dim=-1))
        scale = query.shape[-1] ** -0.25  # on both sides, so that half precision does not overflow
        weights = (query * scale) @ (key * scale).transpose(-2, -1)
        weights = weights.float().softmax(dim=-1).to(weights.dtype)  # float32 whatever the weights are
        out: Tensor = self.to_out((weights @ value).transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, n, dim_head]


def feed_forward(dim: int, inner: int) -> nn.Sequential:
    """A Perceiver layer's second half: norm, widen to `inner`, GELU, back to `dim`."""
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, inner, bias=False), nn.GELU(), nn.Linear(inner, dim, bias=False)
    )


class Resampler(nn.Module):
    """A Perceiver resampler; the defaults are the published sizes.

    Args:
        dim: width inside.
        depth: layers.
        dim_head: size of an attention head.
        heads: attention heads.
        num_queries: tokens out.
        embedding_dim: length of the embedding in.
        output_dim: width of the tokens out.
        ff_mult: the feed-forward's widening.
    """

    def __init__(
        self,
        dim: int = 1280,
        depth: int = 4,
        dim_head: int = 64,
        heads: int = 20,
        num_queries: int = 8,
        embedding_dim: int = 512,
        output_dim: int = 4096,
        ff_mult: int = 4,
    ) -> None:
        super().__init__()
        spread = (3 / dim) ** 0.5  # variance 1 / dim; a normal draw costs a second of imports on the meta device
        self.latents = nn.Parameter(torch.empty(1, num_queries, dim).uniform_(-spread, spread))
        self.proj_in = nn.Linear(embedding_dim, dim)
        self.proj_out = nn.Linear(dim, output_dim)
        self.norm_out = nn.LayerNorm(output_dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(dim, heads, dim_head), feed_forward(dim, dim * ff_mult)])
            for _ in range(depth)
        )

    @property
    def embedding_dim(self) -> int:
        """Length of the embedding that goes in."""
        return self.proj_in.in_features

    @property
    def output_dim(self) -> int:
        """Width of the tokens that come out."""
        return self.proj_out.out_features

    def forward(self, embedding: Tensor) -> Tensor:
        """Identity tokens.

        Args:
            embedding: [B, n, embedding_dim], of the weights' dtype.

        Returns:
            [B, num_queries, output_dim].
        """
        latents = self.latents.expand(embedding.shape[0], -1, -1)
        x = self.proj_in(embedding)
        for layer in self.layers:
            attention, feed_forward = cast("nn.ModuleList", layer)
            latents = attention(x, latents) + latents
            latents = feed_forward(latents) + latents
        out: Tensor = self.norm_out(self.proj_out(latents))
        return out

    @classmethod
    def sized_like(cls, tensors: Shapes, path: object = "the file", *, dim_head: int | None = None) -> Resampler:
        """An untrained Resampler of the sizes that a state dict's or a file header's shapes show.

        Raises:
            WeightsError: the shapes are not a Resampler's.
        """
        try:
            return cls(**_sizes(tensors, dim_head))
        except _UNREADABLE as error:
            raise WeightsError(misfit(tensors, path, WHAT, error, "InfiniteYou's image_proj_model.bin")) from error

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], path: object = "the file", *, dim_head: int | None = None
    ) -> Resampler:
        """The Resampler that a state dict holds, in its own dtype, in evaluation mode, with every key checked.

        Args:
            state: bare keys, as `latents`, `proj_in.weight`.
            path: named in errors.
            dim_head: size of an attention head, which the shapes do not show; by default the largest of HEAD_SIZES
                that divides the width.

        Raises:
            WeightsError: keys or shapes do not fit, or a value is not finite.
        """
        return load_checked(lambda tensors: cls.sized_like(tensors, path, dim_head=dim_head), state, path, WHAT)

    @classmethod
    def from_file(cls, path: str | Path, *, dim_head: int | None = None) -> Resampler:
        """As `from_state`, for a file; nothing is allocated before names and shapes are checked."""
        return load_module(lambda tensors: cls.sized_like(tensors, path, dim_head=dim_head), path, WHAT)


def _sizes(state: Shapes, dim_head: int | None) -> dict[str, int]:
    """The constructor's arguments, read off the shapes."""
    _, num_queries, dim = state["latents"].shape
    inner = state["layers.0.0.to_q.weight"].shape[0]
    if dim_head is None:
        dim_head = next(size for size in HEAD_SIZES if inner % size == 0)
    if inner % dim_head:
        raise ValueError(f"the attention's width {inner} is not a multiple of its heads' {dim_head}")
    output_dim, _ = state["proj_out.weight"].shape
    return {
        "dim": dim,
        "depth": depth_of(state, "layers."),
        "dim_head": dim_head,
        "heads": inner // dim_head,
        "num_queries": num_queries,
        "embedding_dim": state["proj_in.weight"].shape[1],
        "output_dim": output_dim,
        "ff_mult": state["layers.0.1.1.weight"].shape[0] // dim,
    }
