"""Pure functions from pictures or embeddings to one number per sample. Undefined is NaN, never 0."""

from .quality import rms_contrast, sharpness
from .similarity import copy_paste_score, cosine_similarity, fuse_embeddings

__all__ = ["copy_paste_score", "cosine_similarity", "fuse_embeddings", "rms_contrast", "sharpness"]
