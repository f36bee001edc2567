"""Pure functions from pictures or embeddings to one number per sample, and `METRICS`, those that tables can have.

Undefined is NaN, never 0. A new metric of finished pictures is one `Metric` in `METRICS`: the table, its column help
and the figures of a sweep follow.
"""

from .base import Metric, Pixels, Subject, Undefined, as_tensor
from .latent import latent_distance, resized
from .perceptual import fitted, lpips_distance
from .quality import rms_contrast, sharpness
from .similarity import copy_paste_score, cosine_similarity, fuse_embeddings

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "sharpness",
            "sharpness",
            "squared gray levels of 0..1",
            "higher",
            "variance of the Laplacian of the luma",
            lambda subject: sharpness(as_tensor(subject.picture)).item(),
            always=True,
        ),
        Metric(
            "contrast",
            "contrast",
            "gray levels of 0..1",
            None,
            "standard deviation of the luma",
            lambda subject: rms_contrast(as_tensor(subject.picture)).item(),
            always=True,
        ),
        Metric(
            "latent_distance",
            "latent distance",
            "relative RMS",
            "lower",
            "relative RMS difference to the reference in the VAE's latent space; empty: not asked for",
            lambda subject: latent_distance(
                as_tensor(subject.picture), resized(subject["reference"], subject.picture.shape), subject["vae"]
            ).item(),
            needs=("reference", "vae"),
        ),
        Metric(
            "lpips",
            "LPIPS (VGG)",
            "LPIPS",
            "lower",
            "LPIPS (VGG) to the first reference, on the middle squares at 512 pixels; empty: no weights",
            lambda subject: lpips_distance(
                fitted(subject.picture), fitted(subject["reference"]), subject["lpips"]
            ).item(),
            needs=("reference", "lpips"),
        ),
        Metric(
            "second_similarity",
            "similarity by a second recognizer",
            "cosine",
            "higher",
            "cosine to the person, by a second recognizer, which takes no part in making the pictures and is not the "
            "main one; empty: no such recognizer, or no face",
            lambda subject: subject["second"](subject.picture),
            needs=("second",),
        ),
        Metric(
            "rank_1",
            "recognised",
            "share of pictures",
            "higher",
            "1 where the second recognizer finds the picture more like its person than like anybody else in the sweep, "
            "0 where it does not or sees no face; empty: no such recognizer, nobody else, or no face in the person's "
            "own picture",
            lambda subject: subject["nearest"](subject.picture),
            needs=("second", "nearest"),
        ),
        Metric(
            "prompt_fit",
            "fit to the prompt",
            "share of 0..1, or CLIP's cosine",
            "higher",
            "for the miniature, the share of what the prompt asks for that a judge recognises in the picture; "
            "otherwise, the cosine between CLIP's text and image; empty: no CLIP, or the prompt asks for "
            "nothing the judge recognises",
            lambda subject: subject["prompt_fit"](subject.picture),
            needs=("prompt_fit",),
        ),
        Metric(
            "face_sharpness",
            "sharpness of the face",
            "squared gray levels of 0..1",
            "higher",
            "like sharpness, but of the face as aligned for the recognizer; empty: no face",
            lambda subject: sharpness(as_tensor(subject["face"])).item(),
            needs=("face",),
        ),
        Metric(
            "face_lpips",
            "LPIPS (VGG) of the face",
            "LPIPS",
            "lower",
            "LPIPS (VGG) of the aligned faces of picture and reference; empty: no weights, or no face",
            lambda subject: lpips_distance(
                as_tensor(subject["face"]), as_tensor(subject["reference_face"]), subject["lpips"]
            ).item(),
            needs=("lpips", "face", "reference_face"),
        ),
    )
}


def of_every_picture(picture: Pixels) -> dict[str, float | None]:
    """The metrics that every finished picture is given (`Metric.always`), by name; None where undefined.

    Args:
        picture: RGB uint8 [H, W, 3].
    """
    return {name: metric(Subject(picture)) for name, metric in METRICS.items() if metric.always}


__all__ = [
    "METRICS",
    "Metric",
    "Subject",
    "Undefined",
    "copy_paste_score",
    "cosine_similarity",
    "fuse_embeddings",
    "of_every_picture",
    "rms_contrast",
    "sharpness",
]
