"""What goes through FLUX's two streams, and what InfuseNet adds: norms taken by hooks that change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class StreamRecord:
    """One call of a FLUX transformer; a value a block, means over the batch.

    Attributes:
        double: text-stream over image-stream norm of the attention output before its projection, in double blocks.
        single: likewise in single blocks, by token range.
        residual_double: norm of InfuseNet's residual as applied over the hidden state it is added to; None without.
        residual_single: likewise in single blocks.
    """

    double: tuple[float, ...]
    single: tuple[float, ...]
    residual_double: tuple[float, ...] | None
    residual_single: tuple[float, ...] | None


def token_norm(stream: Tensor) -> Tensor:
    """Root mean square over tokens of their L2 norms, so that streams of different lengths can be compared.

    Args:
        stream: [B, tokens, width], any float dtype.

    Returns:
        [B] float32. NaN without tokens.
    """
    return stream.float().square().sum(-1).mean(-1).sqrt()


def norm_ratio(above: Tensor, below: Tensor) -> Tensor:
    """`token_norm` of one stream over another's.

    Args:
        above: [B, tokens, width].
        below: [B, tokens, width]; another number of tokens is allowed.

    Returns:
        [B] float32, at least 0. NaN where the lower one is zero.
    """
    floor = token_norm(below)
    return token_norm(above) / torch.where(floor > 0, floor, torch.nan)


@dataclass
class _Call:
    """What is known of the call in progress: norms as tensors, so that a GPU is not waited for."""

    text_tokens: int
    text: dict[int, Tensor] = field(default_factory=dict)
    double: dict[int, Tensor] = field(default_factory=dict)
    single: dict[int, Tensor] = field(default_factory=dict)
    residuals: tuple[Sequence[Tensor] | None, Sequence[Tensor] | None] = (None, None)
    ratios: tuple[dict[int, Tensor], dict[int, Tensor]] = field(default_factory=lambda: ({}, {}))


class StreamNorms:
    """Listens to a diffusers FLUX transformer inside a `with` block; afterwards no hook is left.

    Outputs are bit-identical with and without: nothing is written to, and no random number is drawn.

    Args:
        transformer: diffusers' FluxTransformer2DModel.
    """

    def __init__(self, transformer: Any) -> None:
        self._transformer = transformer
        self._handles: list[Any] = []
        self._call: _Call | None = None
        self._calls: list[_Call] = []

    @property
    def records(self) -> list[StreamRecord]:
        """One for each finished call of the transformer, in order."""
        return [_record(call) for call in self._calls]

    def __enter__(self) -> StreamNorms:
        model, add = self._transformer, self._handles.append
        add(model.register_forward_pre_hook(self._begin, with_kwargs=True))
        add(model.register_forward_hook(self._end))
        for place, block in enumerate(model.transformer_blocks):
            # diffusers projects the image stream first
            add(block.attn.to_out[0].register_forward_pre_hook(lambda _, given, at=place: self._image(at, given[0])))
            add(block.attn.to_add_out.register_forward_pre_hook(lambda _, given, at=place: self._text(at, given[0])))
            add(block.register_forward_hook(lambda _, __, made, at=place: self._after(0, at, made[1])))
        for place, block in enumerate(model.single_transformer_blocks):
            width = block.proj_out.out_features  # what follows is the MLP's
            add(
                block.proj_out.register_forward_pre_hook(
                    lambda _, given, at=place, w=width: self._joint(at, given[0][..., :w])
                )
            )
            add(block.register_forward_hook(lambda _, __, made, at=place: self._after(1, at, made[1])))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._call = None

    def _begin(self, _: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        text = named["encoder_hidden_states"] if "encoder_hidden_states" in named else given[1]
        residuals = named.get("controlnet_block_samples"), named.get("controlnet_single_block_samples")
        self._call = _Call(text.shape[1], residuals=residuals)

    def _end(self, *_: Any) -> None:
        if self._call is not None:
            self._call.residuals = (None, None)  # not kept alive
            self._calls.append(self._call)
        self._call = None

    def _image(self, place: int, stream: Tensor) -> None:
        if self._call is not None:
            self._call.double[place] = token_norm(stream.detach())

    def _text(self, place: int, stream: Tensor) -> None:
        if self._call is not None:
            self._call.text[place] = token_norm(stream.detach())

    def _joint(self, place: int, tokens: Tensor) -> None:
        if self._call is not None:
            text, tokens = self._call.text_tokens, tokens.detach()
            self._call.single[place] = norm_ratio(tokens[:, :text], tokens[:, text:])

    def _after(self, kind: int, place: int, hidden: Tensor) -> None:
        """A block is done, and a residual is about to be added to the image stream."""
        if self._call is None:
            return
        residuals = self._call.residuals[kind]
        if residuals is None or len(residuals) == 0:
            return
        blocks = self._transformer.single_transformer_blocks if kind else self._transformer.transformer_blocks
        every = -(-len(blocks) // len(residuals))
        self._call.ratios[kind][place] = norm_ratio(residuals[place // every].detach(), hidden.detach())


def _record(call: _Call) -> StreamRecord:
    double = {place: call.text[place] / call.double[place] for place in call.double}
    residuals = [_values(ratios) if ratios else None for ratios in call.ratios]
    return StreamRecord(_values(double), _values(call.single), residuals[0], residuals[1])


def _values(found: dict[int, Tensor]) -> tuple[float, ...]:
    return tuple(float(found[place].mean()) for place in sorted(found))
