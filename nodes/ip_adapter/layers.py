"""The cross-attentions of the host's UNet, in the order in which IP-Adapter files count them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...infusenet.errors import SettingsError
from ...infusenet.guidance.manipulation import Part

Lora = dict[tuple[int, str], Any]
_PARTS: dict[str, Part | None] = {"input": "down", "output": "up", "middle": None}


@dataclass(frozen=True)
class Layer:
    """One transformer block of the UNet.

    Attributes:
        block: "input", "output" or "middle", as the host names it.
        number: of the block.
        index: of the transformer block in it.
        stem: of its weights' names in the host.
        width: of its attention.
        text_width: of the text that it reads.
    """

    block: str
    number: int
    index: int
    stem: str
    width: int
    text_width: int

    @property
    def part(self) -> Part | None:
        """The half of the UNet in which it lies; None in the middle."""
        return _PARTS[self.block]

    @property
    def key(self) -> tuple[str, int, int]:
        """The host's key of what replaces its cross-attention."""
        return self.block, self.number, self.index


def layers_of(model: Any) -> list[Layer]:
    """The transformer blocks of a MODEL: down, then up, then middle, as diffusers numbers them.

    Raises:
        SettingsError: the MODEL has no UNet with text in cross-attentions.
    """
    network = getattr(model.model, "diffusion_model", None)
    found = list(_walk(network)) if hasattr(network, "input_blocks") else []
    if not found:
        raise SettingsError(
            "Apply IP-Adapter needs a MODEL with Stable Diffusion's UNet, such as SDXL. For FLUX, use Apply InfuseNet "
            "Identity."
        )
    return found


def _walk(network: Any) -> Iterator[Layer]:
    blocks = [("input", number, block) for number, block in enumerate(network.input_blocks)]
    blocks += [("output", number, block) for number, block in enumerate(network.output_blocks)]
    blocks.append(("middle", 0, network.middle_block))
    for name, number, block in blocks:
        stem = f"{name}_block" if name == "middle" else f"{name}_blocks.{number}"
        for place, module in enumerate(block if block is not None else ()):
            for index, inside in enumerate(getattr(module, "transformer_blocks", ())):
                attention = getattr(inside, "attn2", None)
                if attention is not None:
                    inner, text = attention.to_k.weight.shape
                    where = f"diffusion_model.{stem}.{place}.transformer_blocks.{index}"
                    yield Layer(name, number, index, where, int(inner), int(text))


def lora_names(layers: list[Layer], lora: Lora) -> tuple[dict[str, str], dict[str, Any]]:
    """A file's LoRA as the host reads one.

    Args:
        layers: of the MODEL.
        lora: (down, up) by number of the attention and part; attentions are counted self, cross, self, cross.

    Returns:
        ({name: the host's weight}, {name + ".lora_up.weight": tensor and so on}).
    """
    targets, state = {}, {}
    for (number, part), (down, up) in lora.items():
        layer, kind = layers[number // 2], ("attn1", "attn2")[number % 2]
        name = f"{layer.stem}.{kind}.{part}"
        targets[name] = f"{name}{'.0' * (part == 'to_out')}.weight"
        state |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    return targets, state
