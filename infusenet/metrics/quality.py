"""How crisp a picture is, without a reference: sharpness and contrast of its luma."""

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV turns RGB into gray
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def luma(pictures: Tensor) -> Tensor:
    """Gray values of colour pictures.

    Args:
        pictures: [B, 3, H, W], RGB, 0..1, any float dtype.

    Returns:
        [B, H, W] float32, 0..1.

    Raises:
        ValueError: another shape, or integers.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or not pictures.is_floating_point():
        raise ValueError(
            f"Expected float pictures [B, 3, H, W] from 0 to 1, got {pictures.dtype} {list(pictures.shape)}. "
            "Permute BHWC pictures, and divide 8-bit ones by 255."
        )
    weights = torch.tensor(LUMA, device=pictures.device)
    return torch.einsum("bchw,c->bhw", pictures.float(), weights)


def sharpness(pictures: Tensor) -> Tensor:
    """Variance of the Laplacian of the luma: higher is sharper (and noisier).

    The 4-neighbour Laplacian is taken inside the picture only, so that no border rule enters. It grows with
    resolution and with content: compare pictures of one size and one prompt.

    Args:
        pictures: [B, 3, H, W], RGB, 0..1.

    Returns:
        [B] float32, squared gray levels of 0..1, at least 0. NaN where the picture is smaller than 3x3 or not finite.

    Raises:
        ValueError: another shape, or integers.
    """
    gray = luma(pictures)
    if min(gray.shape[1:]) < 3:
        return gray.new_full((gray.shape[0],), float("nan"))
    kernel = torch.tensor(LAPLACIAN, device=gray.device)[None, None]
    edges = torch.nn.functional.conv2d(gray[:, None], kernel)
    return edges.flatten(1).var(dim=1, correction=0)


def rms_contrast(pictures: Tensor) -> Tensor:
    """Standard deviation of the luma: higher is more contrast.

    Args:
        pictures: [B, 3, H, W], RGB, 0..1.

    Returns:
        [B] float32, 0..0.5. NaN where the picture has no pixel or is not finite.

    Raises:
        ValueError: another shape, or integers.
    """
    gray = luma(pictures).flatten(1)
    if gray.shape[1] == 0:
        return gray.new_full((gray.shape[0],), float("nan"))
    return gray.std(dim=1, correction=0)
