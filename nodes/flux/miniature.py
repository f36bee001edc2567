"""The miniature backbones as the host's own MODEL, CLIP and VAE, built from their diffusers folders.

The host tells models by real sizes; here they are read from the folders' config.json, and the classes are the host's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import comfy.text_encoders.t5
import torch
from comfy import sd1_clip
from comfy.text_encoders.flux import FluxClipModel, FluxTokenizer

from ...infusenet.backbones import BackboneSpec
from ...infusenet.errors import WeightsError
from ...infusenet.flux.networks import expected_tensors, flux_config
from ...infusenet.miniature import BACKBONES, WEIGHTS
from ...infusenet.weights import check, read_weights
from ..shared import reloadable
from .layout import fill, host_config

_SHARED = BACKBONES["mini-dev"]  # text encoders and VAE of both variants
_CLIP_POSITIONS = 77
_NO_LIMIT = 99999999


def check_shipped() -> None:
    """Raise WeightsError unless the miniature's weights are there."""
    if not _SHARED.is_dir():
        raise WeightsError(
            f"The miniature's weights are missing from {WEIGHTS}. They come with the pack, so install it again."
        )


def load_model(spec: BackboneSpec, dtype: torch.dtype | None, fast: bool = False) -> Any:
    """A miniature backbone as the host's MODEL.

    Args:
        spec: which.
        dtype: what the weights are stored in; None = as the host prefers on this machine.
        fast: weights in 8 bits are multiplied in 8 bits.
    """
    check_shipped()
    return build_model(BACKBONES[spec.name] / "transformer", spec.title, dtype, fast)


def build_model(
    path: Path, title: str, dtype: torch.dtype | None, fast: bool = False, disable_dynamic: bool = False
) -> Any:
    """A FLUX transformer of any size as the host's MODEL.

    Args:
        path: its diffusers folder or file.
        title: what it is, for errors.
        dtype: what the weights are stored in; None = as the host prefers on this machine.
        fast: weights in 8 bits are multiplied in 8 bits.
        disable_dynamic: keep the weights at rest on hosts that stream them.

    Raises:
        WeightsError: it is another model's, or tensors are missing, unexpected or of other shapes.
    """
    state = read_weights(path)
    config = flux_config(state, path, title)
    check(state, expected_tensors(config, controlnet=False), path, title)
    device = comfy.model_management.get_torch_device()
    family = comfy.supported_models.Flux if config["guidance_embeds"] else comfy.supported_models.FluxSchnell
    model_config = family(host_config(config, path))
    supported = list(model_config.supported_inference_dtypes)
    if dtype is None:
        dtype = comfy.model_management.unet_dtype(
            model_params=0, supported_dtypes=supported, weight_dtype=torch.bfloat16
        )
    model_config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, device, supported))
    model_config.optimizations = {**model_config.optimizations, "fp8": fast}
    model = model_config.get_model({}, "")
    fill(model.diffusion_model, state, dtype)
    model.diffusion_model.eval()
    kind = comfy.model_patcher.ModelPatcher
    if not disable_dynamic:
        kind = getattr(comfy.model_patcher, "CoreModelPatcher", kind)
    patcher = kind(model, load_device=device, offload_device=comfy.model_management.unet_offload_device())
    reloadable(patcher, build_model, path, title, dtype, fast)
    return patcher


def load_vae() -> Any:
    """The miniature's autoencoder as the host's VAE."""
    return load_vae_from(_SHARED / "vae")


