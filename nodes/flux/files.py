"""FLUX from the user's own files, through the host's loaders, checked before anything is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
import folder_paths
import torch

from ...infusenet.backbones import BackboneSpec, variant_of
from ...infusenet.errors import SettingsError, WeightsError
from ...infusenet.flux.networks import expected_tensors, flux_config
from ...infusenet.weights import Shapes, TensorInfo, catalogue, check, count_blocks, describe, read_header, read_weights
from .. import paths
from ..shared import reloadable
from ..sockets import NONE
from .layout import to_host_names
from .sizes import LATENT_CHANNELS

CHECKPOINT, DIFFUSERS = "checkpoints/", "diffusers/"
_HEAD = 128  # dimensions of one of FLUX's attention heads
_IN_CHECKPOINT = "model.diffusion_model."
_ENCODERS_IN_CHECKPOINT, _VAE_IN_CHECKPOINT = "text_encoders.", "vae."
_CLIP_OUTER = "text_model."  # left out by transformers 5
_BARE_CLIP_KEY = "encoder.layers.0."
_CLIP_KEY = _CLIP_OUTER + _BARE_CLIP_KEY
_T5_KEY = "encoder.block.0.layer.0.SelfAttention."
_VAE_KEY = "decoder.conv_in.weight"


def model_choices() -> list[str]:
    """What the diffusion_model combo offers: single files, all-in-one checkpoints, diffusers folders."""
    folders = [
        f"{DIFFUSERS}{path.name}"
        for root in paths.roots("diffusers")
        for path in sorted(root.iterdir())
        if (path / "transformer" / "config.json").is_file()
    ]
    checkpoints = [CHECKPOINT + name for name in paths.files("checkpoints")]
    return [NONE, *paths.files("diffusion_models"), *checkpoints, *dict.fromkeys(folders)]


def find_model(name: str, spec: BackboneSpec) -> Path:
    """The file or folder of a diffusion_model entry.

    Raises:
        SettingsError: none was chosen, or it is gone.
    """
    if name == NONE:
        raise SettingsError(
            f"Choose the diffusion_model file of {spec.title}, or set backbone to mini-schnell, which comes with "
            f"the pack.{catalogue.advice(f'flux1-{spec.variant}.safetensors')}"
        )
    for prefix, folder in ((CHECKPOINT, "checkpoints"), (DIFFUSERS, "diffusers")):
        if name.startswith(prefix) and not _is_in(name, "diffusion_models"):
            return paths.find(name.removeprefix(prefix), folder)
    return paths.find(name, "diffusion_models")


def _is_in(name: str, folder: str) -> bool:
    return any((root / name).exists() for root in paths.roots(folder))


def check_transformer(path: Path, spec: BackboneSpec) -> None:
    """Make sure that a file holds the FLUX variant that was chosen, whole.

    Raises:
        WeightsError: it is another model's, damaged, or lacks tensors.
        SettingsError: it is the other variant.
    """
    place = path / "transformer" if path.is_dir() else path
    header = read_header(place)
    bare: Shapes = {key.removeprefix(_IN_CHECKPOINT).removeprefix("diffusion_model."): v for key, v in header.items()}
    if not any(key.startswith(("double_blocks.0.img_attn.", "transformer_blocks.0.attn.add_q_proj.")) for key in bare):
        raise WeightsError(
            f"{path} is not a FLUX.1 transformer: it seems to be {describe(place)}. "
            f"Choose the diffusion_model file of {spec.title}, from {spec.source}."
        )
    if any(key.startswith("controlnet_") for key in bare):
        raise WeightsError(f"{path} is a FLUX ControlNet ({describe(place)}), not the backbone. Choose {spec.title}.")
    found = variant_of(bare)
    if found != spec.variant:
        raise SettingsError(
            f"{path.name} holds FLUX.1 {found}, judging by its weights, but backbone is set to {spec.name}. Set "
            f"backbone to flux-{found}, or choose the file of {spec.title}."
        )
    if "x_embedder.weight" in bare:
        check(bare, expected_tensors(flux_config(bare, path, spec.title), controlnet=False), path, spec.title)
    else:
        _check_original(bare, path, spec)


def _check_original(bare: Shapes, path: Path, spec: BackboneSpec) -> None:
    """Nothing may be missing in the original layout (quantised files hold more)."""
    qkv = bare.get("double_blocks.0.img_attn.qkv.weight")
    entry = bare.get("img_in.weight")
    if qkv is None or entry is None or len(entry.shape) != 2:
        raise WeightsError(
            f"{path} is missing FLUX's first layers. It seems to be {describe(path)}. Download it again."
        )
    config = {
        "in_channels": entry.shape[1],
        "num_layers": count_blocks(bare, "double_blocks."),
        "num_single_layers": count_blocks(bare, "single_blocks."),
        "num_attention_heads": entry.shape[0] // _HEAD,
        "attention_head_dim": _HEAD,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": spec.guidance_embeds,
    }
    expected = expected_tensors(config, controlnet=False)
    wanted = to_host_names({key: torch.empty(shape, device="meta") for key, shape in expected.items()})
    there = {_plain(key) for key in bare}
    missing = [key for key in wanted if _plain(key) not in there]
    if missing or (config["num_layers"], config["num_single_layers"]) != (19, 38):
        found = f"{config['num_layers']} double and {config['num_single_layers']} single blocks"
        raise WeightsError(
            f"{path} is not a complete FLUX.1 transformer: it has {found} (19 and 38 are expected) and is missing "
            f"{len(missing)} tensors{' (' + ', '.join(missing[:4]) + ')' if missing else ''}. Download it again."
        )


def _plain(key: str) -> str:
    """One name for the normalisations' scales, which files and hosts call differently."""
    return key.removesuffix(".scale").removesuffix(".weight") if "_norm." in key else key


