"""From what IP-Adapter FaceID reads to the tokens that a UNet attends to: by the published keys, without diffusers."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ...weights import Shapes, depth_of
from ..infusenet.resampler import HEAD_SIZES, PerceiverAttention, feed_forward


class FaceProjection(nn.Module):
    """FaceID: a face's embedding becomes tokens. Published sizes: 512 -> 4 x 2048 (SDXL) or 4 x 768.

    Args:
        embedding: length of the embedding.
        hidden: width inside.
        tokens: tokens out.
        width: of the tokens; the UNet's text is as wide.
    """

    def __init__(self, embedding: int, hidden: int, tokens: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Linear(embedding, hidden), nn.GELU(), nn.Linear(hidden, tokens * width))
        self.norm = nn.LayerNorm(width)

    def forward(self, embedding: Tensor, look: Tensor | None = None) -> Tensor:
        """Tokens [n, tokens, width].

        Args:
            embedding: of the faces, unit vectors [n, d]; zeros stand for nobody.
            look: not used.
        """
        width = self.norm.weight.shape[0]
        out: Tensor = self.norm(self.proj(embedding).unflatten(1, (-1, width)))
        return out

    @classmethod
    def sized_like(cls, tensors: Shapes) -> FaceProjection:
        """An untrained one of the sizes that a file's shapes show."""
        return cls(*_face_sizes(tensors))


class FaceLookProjection(FaceProjection):
    """FaceID plus v2: the tokens of the embedding, and what they find in the face's look, added up.

    Args:
        embedding, hidden, tokens, width: see `FaceProjection`.
        dim: width of the resampler.
        look: width of CLIP's hidden states, 1280 for ViT-H.
        depth: layers of the resampler.
        heads: its attention heads.
        dim_head: size of a head.
        inner: width inside its feed-forward parts.
    """

    def __init__(
        self,
        embedding: int,
        hidden: int,
        tokens: int,
        width: int,
        *,
        dim: int,
        look: int,
        depth: int,
        heads: int,
        dim_head: int,
        inner: int,
    ) -> None:
        super().__init__(embedding, hidden, tokens, width)
        self.perceiver_resampler = _Perceiver(dim, look, width, depth, heads, dim_head, inner)

    def forward(self, embedding: Tensor, look: Tensor | None = None) -> Tensor:
        """Tokens [n, tokens, width].

        Args:
            embedding: of the faces, unit vectors [n, d]; zeros stand for nobody.
            look: CLIP's last hidden states but one of the aligned faces, [n, patches, dim].
        """
        tokens = super().forward(embedding)
        found: Tensor = self.perceiver_resampler(tokens, look)
        return tokens + found

    @classmethod
    def sized_like(cls, tensors: Shapes) -> FaceLookProjection:
        """An untrained one of the sizes that a file's shapes show."""
        stem = "perceiver_resampler"
        dim, look = tensors[f"{stem}.proj_in.weight"].shape
        attention = tensors[f"{stem}.layers.0.0.to_q.weight"].shape[0]
        size = next(size for size in HEAD_SIZES if attention % size == 0)
        return cls(
            *_face_sizes(tensors),
            dim=dim,
            look=look,
            depth=depth_of(tensors, f"{stem}.layers."),
            heads=attention // size,
            dim_head=size,
            inner=tensors[f"{stem}.layers.0.1.1.weight"].shape[0],
        )


class _Perceiver(nn.Module):
    """IP-Adapter's resampler: tokens [n, t, dim] read a look [n, patches, d] -> [n, t, width]."""

    def __init__(self, dim: int, look: int, width: int, depth: int, heads: int, dim_head: int, inner: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(look, dim)
        self.proj_out = nn.Linear(dim, width)
        self.norm_out = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(dim, heads, dim_head), feed_forward(dim, inner)]) for _ in range(depth)
        )

    def forward(self, latents: Tensor, look: Tensor) -> Tensor:
        x = self.proj_in(look)
        for layer in self.layers:
            attention, widen = cast("nn.ModuleList", layer)
            latents = attention(x, latents) + latents
            latents = widen(latents) + latents
        out: Tensor = self.norm_out(self.proj_out(latents))
        return out


def _face_sizes(tensors: Shapes) -> tuple[int, int, int, int]:
    hidden, embedding = tensors["proj.0.weight"].shape
    (width,) = tensors["norm.weight"].shape
    return embedding, hidden, tensors["proj.2.weight"].shape[0] // width, width
