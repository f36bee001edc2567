"""Attention to an IP-Adapter's tokens, reshaped while a run lasts; before and after it diffusers' own layers act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from torch import Tensor, nn

from ...errors import SettingsError
from ...guidance.manipulation import Manipulation, Part, part_of

_STOCK = (IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0)


@dataclass
class Clock:
    """Which step a run is at. It is the run's own: layers read it and count nothing."""

    step: int = 0


class ReshapedAttention(nn.Module):
    """A cross-attention processor that does what diffusers' does, and reshapes attention to the identity's tokens.

    Text attention is untouched. In steps in which the manipulation rests, the stock processor runs.

    Args:
        stock: the layer's processor, whose keys, values and scales are used.
        manipulation: what is done.
        part: where the layer lies.
        clock: the run's.
    """

    def __init__(self, stock: Any, manipulation: Manipulation, part: Part, clock: Clock) -> None:
        super().__init__()
        self.stock: Any = stock  # in the tree, so that its weights move with the UNet
        self._manipulation, self._part, self._clock = manipulation, part, clock

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Any = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        scale: float = 1.0,
        ip_adapter_masks: Any = None,
    ) -> Tensor:
        """As `IPAdapterAttnProcessor2_0`: hidden states [B, queries, dim], with (text, [identity tokens]).

        Raises:
            SettingsError: regional masks, or text and identity in one tensor.
        """
        if not self._manipulation.acts(self._clock.step):
            rest = attention_mask, temb, scale, ip_adapter_masks
            return self.stock(attn, hidden_states, encoder_hidden_states, *rest)
        if ip_adapter_masks is not None or any(isinstance(strength, list) for strength in self.stock.scale):
            raise SettingsError("Attention cannot be reshaped inside regional masks. Leave out one of the two.")
        if not isinstance(encoder_hidden_states, tuple):
            raise SettingsError(
                "Expected text and identity tokens separately, as (text, [tokens]). Use ip_adapter_image_embeds."
            )
        text, identities = encoder_hidden_states

        def heads(states: Tensor) -> Tensor:
            return states.view(len(hidden_states), -1, attn.heads, states.shape[-1] // attn.heads).transpose(1, 2)

        query = heads(attn.to_q(hidden_states))
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, text.shape[1], len(hidden_states))
            attention_mask = attention_mask.view(len(hidden_states), attn.heads, -1, attention_mask.shape[-1])
        gathered = F.scaled_dot_product_attention(query, heads(attn.to_k(text)), heads(attn.to_v(text)), attention_mask)
        layers = zip(identities, self.stock.scale, self.stock.to_k_ip, self.stock.to_v_ip)
        for tokens, strength, to_key, to_value in layers:
            if strength:
                key, value = heads(to_key(tokens)), heads(to_value(tokens))
                attention = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
                identity = self._manipulation.gather(attention, value, self._part, self._clock.step)
                gathered = gathered + strength * identity
        project, dropout = attn.to_out
        return dropout(project(gathered.transpose(1, 2).flatten(2))) / attn.rescale_output_factor


@contextmanager
def attending(unet: nn.Module, processors: Mapping[str, Any]) -> Iterator[None]:
    """While it lasts, layers of a UNet have other processors, by the layers' names; then their own again."""
    layers: dict[str, Any] = {name: unet.get_submodule(name) for name in processors}
    own = {name: layer.processor for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            layer.set_processor(processors[name])
        yield
    finally:
        for name, layer in layers.items():
            layer.set_processor(own[name])


@contextmanager
def reshaped(unet: nn.Module, manipulation: Manipulation | None, clock: Clock | None) -> Iterator[None]:
    """While it lasts, a UNet's attention to identity tokens is reshaped; then every layer has its own processor again.

    Args:
        unet: with an IP-Adapter loaded.
        manipulation: what is done, in the layers of the "down" and "up" blocks; with None nothing is.
        clock: whoever samples sets its `step`.

    Raises:
        SettingsError: no layer attends to an IP-Adapter in a way that can be reshaped.
    """
    if manipulation is None or clock is None:
        yield
        return
    layers: dict[str, Any] = dict(unet.named_modules())
    ours = {
        name: ReshapedAttention(layer.processor, manipulation, part, clock)
        for name, layer in layers.items()
        if (part := part_of(name)) and isinstance(getattr(layer, "processor", None), _STOCK)
    }
    if not ours:
        raise SettingsError("No IP-Adapter with attention to reshape is loaded. Load one, without xFormers.")
    with attending(unet, ours):
        yield
