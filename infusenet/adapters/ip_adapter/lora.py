"""LoRAs of a UNet: fused for good, as those that make SDXL quick, or beside its layers in a run, as FaceID's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor, nn

from ...errors import WeightsError
from ...weights import describe, read_weights

_DOWN = (".lora.down.weight", ".lora_A.weight", ".lora_down.weight", "_lora.down.weight")
_UP = (".lora.up.weight", ".lora_B.weight", ".lora_up.weight", "_lora.up.weight")


class LowRank(NamedTuple):
    """What a LoRA adds to a layer's weight: scale * up @ down. Of a convolution both are kernels; `up` is 1 x 1."""

    down: Tensor
    up: Tensor
    scale: float = 1.0

    def to(self, **place: Any) -> LowRank:
        """On another device or in another dtype; itself where it is there."""
        return self._replace(down=self.down.to(**place), up=self.up.to(**place))

    def delta(self) -> Tensor:
        """In the layer's shape, float32."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return self.scale * product.view(self.up.shape[0], *self.down.shape[1:])


Lora = Mapping[str, LowRank]
"""By the names of a UNet's layers."""


def read_lora(path: Path, unet: Any) -> dict[str, LowRank]:
    """A UNet's LoRA in any layout that diffusers knows (kohya's, PEFT's, its own).

    Raises:
        WeightsError: no LoRA, or one of another network.
    """
    state = read_weights(path)
    try:
        state, alphas = StableDiffusionXLPipeline.lora_state_dict(state, unet_config=unet.config)
    except Exception as error:  # many kinds, all of them about the file's keys
        raise WeightsError(f"{path} is not a LoRA for SDXL ({error}). It seems to be {describe(path)}.") from error
    found: dict[str, LowRank] = {}
    for key, down in state.items():
        ending = next((end for end in _DOWN if key.endswith(end)), None)
        if ending and key.startswith("unet."):
            name = key.removesuffix(ending)
            up = next((state[name + end] for end in _UP if name + end in state), None)
            if up is None:
                raise WeightsError(f"{path} lacks the second half of {name}. Download it again.")
            alpha = next((alphas[one] for one in (f"{name}.alpha", f"{key}.alpha") if one in (alphas or {})), len(down))
            layer = name.removeprefix("unet.").replace(".processor.", ".")
            layer += ".0" * layer.endswith(".to_out")  # the older layouts name the pair of which it is the first
            found[layer] = LowRank(down, up, float(alpha) / len(down))
    check_lora(found, unet, path)
    return found


def check_lora(lora: Lora, unet: nn.Module, path: Path) -> None:
    """Raise WeightsError unless every part of a LoRA belongs to a layer of its shape."""
    layers: dict[str, Any] = dict(unet.named_modules())
    strange = [name for name in lora if name not in layers]
    wrong = [
        name
        for name, (down, up, _) in lora.items()
        if name in layers and (up.shape[0], *down.shape[1:]) != tuple(layers[name].weight.shape)
    ]
    if strange or wrong or not lora:
        why = f"of its {len(lora)} layers, {len(strange)} are unknown and {len(wrong)} have another shape"
        first = f" (first {(strange + wrong)[0]})" if strange or wrong else ""
        raise WeightsError(
            f"{path} does not fit this backbone's UNet: {why if lora else 'it has no layers'}{first}. "
            "Choose a LoRA made for this backbone: an SDXL one for SDXL."
        )


def fuse(unet: nn.Module, lora: Lora) -> None:
    """Add a LoRA to a UNet's weights, for good."""
    layers: dict[str, Any] = dict(unet.named_modules())
    with torch.no_grad():
        for name, part in lora.items():
            weight = layers[name].weight
            weight.copy_(weight.float() + part.delta().to(weight.device))


@contextmanager
def beside(unet: nn.Module, lora: Lora, weight: Callable[[], float] = lambda: 1.0) -> Iterator[None]:
    """While it lasts, linear layers also give what a LoRA adds; their weights stay as they are.

    Args:
        unet: the network.
        lora: of its linear layers, on the device and in the dtype in which they run.
        weight: how much of it, asked at every call of a layer.
    """
    layers: dict[str, nn.Module] = dict(unet.named_modules())
    with ExitStack() as hooks:
        for name, part in lora.items():
            hooks.callback(layers[name].register_forward_hook(_adding(part, weight)).remove)
        yield


def _adding(part: LowRank, weight: Callable[[], float]) -> Any:
    def add(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        scale = weight() * part.scale
        if scale == 0:
            return out
        return out + scale * nn.functional.linear(nn.functional.linear(given[0], part.down), part.up)

    return add