def load_model(path: Path, dtype: torch.dtype | None, fast: bool = False, **settings: Any) -> Any:
    """A checked FLUX transformer as the host's MODEL.

    Args:
        path: its file or folder.
        dtype: what the weights are stored in; None = as the host prefers.
        fast: weights in 8 bits are multiplied in 8 bits.
        settings: the host's, when it loads the model afresh.
    """
    settings["model_options"] = {} if dtype is None else {"dtype": dtype}
    if fast:
        settings["model_options"]["fp8_optimizations"] = True
    if path.is_dir():
        model = comfy.sd.load_diffusion_model_state_dict(read_weights(path / "transformer"), **settings)
    else:
        model = comfy.sd.load_diffusion_model(str(path), **settings)
    if model is None:
        raise WeightsError(
            f"ComfyUI does not recognise {path}. Expected a FLUX.1 transformer, but it seems to be "
            f"{describe(path)}. Choose another file."
        )
    reloadable(model, load_model, path, dtype, fast)
    return model


def text_encoder_files(names: list[str], model: Path) -> list[Path]:
    """The two text encoders' files: those chosen, or those that the model's own file or folder holds.

    Raises:
        SettingsError: none chosen and none there.
        WeightsError: not one CLIP-L and one T5.
    """
    if all(name == NONE for name in names):
        return _inner_encoders(model)
    if NONE in names:
        raise SettingsError("FLUX needs two text encoders. Choose clip_l as one text_encoder and t5xxl as the other.")
    files = [paths.find(name, "text_encoders") for name in names]
    _check_encoders(files)
    return files


def _inner_encoders(model: Path) -> list[Path]:
    """The text encoders that come with the transformer: two folders, or the all-in-one checkpoint itself."""
    folders = [model / "text_encoder", model / "text_encoder_2"]
    if model.is_dir() and all(folder.is_dir() for folder in folders):
        _check_encoders(folders)
        return folders
    if not model.is_dir():
        keys = [key for key in read_header(model) if key.startswith(_ENCODERS_IN_CHECKPOINT)]
        kinds = {"clip": any(_CLIP_KEY in key for key in keys), "t5": any(_T5_KEY in key for key in keys)}
        if all(kinds.values()):
            return [model]
        if any(kinds.values()):
            raise WeightsError(
                f"{model.name} holds {'a CLIP-L but no T5' if kinds['clip'] else 'a T5 but no CLIP-L'} text "
                "encoder. Choose clip_l and t5xxl (in models/text_encoders) as text_encoder_1 and text_encoder_2."
            )
    raise SettingsError(
        f"{model.name} holds no text encoders. Choose FLUX's two, clip_l and t5xxl, from "
        f"models/text_encoders.{catalogue.advice('clip_l.safetensors', 't5xxl_fp16.safetensors')}"
    )


