"""Linear layers in 8 bits, weights and products: torch's own scaled product, a scale for each row on both sides.

Halves the blocks' weights and about doubles the rate of their products on cards that multiply in 8 bits. Rounding
e4m3 costs about 3 % of a product's size for random numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import SettingsError

DTYPE = torch.float8_e4m3fn
LARGEST = torch.finfo(DTYPE).max
MULTIPLE = 16  # of a layer's sides, which the product asks for
LEAST = (9, 0)  # compute capability with products of row scales


def check_card(device: torch.device) -> None:
    """Raise SettingsError unless a device multiplies in 8 bits."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= LEAST:
        return
    found = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    raise SettingsError(
        f'speed="fp8" needs an NVIDIA card that multiplies in 8 bits, such as an H100 or H200, got {found}. '
        'Use speed="compile".'
    )


def row_scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix in 8 bits, and what each of its rows was divided by.

    Args:
        x: [rows, columns].

    Returns:
        (float8_e4m3fn [rows, columns], float32 [rows, 1]).
    """
    scale = (x.abs().amax(dim=1, keepdim=True).float() / LARGEST).clamp(min=1e-12)
    return (x / scale).clamp(-LARGEST, LARGEST).to(DTYPE), scale


class Fp8Linear(nn.Module):
    """A linear layer whose weights are kept in 8 bits, and whose input is rounded to 8 bits for the product.

    Args:
        linear: the layer; its weights are read, and let go.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        weight, scale = row_scaled(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.t().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features] in the input's dtype."""
        rows, scale = row_scaled(x.reshape(-1, self.in_features))
        product = torch._scaled_mm(
            rows, self.weight.t(), scale_a=scale, scale_b=self.scale, out_dtype=torch.bfloat16, use_fast_accum=True
        )
        if self.bias is not None:
            product = product + self.bias
        return product.to(x.dtype).reshape(*x.shape[:-1], self.out_features)


def to_fp8(block: nn.Module) -> int:
    """Exchange a block's linear layers, all but those of its norms: these see one row, and set the scale of the rest.

    Returns:
        How many were exchanged.
    """
    count = 0
    for name, linear in list(block.named_modules()):
        parts = name.split(".")
        sides = (linear.in_features, linear.out_features) if isinstance(linear, nn.Linear) else (1,)
        if any(side % MULTIPLE for side in sides) or parts[0].startswith("norm"):
            continue
        setattr(block.get_submodule(".".join(parts[:-1])), parts[-1], Fp8Linear(linear))
        count += 1
    return count