def load_vae_from(folder: Path) -> Any:
    """A diffusers folder's AutoencoderKL, of any size, as the host's VAE."""
    check_shipped()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    channels, latents = config["block_out_channels"], config["latent_channels"]
    settings = {
        "double_z": True,
        "z_channels": latents,
        "resolution": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_ch": config["out_channels"],
        "ch": channels[0],
        "ch_mult": [width // channels[0] for width in channels],
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    vae = comfy.sd.VAE(sd=read_weights(folder), config={"params": {"ddconfig": settings, "embed_dim": latents}})
    vae.latent_channels = latents  # the host's guess for its own configs is 4; tiled encoding allocates by it
    reloadable(vae.patcher, lambda disable_dynamic=False: load_vae_from(folder).patcher)
    return vae


def load_clip(length: int) -> Any:
    """The miniature's two text encoders as the host's CLIP.

    Args:
        length: T5 tokens: shorter prompts are padded to it and longer ones cut, as diffusers does.
    """
    check_shipped()
    target = comfy.supported_models_base.ClipTarget(_Tokenizers, _TextEncoders)
    target.params = {}
    clip = comfy.sd.CLIP(target, model_options={"dtype": torch.float32})
    clip.cond_stage_model.load_strictly()
    clip.set_tokenizer_option("t5xxl_min_length", length)
    clip.tokenizer.t5xxl.longest = length
    reloadable(clip.patcher, lambda disable_dynamic=False: load_clip(length).patcher)
    return clip


def _config(folder: str) -> dict[str, Any]:
    return json.loads((_SHARED / folder / "config.json").read_text(encoding="utf-8"))


class _CutTokenizer(sd1_clip.SDTokenizer):
    """Cuts what is too long, with the end token last, as diffusers does; the host would go on."""

    longest = _NO_LIMIT

    def tokenize_with_weights(self, *args: Any, **kwargs: Any) -> list[list[tuple[Any, ...]]]:
        """The host's, cut."""
        return [self._cut(batch) for batch in super().tokenize_with_weights(*args, **kwargs)]

    def _cut(self, tokens: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        if len(tokens) <= self.longest:
            return tokens
        last = next(entry for entry in reversed(tokens) if entry[0] == self.end_token)
        return [*tokens[: self.longest - 1], last]


class _Tokenizers(FluxTokenizer):
    """FLUX's two tokenizers with the miniature's vocabularies."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        from transformers import CLIPTokenizer, T5TokenizerFast

        self.clip_l = sd1_clip.SDTokenizer(
            str(_SHARED / "tokenizer"),
            embedding_directory=embedding_directory,
            embedding_size=_config("text_encoder")["hidden_size"],
            tokenizer_class=CLIPTokenizer,
            max_length=_CLIP_POSITIONS,
        )
        self.t5xxl = _CutTokenizer(
            str(_SHARED / "tokenizer_2"),
            pad_with_end=False,
            embedding_directory=embedding_directory,
            embedding_size=_config("text_encoder_2")["d_model"],
            embedding_key="t5xxl",
            tokenizer_class=T5TokenizerFast,
            has_start_token=False,
            pad_to_max_length=False,
            max_length=_NO_LIMIT,
        )


class _TextEncoders(FluxClipModel):
    """The host's CLIP and T5 at the miniature's sizes."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        torch.nn.Module.__init__(self)
        clip, t5 = _config("text_encoder"), _config("text_encoder_2")
        self.clip_l = sd1_clip.SDClipModel(
            device=device,
            dtype=dtype,
            textmodel_json_config=clip,
            special_tokens={"start": clip["bos_token_id"], "end": clip["eos_token_id"], "pad": clip["pad_token_id"]},
            return_projected_pooled=False,
        )
        words = self.clip_l.operations.Embedding(clip["vocab_size"], clip["hidden_size"], device=device, dtype=dtype)
        self.clip_l.transformer.set_input_embeddings(words)  # the host's is of CLIP's own vocabulary
        self.t5xxl = sd1_clip.SDClipModel(
            device=device,
            dtype=dtype,
            textmodel_json_config={**t5, "dense_act_fn": "gelu_pytorch_tanh"},  # the host's name of gelu_new
            special_tokens={"end": t5["eos_token_id"], "pad": t5["pad_token_id"]},
            model_class=comfy.text_encoders.t5.T5,
        )
        for module in self.t5xxl.modules():
            if hasattr(module, "relative_attention_max_distance"):
                module.relative_attention_max_distance = t5["relative_attention_max_distance"]
        self.dtypes = {dtype}

    def load_strictly(self) -> None:
        """Read both encoders' weights.

        Raises:
            WeightsError: a tensor is missing or unexpected.
        """
        for encoder, folder in ((self.clip_l, "text_encoder"), (self.t5xxl, "text_encoder_2")):
            state = read_weights(_SHARED / folder)
            if folder == "text_encoder" and not any(key.startswith("text_model.") for key in state):
                state = {f"text_model.{key}": value for key, value in state.items()}
            state.pop("encoder.embed_tokens.weight", None)
            state.pop("text_model.embeddings.position_ids", None)
            state = {key: tensor.float() for key, tensor in state.items()}
            missing, unexpected = encoder.transformer.load_state_dict(state, strict=False)
            lost = [key for key in missing if not key.startswith("text_projection")]
            if lost or unexpected:
                raise WeightsError(
                    f"The miniature's {folder} does not match this ComfyUI (missing {lost[:4]}, unexpected "
                    f"{unexpected[:4]}). Install the pack again."
                )
