"""A ready pipeline from files: the shipped miniature, a diffusers folder, or a single FLUX file. Never downloads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

from . import miniature
from .adapters import Adapter
from .adapters.infusenet.model import InfuseNetModel, load_network
from .adapters.infusenet.pipeline import InfuseNetPipeline
from .adapters.ip_adapter.loading import load_sdxl
from .backbones import BACKBONES, BackboneSpec, family_of, get_backbone, published, variant_of
from .errors import SettingsError, WeightsError
from .flux.networks import flux_config
from .speed.compiled import Speed, check_speed, speed_up
from .weights import Shapes, check, describe, load_checked, read_header, read_weights
from .weights.lenders import part, texts
from .weights.original import is_original, to_diffusers

_FLUX = "a FLUX transformer"
_SCHEDULE = ("use_dynamic_shifting", "shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")


def load_pipeline(
    backbone: str | Path,
    infusenet: str | Path | None = None,
    *,
    components: str | Path | None = None,
    expected: str | None = None,
    text_encoders: bool = True,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    offload: str | None = None,
    adapter: Adapter | None = None,
    lora: str | Path | None = None,
    speed: Speed | None = None,
) -> Any:
    """Load a backbone, and what conditions it.

    Args:
        backbone: a name of `BACKBONES` that is shipped ("mini-dev", "mini-schnell", "mini-sdxl") or has a loader of its
            own; a diffusers folder of FLUX or SDXL; or a single safetensors file of a FLUX transformer (bf16 or fp8,
            original or diffusers' layout) or an SDXL UNet, which needs `components`.
        infusenet: InfuseNet's folder or file. By default the miniature's own on a miniature, else none: plain FLUX.
        components: a diffusers FLUX folder that lends what `backbone` lacks: VAE, text encoders, tokenizers, scheduler.
        expected: a name of `BACKBONES` that the weights must match, such as "flux-schnell".
        text_encoders: False leaves them out; then only ready embeddings can be used.
        device: "cuda" where there is one, else "cpu".
        dtype: bfloat16, or float32 on the CPU.
        offload: "model" keeps on the GPU only the networks at work.
        adapter: what conditions, instead of `infusenet`; it is bound to the pipeline.
        lora: of SDXL, what is fused into it, as the LoRA that makes it quick.
        speed: of FLUX, "compile" compiles the blocks of FLUX and InfuseNet and the VAE's decoder, at the first picture
            of each size; "fp8" also keeps and multiplies the blocks' weights in 8 bits, on cards that can (H100, H200).

    Returns:
        The pipeline (`InfuseNetPipeline` for FLUX), whose `spec` holds the backbone's defaults.

    Raises:
        SettingsError: an unknown backbone name, or values that do not fit together.
        WeightsError: files are missing, damaged, another model's, or of another variant than expected.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    if offload not in (None, "model") or (offload and device.type == "cpu"):
        raise SettingsError(f'Expected offload=None, or offload="model" on a GPU, got {offload!r} on {device}.')
    if adapter is not None and infusenet is not None:
        raise SettingsError("Got both infusenet= and adapter=. Pass only one.")
    if speed is not None:
        check_speed(speed, device)
    load = LOADERS[family_of(expected if expected in BACKBONES else backbone)]
    home = torch.device("cpu") if offload else device
    sources: dict[str, Any] = {"components": components, "expected": expected, "text_encoders": text_encoders}
    if lora is not None:
        if load is load_flux:
            raise SettingsError("lora= is for SDXL. Leave it out with FLUX.")
        sources["lora"] = lora
    pipeline = load(backbone, **sources, device=home, dtype=dtype)
    if adapter is not None:
        adapter.bind(pipeline)
    elif infusenet is not None or (pipeline.spec.family == FLUX and pipeline.spec.name in miniature.BACKBONES):
        weights = miniature.INFUSENET if infusenet is None else Path(infusenet)
        pipeline.register_modules(controlnet=InfuseNetModel.beside(pipeline.transformer, weights))
    if speed is not None:
        speed_up(pipeline, speed, device)
    if offload:
        pipeline.enable_model_cpu_offload(device=device)
    return pipeline


def load_flux(
    backbone: str | Path,
    *,
    components: str | Path | None = None,
    expected: str | None = None,
    text_encoders: bool = True,
    device: torch.device,
    dtype: torch.dtype,
) -> InfuseNetPipeline:
    """A FLUX pipeline that nothing conditions yet; arguments as `load_pipeline`'s."""
    folder, lenders, spec = _find(backbone, components, expected)
    transformer, spec = _transformer(folder, spec, expected, dtype, device)
    pipeline = InfuseNetPipeline(
        scheduler=_scheduler(folder, spec),
        vae=load_network(AutoencoderKL, part("vae", lenders, "FLUX"), "a FLUX VAE", dtype=dtype, device=device),
        transformer=transformer,
        controlnet=None,
        **texts("T5EncoderModel", lenders, "FLUX", text_encoders, dtype, device),
    )
    pipeline._spec = spec
    return pipeline


FLUX = "flux"
LOADERS: dict[str, Callable[..., Any]] = {FLUX: load_flux, "sdxl": load_sdxl}
"""What loads a family of backbones: (backbone, components=, expected=, text_encoders=, device=, dtype=) -> a pipeline
that is called as diffusers' are, and has `spec`, `vae` and `scheduler`."""


def _find(
    backbone: str | Path, components: str | Path | None, expected: str | None
) -> tuple[Path, list[Path], BackboneSpec | None]:
    """Where the backbone lies, the folders that lend its other parts, and its spec if the name tells it."""
    if expected is not None:
        get_backbone(expected)
    name = str(backbone)
    path = Path(backbone)
    for mini, folder in miniature.BACKBONES.items():
        if name == mini or os.path.realpath(path) == os.path.realpath(folder):
            return folder, [folder, miniature.BACKBONES["mini-dev"]], BACKBONES[mini]
    if not path.exists():
        spec = get_backbone(name) if name in BACKBONES or path.name == name else None
        where = f"from {spec.source}, and pass the path of the folder" if spec else "and check the path"
        raise WeightsError(f"There are no weights at {path}. Get them {where}.")
    lenders = [Path(folder) for folder in (path, components) if folder is not None and Path(folder).is_dir()]
    if not lenders:
        raise SettingsError(
            f"{path} is a single file, so the VAE, text encoders and tokenizers are missing. Pass components=, a "
            "diffusers FLUX folder that has them."
        )
    return path, lenders, None


def _transformer(
    path: Path, spec: BackboneSpec | None, expected: str | None, dtype: torch.dtype, device: torch.device
) -> tuple[Any, BackboneSpec]:
    """The transformer, once its weights are known to be of the right variant."""
    source = part("transformer", [path], "FLUX") if path.is_dir() else path
    header = read_header(source)
    try:
        variant = variant_of(list(header))
    except WeightsError:
        raise WeightsError(
            f"Expected {_FLUX} in {source}, but it seems to be {describe(source)}. Choose FLUX.1 dev or schnell."
        ) from None
    wanted = BACKBONES[expected] if expected is not None else spec
    if wanted is not None and wanted.variant != variant:
        raise WeightsError(
            f"Expected the weights of {wanted.title} ({wanted.variant}), but {source} holds a FLUX {variant} "
            f"transformer. Set the backbone to {variant}, or choose another file."
        )
    if path.is_dir() or not is_original(header):
        network = load_network(FluxTransformer2DModel, source, _FLUX, dtype=dtype, device=device)
    else:
        network = _original(source, header, dtype, device)
    return network, spec or wanted or published(variant)


def _original(path: Path, header: Shapes, dtype: torch.dtype, device: torch.device) -> Any:
    """A transformer from a single file in the original layout."""

    def build(shapes: Shapes) -> Any:
        return FluxTransformer2DModel.from_config(flux_config(shapes, path, _FLUX))

    with torch.device("meta"):  # by the header first: nothing is read of a file that does not fit
        empty = to_diffusers({key: torch.empty(tuple(info.shape)) for key, info in header.items()})
        check(empty, build(empty).state_dict(), path, _FLUX)
    network = load_checked(build, to_diffusers(read_weights(path)), path, _FLUX)
    return torch.nn.Module.to(network, device=device, dtype=dtype)


def _scheduler(path: Path, spec: BackboneSpec) -> Any:
    """The folder's own scheduler, else one with the backbone's published settings."""
    if (path / "scheduler" / "scheduler_config.json").is_file():
        return FlowMatchEulerDiscreteScheduler.from_pretrained(path / "scheduler", local_files_only=True)
    return FlowMatchEulerDiscreteScheduler(**{name: getattr(spec, name) for name in _SCHEDULE})
