"""Attention manipulation inside InfuseNet's own blocks, by the host's own way of replacing an attention.

A MODEL's patches do not reach a ControlNet: it calls its blocks without any options. A block takes them, though, and an
attention asks its options whether another one should take its place. So options are handed to the blocks of our one
network, by torch's hooks, while it computes; nothing of the host's modules is altered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.guidance.joint import manipulated_attention
from ...infusenet.guidance.manipulation import Manipulation


@contextmanager
def manipulating(network: Any, manipulation: Manipulation | None, tokens: int) -> Iterator[None]:
    """While it lasts, the blocks of a ControlNet attend by a manipulation.

    Args:
        network: the host's ControlNetFlux.
        manipulation: as at the first step, at all of them; with None, or a neutral one, the stock attention is at work.
        tokens: how many identity tokens go in.

    Raises:
        SettingsError: the host's blocks did not ask for it.
    """
    if manipulation is None or manipulation.neutral:
        yield
        return
    calls = 0

    def attend(_: Any, q: Tensor, k: Tensor, v: Tensor, *rest: Any, **named: Any) -> Tensor:
        """In the place of the host's attention: [B, heads, tokens, d] each, gives [B, tokens, heads * d]."""
        nonlocal calls
        calls += 1
        return manipulated_attention(q, k, v, tokens, manipulation, 0).transpose(1, 2).flatten(2)

    def with_options(_: Any, args: Any, named: dict[str, Any]) -> Any:
        return args, {**named, "transformer_options": {"optimized_attention_override": attend}}

    blocks = [*network.double_blocks, *network.single_blocks]
    hooks = [block.register_forward_pre_hook(with_options, with_kwargs=True) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if calls != len(blocks):
        raise SettingsError(
            "InfuseNet's attention cannot be changed in this version of ComfyUI. Set attention to none, or use a "
            "ComfyUI version that this pack was tested with."
        )
