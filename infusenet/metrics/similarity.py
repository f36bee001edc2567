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


def copy_paste_score(to_reference: Tensor, to_other: Tensor, between: float) -> Tensor:
    """Whether pictures copy the photo they were made from, or show the person: lower is better.

    (angle to the other photo - angle to the reference) / angle between the two photos, of MultiID-Bench. Two photos of
    one person differ; a picture of the person is about as far from either, one that copies the reference lies on it.

    Args:
        to_reference: [B] cosines of the pictures with the photo that they were made from.
        to_other: [B] cosines of the pictures with another photo of the same person.
        between: cosine of the two photos.

    Returns:
        [B] float32, -1..1 up to rounding: 1 the reference itself, 0 as near to either photo, -1 the other photo.
        NaN where a cosine is, and where the two photos are one.

    Raises:
        ValueError: the shapes do not fit.
    """
    if to_reference.ndim != 1 or to_reference.shape != to_other.shape:
        raise ValueError(
            f"Expected two rows of cosines [B], got {list(to_reference.shape)} and {list(to_other.shape)}. "
            "Measure the same pictures against both photos."
        )
    apart = _angle(torch.tensor([between]))
    apart = torch.where(apart > 1e-3, apart, torch.nan)
    return ((_angle(to_other) - _angle(to_reference)) / apart).float()


def _angle(cosines: Tensor) -> Tensor:
    """In radians; of cosines a little beyond 1 by rounding, 0."""
    return torch.arccos(cosines.double().clamp(-1.0, 1.0))


def _unit(vectors: Tensor) -> Tensor:
    """Rows of length 1; NaN where a row is shorter than rounding or not finite."""
    vectors = vectors.double()
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(length > 1e-9, length, torch.nan)
