"""How much two faces look alike to a recognizer: the cosine of their embeddings."""

import torch
from torch import Tensor


def cosine_similarity(embeddings: Tensor, reference: Tensor) -> Tensor:
    """Cosine between each embedding and one reference: higher is more alike.

    Args:
        embeddings: [B, d], of any length.
        reference: [d], of any length.

    Returns:
        [B] float32, -1..1. NaN where a vector is zero or not finite.

    Raises:
        ValueError: the shapes do not fit.
    """
    if embeddings.ndim != 2 or reference.ndim != 1 or embeddings.shape[1] != reference.shape[0]:
        raise ValueError(
            f"Expected embeddings [B, d] and a reference [d], got {list(embeddings.shape)} and "
            f"{list(reference.shape)}. Both must come from one recognizer."
        )
    cosines = _unit(embeddings) @ _unit(reference.to(embeddings.device)[None])[0]
    return cosines.clamp(-1.0, 1.0).float()  # clamp keeps NaN


def fuse_embeddings(embeddings: Tensor) -> Tensor:
    """One reference from several pictures of a person: the mean of the unit vectors, brought to length 1.

    Args:
        embeddings: [n, d], n >= 1, of any length.

    Returns:
        [d] float32 of length 1.

    Raises:
        ValueError: no embedding, one that is zero or not finite, or embeddings that cancel out.
    """
    if embeddings.ndim != 2 or embeddings.shape[0] < 1:
        raise ValueError(f"Expected embeddings [n, d] with n >= 1, got {list(embeddings.shape)}.")
    fused = _unit(_unit(embeddings).mean(dim=0, keepdim=True))[0]
    if not bool(torch.isfinite(fused).all()):
        raise ValueError(
            "Expected finite embeddings that do not cancel out. Leave out the pictures without a clear face."
        )
    return fused.float()


def _unit(vectors: Tensor) -> Tensor:
    """Rows of length 1; NaN where a row is shorter than rounding or not finite."""
    vectors = vectors.double()
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(length > 1e-9, length, torch.nan)