def _check_encoders(files: list[Path]) -> None:
    """Raise WeightsError unless these are one CLIP-L and one T5."""
    if {_encoder_kind(file) for file in files} != {"clip", "t5"}:
        seen = "; ".join(f"{file.name} seems to be {describe(file)}" for file in files)
        raise WeightsError(f"Expected one CLIP-L and one T5 XXL text encoder, but {seen}. Choose clip_l and t5xxl.")


def _encoder_kind(path: Path) -> str | None:
    header = read_header(path)
    if any(_T5_KEY in key for key in header):
        return "t5"
    return "clip" if any(_CLIP_KEY in key or key.startswith(_BARE_CLIP_KEY) for key in header) else None


def load_clip(files: list[Path], length: int) -> Any:
    """The host's CLIP of two text encoders, with the variant's least T5 length."""
    embeddings = folder_paths.get_folder_paths("embeddings")
    kind = comfy.sd.CLIPType.FLUX
    if len(files) == 1:
        clip = comfy.sd.load_checkpoint_guess_config(
            str(files[0]), output_vae=False, output_model=False, embedding_directory=embeddings
        )[1]
    elif files[0].is_dir():
        states = [_with_outer_name(read_weights(folder)) for folder in files]
        clip = comfy.sd.load_text_encoder_state_dicts(states, embedding_directory=embeddings, clip_type=kind)
        reloadable(clip.patcher, lambda disable_dynamic=False: load_clip(files, length).patcher)
    else:
        clip = comfy.sd.load_clip([str(file) for file in files], embedding_directory=embeddings, clip_type=kind)
    clip.set_tokenizer_option("t5xxl_min_length", length)
    return clip


def _with_outer_name(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A text encoder's tensors by the names that the host knows."""
    if any(key.startswith(_BARE_CLIP_KEY) for key in state):
        return {_CLIP_OUTER + key: tensor for key, tensor in state.items()}
    return state


def vae_file(name: str, model: Path) -> Path:
    """The VAE's file: the one chosen, or the model's own file or folder if it holds one.

    Raises:
        SettingsError: none chosen and none there.
        WeightsError: not a VAE of 16 channels.
    """
    path = _inner_vae(model) if name == NONE else paths.find(name, "vae")
    first = next((info for key, info in read_header(path).items() if key.endswith(_VAE_KEY)), None)
    if not isinstance(first, TensorInfo) or len(first.shape) != 4 or first.shape[1] != LATENT_CHANNELS:
        raise WeightsError(f"{path} is not FLUX's VAE: it seems to be {describe(path)}. Choose ae.safetensors.")
    return path


def _inner_vae(model: Path) -> Path:
    """Where the VAE lies that comes with the transformer."""
    if model.is_dir() and (model / "vae").is_dir():
        return model / "vae"
    if not model.is_dir() and any(key.startswith(_VAE_IN_CHECKPOINT) for key in read_header(model)):
        return model
    advice = catalogue.advice("ae.safetensors")
    raise SettingsError(f"{model.name} holds no VAE. Choose FLUX's, ae.safetensors, from models/vae.{advice}")


def load_vae(path: Path, inside: bool) -> Any:
    """The host's VAE of a file, or of an all-in-one checkpoint."""
    if inside and path.is_file():
        return comfy.sd.load_checkpoint_guess_config(str(path), output_clip=False, output_model=False)[2]
    state = read_weights(path) if path.is_dir() else comfy.utils.load_torch_file(str(path))
    vae = comfy.sd.VAE(sd=state)
    vae.throw_exception_if_invalid()
    reloadable(vae.patcher, lambda disable_dynamic=False: load_vae(path, inside).patcher)
    return vae
