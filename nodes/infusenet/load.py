"""InfuseNet's weights, read into the host's own FLUX ControlNet."""

from __future__ import annotations

import logging
from pathlib import Path

import comfy.ldm.flux.controlnet
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import comfy.utils
import torch

from ...infusenet.flux.networks import expected_tensors, flux_config
from ...infusenet.speed.compiled import check_compiler, compile_alike
from ...infusenet.weights import check, read_header, read_weights
from ..flux.compiled import attend_by_cudnn, prefers_cudnn
from ..flux.layout import fill, host_config
from .adapter import InfuseNetControl

log = logging.getLogger(__name__)

WHAT = "InfuseNet"


def load_infusenet(path: Path, dtype: torch.dtype | None = None, compiled: bool = False) -> InfuseNetControl:
    """Load InfuseNet's weights into the host's FLUX ControlNet, all of them or none.

    Args:
        path: a diffusers folder, sharded or not, or a single file in bf16 or fp8.
        dtype: what the weights are stored in; None = as the host prefers, fp8 files staying fp8.
        compiled: compile its blocks, at the first picture of each size.

    Raises:
        WeightsError: the file is missing, damaged or another model's, or tensors are missing, unexpected or of other
            shapes.
    """
    header = read_header(path)
    config = flux_config(header, path, WHAT)
    expected = expected_tensors(config, controlnet=True)
    check(header, expected, path, WHAT)  # before anything is allocated
    state = read_weights(path)
    check(state, expected, path, WHAT)  # now the values too
    stored = comfy.utils.weight_dtype(state)
    device = comfy.model_management.get_torch_device()
    computed = comfy.supported_models.Flux.supported_inference_dtypes  # bf16 first: fp16 overflows in FLUX's blocks
    if dtype is None:
        dtype = stored if is_fp8(stored) else comfy.model_management.unet_dtype(device, -1, computed, stored)
    manual_cast = comfy.model_management.unet_manual_cast(dtype, device, computed)
    network = comfy.ldm.flux.controlnet.ControlNetFlux(
        latent_input=True,
        control_latent_channels=config["in_channels"] // 4,
        operations=comfy.ops.pick_operations(dtype, manual_cast, disable_fast_fp8=True),
        device=comfy.model_management.unet_offload_device(),
        dtype=dtype,
        **host_config(config, path),
    )
    fill(network, state, dtype)
    # one residual for each of its own blocks: which of the backbone's blocks get it, is told when that is known
    network.main_model_double, network.main_model_single = config["num_layers"], config["num_single_layers"]
    log.info("InfuseNet %s: %s, computed in %s", path.name, dtype, manual_cast or dtype)
    control = InfuseNetControl(network.eval(), load_device=device, manual_cast_dtype=manual_cast)
    if compiled:
        check_compiler(device)
        blocks = [*network.double_blocks, *network.single_blocks]
        compile_alike(blocks)
        if prefers_cudnn(device):
            attend_by_cudnn(blocks)
        offload = comfy.model_management.unet_offload_device()
        # weights that the host streams while it computes cannot be compiled: here they rest
        control.control_model_wrapped = comfy.model_patcher.ModelPatcher(network, device, offload)
    return control


def is_fp8(dtype: torch.dtype | None) -> bool:
    """Whether weights of this dtype are stored in 8 bits."""
    return dtype in (torch.float8_e4m3fn, torch.float8_e5m2)
