"""What goes through FLUX's two streams, and what InfuseNet adds: norms taken by hooks that change nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ..flux.blocks import Blocks, Residuals, arguments_of, blocks_of


@dataclass(frozen=True)
class StreamRecord:
    """One call of a FLUX network; a value a block, means over the batch.

    Attributes:
        double: text-stream over image-stream norm of the attention output before its projection, in double blocks.
        single: likewise in single blocks, by token range.
        residual_double: norm of InfuseNet's residual as applied, strength included, over the hidden state it is added
            to; 0 where a block gets none, None where no block does. Of several ControlNets it is their sum's.
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

    residuals: tuple[Residuals, Residuals]
    text_tokens: int = 0
    text: dict[int, Tensor] = field(default_factory=dict)
    image: dict[int, Tensor] = field(default_factory=dict)
    single: dict[int, Tensor] = field(default_factory=dict)
    ratios: tuple[dict[int, Tensor], dict[int, Tensor]] = field(default_factory=lambda: ({}, {}))


class StreamNorms:
    """Listens to a FLUX network inside a `with` block; afterwards no hook is left.

    Outputs are bit-identical with and without: nothing is written to, and no random number is drawn.

    Args:
        network: diffusers' FluxTransformer2DModel or FluxControlNetModel, or ComfyUI's Flux or ControlNetFlux. In a
            ComfyUI MODEL it is `model.model.diffusion_model`; there one call may hold positive and negative in a batch.

    Raises:
        TypeError: another network.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._blocks: Blocks = blocks_of(network)
        self._arguments = arguments_of(network)
        self._handles: list[Any] = []
        self._call: _Call | None = None
        self._calls: list[_Call] = []

    @property
    def records(self) -> list[StreamRecord]:
        """One for each finished call of the network, in order."""
        return [_record(call) for call in self._calls]

    def of_steps(self, steps: int) -> list[StreamRecord]:
        """The record of each step of a run of so many; with true CFG that of the positive branch, which goes first."""
        return self.records[:: len(self._calls) // steps]

    def __enter__(self) -> StreamNorms:
        add = self._handles.append
        add(self._network.register_forward_pre_hook(self._begin, with_kwargs=True))
        add(self._network.register_forward_hook(self._end))
        for index, double in enumerate(self._blocks.doubles):
            add(double.image.register_forward_pre_hook(lambda _, given, at=index: self._image(at, given[0])))
            add(double.text.register_forward_pre_hook(lambda _, given, at=index: self._text(at, given[0])))
            add(double.block.register_forward_hook(lambda _, __, returned, at=index: self._after_double(at, returned)))
        for index, single in enumerate(self._blocks.singles):
            add(
                single.joint.register_forward_pre_hook(
                    lambda _, given, at=index, w=single.width: self._joint(at, given[0][..., :w])
                )
            )
            add(single.block.register_forward_hook(lambda _, __, returned, at=index: self._after_single(at, returned)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._call = None

    def _begin(self, _: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._call = _Call(self._blocks.residuals(self._arguments(given, named)))

    def _end(self, *_: Any) -> None:
        if self._call is not None:
            self._call.residuals = (None, None)  # not kept alive
            self._calls.append(self._call)
        self._call = None

    def _image(self, index: int, stream: Tensor) -> None:
        if self._call is not None:
            self._call.image[index] = token_norm(stream.detach())

    def _text(self, index: int, stream: Tensor) -> None:
        if self._call is not None:
            self._call.text[index] = token_norm(stream.detach())
            self._call.text_tokens = stream.shape[1]

    def _joint(self, index: int, tokens: Tensor) -> None:
        if self._call is not None:
            text, tokens = self._call.text_tokens, tokens.detach()
            self._call.single[index] = norm_ratio(tokens[:, :text], tokens[:, text:])

    def _after_double(self, index: int, returned: Any) -> None:
        if self._call is not None:
            self._compare(0, index, self._blocks.image_after_double(returned))

    def _after_single(self, index: int, returned: Any) -> None:
        if self._call is not None:
            self._compare(1, index, self._blocks.image_after_single(returned, self._call.text_tokens))

    def _compare(self, kind: int, index: int, hidden: Tensor) -> None:
        """A block is done, and a residual is about to be added to the image stream."""
        assert self._call is not None
        residuals = self._call.residuals[kind]
        residual = residuals[index] if residuals is not None and index < len(residuals) else None
        if residual is not None:
            reached = hidden[:, : residual.shape[1]]  # tokens of further pictures may follow
            self._call.ratios[kind][index] = norm_ratio(residual.detach(), reached.detach())


def _record(call: _Call) -> StreamRecord:
    double = {index: call.text[index] / call.image[index] for index in call.image}
    residuals = [
        _values({index: ratios.get(index, torch.zeros(1)) for index in seen}) if ratios else None
        for ratios, seen in zip(call.ratios, (call.image, call.single), strict=True)
    ]
    return StreamRecord(_values(double), _values(call.single), residuals[0], residuals[1])


def _values(found: dict[int, Tensor]) -> tuple[float, ...]:
    return tuple(float(found[index].mean()) for index in sorted(found))
