"""A MODEL and a VAE compiled by torch: FLUX's blocks and the VAE's decoder, of the same weights as before.

The host's own TorchCompileModel compiles FLUX whole, and nothing of the host compiles a VAE. Here each kind of block is
compiled once and serves all of its kind. Weights that the host streams while it computes cannot be compiled: as in the
host's node, such a model is loaded afresh with its weights at rest.

Compiled blocks also attend by the kernel that torch itself prefers on such a card. 0.33 puts flash attention first on
every card, and torch as well once it was told so; on an H200 that takes .62 ms, where cuDNN's kernel takes .36 (24
heads, 4,144 tokens, bf16).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from comfy.ldm.flux.layers import DoubleStreamBlock, SingleStreamBlock
from comfy.ldm.modules.attention import attention_pytorch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY, apply_torch_compile_factory
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...infusenet.errors import SettingsError
from ...infusenet.speed.compiled import check_compiler, compile_alike

_KINDS, _CLASSES = ("double_blocks", "single_blocks"), (DoubleStreamBlock, SingleStreamBlock)
_OVERRIDE = "optimized_attention_override"
_PYTORCH = getattr(attention_pytorch, "__wrapped__", attention_pytorch)
_PREFER_CUDNN = ((9, 0), (10, 0))  # the compute capabilities at which torch does, too
_ORDER = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def compiled_model(model: Any) -> Any:
    """A MODEL whose blocks are compiled while it computes; the given one stays as it is.

    Args:
        model: a FLUX as the host's ModelPatcher.

    Raises:
        PackageError: this machine lacks what torch compiles with.
    """
    check_compiler(model.load_device)
    model = at_rest(model)
    model.remove_wrappers_with_key(WrappersMP.APPLY_MODEL, COMPILE_KEY)  # another compilation of it
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, COMPILE_KEY, _Compiled())
    if prefers_cudnn(model.load_device):
        options = model.model_options = {**model.model_options}
        options["transformer_options"] = {_OVERRIDE: attend, **options.get("transformer_options", {})}
    return model


class _Compiled:
    """Puts compiled blocks in the place of a model's own while it computes; those that others have put there stay.

    Of the host's copy of the model on another device, they are that copy's.
    """

    def __init__(self) -> None:
        self._copies: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()

    def __call__(self, executor: Any, *given: Any, **named: Any) -> Any:
        network = executor.class_obj.diffusion_model
        blocks = {
            f"diffusion_model.{kind}.{index}": block
            for kind in _KINDS
            for index, block in enumerate(getattr(network, kind))
            if type(block) in _CLASSES and "forward" not in vars(block)
        }
        new = {block: copy(block) for block in blocks.values() if block not in self._copies}
        compile_alike(new.values())
        self._copies.update(new)
        compiled = {place: self._copies[block] for place, block in blocks.items()}
        return apply_torch_compile_factory(compiled)(executor, *given, **named)


def prefers_cudnn(device: torch.device) -> bool:
    """Whether torch, left alone, would attend by cuDNN on a device; and can be told to."""
    if device.type != "cuda" or torch.version.hip or "set_priority" not in signature(sdpa_kernel).parameters:
        return False
    return torch.cuda.get_device_capability(device) in _PREFER_CUDNN


def attend_by_cudnn(blocks: Iterable[nn.Module]) -> None:
    """Likewise blocks that get no options from their network, as a ControlNet's."""
    for block in blocks:
        block.register_forward_pre_hook(_with_options, with_kwargs=True)


def _with_options(_: Any, args: Any, named: dict[str, Any]) -> Any:
    return args, {"transformer_options": {_OVERRIDE: attend}, **named}


def attend(usual: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *rest: Any, **named: Any) -> Tensor:
    """In the place of the host's attention by torch; any other one that the user has chosen is left at work.

    Args:
        usual: the host's attention.
        q, k, v: [B, heads, tokens, d].
        heads: how many.
        rest, named: the host's further arguments; with a mask, a scale, fewer heads of keys, or another layout, the
            usual attention answers.

    Returns:
        [B, tokens, heads * d].
    """
    special = bool(rest) or any(named.get(name) is not None for name in ("mask", "scale", "enable_gqa"))
    if usual is not _PYTORCH or special or not named.get("skip_reshape") or named.get("skip_output_reshape"):
        return usual(q, k, v, heads, *rest, **named)
    with sdpa_kernel(_ORDER, set_priority=True):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def compiled_vae(vae: Any) -> Any:
    """A VAE whose decoder is compiled; the given one stays as it is.

    Args:
        vae: the host's VAE of FLUX.

    Raises:
        SettingsError: it has no decoder of the usual kind.
        PackageError: this machine lacks what torch compiles with.
    """
    check_compiler(vae.device)
    if not isinstance(getattr(vae.first_stage_model, "decoder", None), nn.Module):
        raise SettingsError("This VAE has no decoder that can be compiled. Choose ae.safetensors, or turn compile off.")
    other = copy(vae)
    other.compiled_from = vae  # so that it is there when it is asked for again
    other.patcher = at_rest(vae.patcher)
    network = other.first_stage_model = copy(other.patcher.model)
    decoder = copy(network.decoder)
    compile_alike([decoder])
    network._modules = {**network._modules, "decoder": decoder}
    return other


def at_rest(patcher: Any) -> Any:
    """Another ModelPatcher of a model whose weights are not streamed; of the same model if they are not anyway."""
    if not getattr(patcher, "is_dynamic", bool)():
        return patcher.clone()
    resting = patcher.clone(disable_dynamic=True)
    for module in resting.model.modules():
        for name, weight in module.named_parameters(recurse=False):
            # loaded without streaming, weights keep their file's dtype on hosts that stream: fp8 would be lost
            weight.data = weight.data.to(getattr(module, f"{name}_comfy_model_dtype", None) or weight.dtype)
    return resting
