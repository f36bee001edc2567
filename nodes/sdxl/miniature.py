"""mini-sdxl as the host's own MODEL, CLIP and VAE, built from its diffusers folder.

The host tells models by real sizes; here they are read from the folder's config.json, and the classes are the host's.
"""

from __future__ import annotations

import json
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from comfy import sd1_clip
from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep
from comfy.sdxl_clip import SDXLClipModel, SDXLTokenizer

from ...infusenet.errors import WeightsError
from ...infusenet.miniature import FEW_STEP_LORA, MINI_SDXL
from ...infusenet.weights import read_weights
from ..flux.miniature import check_shipped, load_vae_from
from ..shared import reloadable


def unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """The host's settings of an SDXL UNet.

    Args:
        config: diffusers' own, of a UNet2DConditionModel with one depth for each level.
    """
    channels, blocks = config["block_out_channels"], config["layers_per_block"]
    depths = [
        depth if kind.startswith("CrossAttn") else 0
        for depth, kind in zip(config["transformer_layers_per_block"], config["down_block_types"])
    ]
    return {
        "image_size": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": channels[0],
        "channel_mult": [width // channels[0] for width in channels],
        "num_res_blocks": [blocks] * len(channels),
        "transformer_depth": [depth for depth in depths for _ in range(blocks)],
        "transformer_depth_output": [depth for depth in depths for _ in range(blocks + 1)],
        "transformer_depth_middle": depths[-1],
        "num_head_channels": channels[0] // config["attention_head_dim"][0],
        "context_dim": config["cross_attention_dim"],
        "adm_in_channels": config["projection_class_embeddings_input_dim"],
        "num_classes": "sequential",
        "use_linear_in_transformer": config["use_linear_projection"],
        "use_spatial_transformer": True,
        "use_temporal_attention": False,
        "legacy": False,
    }


def load_model(few_steps: bool, disable_dynamic: bool = False) -> Any:
    """mini-sdxl as the host's MODEL.

    Args:
        few_steps: with its few-step LoRA.
        disable_dynamic: keep the weights at rest on hosts that stream them.

    Raises:
        WeightsError: the files are missing, or do not fit this host.
    """
    check_shipped()
    stated = _config("unet")
    config = unet_config(stated)
    model_config = comfy.supported_models.SDXL(config)
    model_config.unet_config |= config  # the host's class sets SDXL's own head size
    device, supported = comfy.model_management.get_torch_device(), list(model_config.supported_inference_dtypes)
    dtype = comfy.model_management.unet_dtype(model_params=0, supported_dtypes=supported, weight_dtype=torch.bfloat16)
    model_config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, device, supported))
    model = model_config.get_model({}, "")
    model.embedder = Timestep(stated["addition_time_embed_dim"])  # of the size conditions; SDXL's own are 256 wide
    state = {key: value.to(dtype) for key, value in read_weights(MINI_SDXL / "unet").items()}
    names = comfy.utils.unet_to_diffusers(config)
    model.diffusion_model.load_state_dict({names[key]: value for key, value in state.items()}, strict=True)
    model.diffusion_model.eval()
    kind = comfy.model_patcher.ModelPatcher
    if not disable_dynamic:
        kind = getattr(comfy.model_patcher, "CoreModelPatcher", kind)
    patcher = kind(model, load_device=device, offload_device=comfy.model_management.unet_offload_device())
    reloadable(patcher, load_model, few_steps)
    if few_steps:
        targets = comfy.lora.model_lora_keys_unet(model, {})
        patcher.add_patches(comfy.lora.load_lora(read_weights(FEW_STEP_LORA), targets))
    return patcher


def load_vae() -> Any:
    """mini-sdxl's autoencoder as the host's VAE."""
    return load_vae_from(MINI_SDXL / "vae")


def load_clip() -> Any:
    """mini-sdxl's two text encoders as the host's CLIP."""
    check_shipped()
    target = comfy.supported_models_base.ClipTarget(_Tokenizers, _TextEncoders)
    target.params = {}
    clip = comfy.sd.CLIP(target, model_options={"dtype": torch.float32})
    clip.cond_stage_model.load_strictly()
    reloadable(clip.patcher, lambda disable_dynamic=False: load_clip().patcher)
    return clip


def _config(folder: str) -> dict[str, Any]:
    return json.loads((MINI_SDXL / folder / "config.json").read_text(encoding="utf-8"))


class _Tokenizers(SDXLTokenizer):
    """SDXL's two tokenizers with the miniature's vocabulary; both pad with the end token."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        from transformers import CLIPTokenizer

        self.clip_l, self.clip_g = (
            sd1_clip.SDTokenizer(
                str(MINI_SDXL / folder),
                embedding_directory=embedding_directory,
                embedding_size=_config(encoder)["hidden_size"],
                embedding_key=key,
                tokenizer_class=CLIPTokenizer,
                max_length=_config(encoder)["max_position_embeddings"],
            )
            for folder, encoder, key in (
                ("tokenizer", "text_encoder", "clip_l"),
                ("tokenizer_2", "text_encoder_2", "clip_g"),
            )
        )


class _TextEncoders(SDXLClipModel):
    """The host's two CLIPs at the miniature's sizes."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        torch.nn.Module.__init__(self)
        self.clip_l = _encoder("text_encoder", device, dtype, pooled=False)
        self.clip_g = _encoder("text_encoder_2", device, dtype, pooled=True)
        self.dtypes = {dtype}

    def load_strictly(self) -> None:
        """Read both encoders' weights.

        Raises:
            WeightsError: a tensor is missing or unexpected.
        """
        for encoder, folder in ((self.clip_l, "text_encoder"), (self.clip_g, "text_encoder_2")):
            state = {key: value.float() for key, value in read_weights(MINI_SDXL / folder).items()}
            bare = not any(key.startswith("text_model.") for key in state)
            state = {f"text_model.{key}" if bare else key: value for key, value in state.items()}
            state.pop("text_model.embeddings.position_ids", None)
            missing, unexpected = encoder.transformer.load_state_dict(state, strict=False)
            lost = [key for key in missing if folder == "text_encoder_2" or not key.startswith("text_projection")]
            if lost or unexpected:
                raise WeightsError(
                    f"mini-sdxl's {folder} does not fit this ComfyUI: missing {lost[:4]}, unexpected "
                    f"{unexpected[:4]}. Install the pack again."
                )


def _encoder(folder: str, device: Any, dtype: Any, *, pooled: bool) -> Any:
    """A CLIP text encoder of the folder's sizes, whose text is its last hidden state but one, as SDXL reads it."""
    config = _config(folder)
    encoder = sd1_clip.SDClipModel(
        layer="hidden",
        layer_idx=config["num_hidden_layers"] - 2,  # from the front: of two layers the host takes no -2
        device=device,
        dtype=dtype,
        textmodel_json_config=config,
        special_tokens={"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]},
        layer_norm_hidden_state=False,
        return_projected_pooled=pooled,
    )
    words = encoder.operations.Embedding(config["vocab_size"], config["hidden_size"], device=device, dtype=dtype)
    encoder.transformer.set_input_embeddings(words)  # the host's is of CLIP's own vocabulary
    return encoder
