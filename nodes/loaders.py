"""Loading: backbone, InfuseNet, identity encoder; from the user's files, or the miniature's, which come along."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io

from ..infusenet import miniature as shipped
from ..infusenet.backbones import BackboneSpec, get_backbone
from ..infusenet.errors import SettingsError
from ..infusenet.weights import catalogue
from . import paths
from .checks import checked, listed
from .flux import files, miniature
from .flux.compiled import compiled_model, compiled_vae
from .infusenet.load import load_infusenet
from .shared import load_once, show
from .sockets import MINIATURE, NONE, EncoderSocket, InfuseNetSocket, schema

log = logging.getLogger(__name__)

BACKBONE_NAMES = ["mini-schnell", "mini-dev", "flux-schnell", "flux-dev"]
_DTYPES = {"default": None, "fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}
_FAST = "fp8_e4m3fn_fast"  # as the host's own loader names it
_DTYPE_TOOLTIP = (
    "How the weights are stored. default: as ComfyUI prefers. fp8 halves the memory; the weights are cast to a higher "
    "precision for computing."
)


class LoadBackbone(io.ComfyNode):
    """FLUX dev or schnell, or their miniatures: MODEL, CLIP and VAE, and the variant's own settings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        encoders = [NONE, *paths.files("text_encoders")]
        return schema(
            "LoadBackbone",
            "Load FLUX Backbone",
            description="Loads FLUX.1 dev or schnell, or a miniature that comes with the pack, and outputs the "
            "variant's own step count and guidance. Licences: FLUX.1 [dev]: its non-commercial licence, no commercial "
            "use of the model. FLUX.1 [schnell], its VAE, T5 and the miniatures: Apache-2.0. CLIP-L: MIT. Switching "
            "to schnell does not lift the terms of InfiniteYou or the face packs.",
            search_aliases=["flux loader", "load flux", "unet loader", "dev", "schnell"],
            inputs=[
                io.Combo.Input(
                    "backbone",
                    options=BACKBONE_NAMES,
                    default=BACKBONE_NAMES[0],
                    tooltip="Which FLUX to load. The miniatures (128x128, drawn faces) come with the pack and need no "
                    "files.",
                ),
                io.Combo.Input(
                    "diffusion_model",
                    options=files.model_choices(),
                    default=NONE,
                    tooltip="The FLUX weights: a file from models/diffusion_models, an all-in-one checkpoint, or a "
                    "diffusers folder. Must match the chosen variant. The miniatures ignore it.",
                ),
                io.Combo.Input(
                    "text_encoder_1",
                    options=encoders,
                    default=NONE,
                    tooltip="clip_l or t5xxl. none: use those in the all-in-one checkpoint or diffusers folder.",
                ),
                io.Combo.Input(
                    "text_encoder_2", options=encoders, default=NONE, tooltip="The other one of clip_l and t5xxl."
                ),
                io.Combo.Input(
                    "vae",
                    options=[NONE, *paths.files("vae")],
                    default=NONE,
                    tooltip="ae.safetensors. none: use the one in the all-in-one checkpoint or diffusers folder.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=[*_DTYPES, _FAST],
                    default="default",
                    tooltip=f"{_DTYPE_TOOLTIP} {_FAST} computes in 8 bits too, on cards that can.",
                ),
                io.Boolean.Input(
                    "compile",
                    default=False,
                    optional=True,
                    tooltip="Compiles FLUX's blocks and the VAE's decoder with torch. The first picture of each size "
                    "takes about a minute longer.",
                ),
            ],
            outputs=[
                io.Model.Output("model", display_name="model"),
                io.Clip.Output("clip", display_name="clip", tooltip="T5 length: 512 tokens for dev, 256 for schnell."),
                io.Vae.Output("out_vae", display_name="vae"),
                io.Int.Output(
                    "steps", display_name="steps", tooltip="The variant's own step count: 4 for schnell, 28 for dev."
                ),
                io.Float.Output(
                    "guidance",
                    display_name="guidance",
                    tooltip="For FluxGuidance: 3.5, dev's own value. schnell has no guidance embedding, so it has no "
                    "effect there.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, diffusion_model=None, text_encoder_1=None, text_encoder_2=None, vae=None) -> bool | str:
        """Whether the files are there; if not, where to get them."""
        files = {"text_encoder_1": text_encoder_1, "text_encoder_2": text_encoder_2, "vae": vae}
        return listed(cls, diffusion_model=diffusion_model, **files)

    @classmethod
    @checked
    def execute(
        cls, backbone, diffusion_model, text_encoder_1, text_encoder_2, vae, weight_dtype, compile=False
    ) -> io.NodeOutput:
        """Load what is not loaded yet."""
        spec = get_backbone(backbone)
        fast = weight_dtype == _FAST
        if fast:
            check_fp8_products()
        dtype = torch.float8_e4m3fn if fast else _DTYPES[weight_dtype]
        if backbone in shipped.BACKBONES:
            model, clip, vae = load_miniature(spec, dtype, fast)
        else:
            model, clip, vae = load_files(spec, diffusion_model, [text_encoder_1, text_encoder_2], vae, dtype, fast)
        if compile:
            model = load_once(lambda base=model: compiled_model(base), "compiled", id(model))
            vae = load_once(lambda base=vae: compiled_vae(base), "compiled", id(vae))
        return io.NodeOutput(model, clip, vae, spec.num_inference_steps, spec.guidance_scale)


def check_fp8_products() -> None:
    """Raise SettingsError unless the host multiplies in 8 bits on this machine; it would compute as usual unasked."""
    device = comfy.model_management.get_torch_device()
    if not comfy.model_management.supports_fp8_compute(device):
        raise SettingsError(
            f"{_FAST} needs a card that multiplies in 8 bits, such as an RTX 40 or 50, H100 or H200. "
            "Choose fp8_e4m3fn, or default."
        )


def load_miniature(spec: BackboneSpec, dtype: torch.dtype | None, fast: bool = False) -> tuple[Any, Any, Any]:
    """A miniature backbone's MODEL, CLIP and VAE."""
    length = spec.max_sequence_length
    return (
        load_once(lambda: miniature.load_model(spec, dtype, fast), "model", spec.name, dtype, fast),
        load_once(lambda: miniature.load_clip(length), "clip", "miniature", length),
        load_once(miniature.load_vae, "vae", "miniature"),
    )


def load_files(
    spec: BackboneSpec,
    diffusion_model: str,
    text_encoders: list[str],
    vae: str,
    dtype: torch.dtype | None,
    fast: bool = False,
) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE from the user's files. All of them are checked before the first is loaded."""
    path = files.find_model(diffusion_model, spec)
    files.check_transformer(path, spec)
    encoders = files.text_encoder_files(text_encoders, path)
    autoencoder = files.vae_file(vae, path)
    length = spec.max_sequence_length
    return (
        load_once(lambda: files.load_model(path, dtype, fast), "model", path, dtype, fast),
        load_once(lambda: files.load_clip(encoders, length), "clip", *encoders, length),
        load_once(lambda: files.load_vae(autoencoder, inside=vae == NONE), "vae", autoencoder),
    )


class LoadInfuseNet(io.ComfyNode):
    """The adapter's weights, as one of the host's ControlNets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "LoadInfuseNet",
            "Load InfuseNet Adapter",
            description="Loads InfuseNet, the adapter that carries a person's identity into FLUX. InfuseNet and the "
            "Resampler must be from the same stage (sim_stage1 or aes_stage2). Licences: InfiniteYou's weights: CC "
            "BY-NC 4.0, no commercial use. The miniature: Apache-2.0.",
            search_aliases=["infiniteyou", "infinite you", "load controlnet", "face swap", "pulid", "instantid"],
            inputs=[
                io.Combo.Input(
                    "infusenet",
                    options=[NONE, MINIATURE, *_infusenet_files()],
                    default=NONE,
                    tooltip="The InfuseNetModel folder, or a single bf16 or fp8 file, from models/infinite_you or "
                    "models/controlnet.\n"
                    "miniature: for the miniature backbones.",
                ),
                io.Combo.Input("weight_dtype", options=list(_DTYPES), default="default", tooltip=_DTYPE_TOOLTIP),
                io.Boolean.Input(
                    "compile",
                    default=False,
                    optional=True,
                    tooltip="Compiles InfuseNet's blocks with torch. The first picture of each size takes longer.",
                ),
            ],
            outputs=[InfuseNetSocket.Output("out_infusenet", display_name="infusenet")],
        )

    @classmethod
    def validate_inputs(cls, infusenet=None) -> bool | str:
        """Whether the file is there; if not, where to get it."""
        return listed(cls, infusenet=infusenet)

    @classmethod
    @checked
    def execute(cls, infusenet, weight_dtype, compile=False) -> io.NodeOutput:
        """Load it, unless it is loaded."""
        what = "InfuseNet: the folder InfuseNetModel, or a single file"
        wanted = "infusenet_sim_bf16.safetensors"
        path = chosen(infusenet, shipped.INFUSENET, what, wanted, paths.INFINITE_YOU, "controlnet")
        dtype = _DTYPES[weight_dtype]
        settings = (path, dtype, compile)
        return io.NodeOutput(load_once(lambda: load_infusenet(*settings), "infusenet", *settings))


def _infusenet_files() -> list[str]:
    folders = [
        name
        for name in paths.subfolders(paths.INFINITE_YOU, "config.json")
        if any((root / name).glob("*.safetensors*") for root in paths.roots(paths.INFINITE_YOU))
    ]
    inside = tuple(f"{folder}/" for folder in folders)
    files = [
        name
        for name in paths.files(paths.INFINITE_YOU, "controlnet")
        if name.endswith((".safetensors", ".sft"))
        and "image_proj" not in name
        and not name.replace("\\", "/").startswith(inside or ("\0",))
    ]
    return [*folders, *files]


class LoadIdentityEncoder(io.ComfyNode):
    """Face detector, the recognizer that conditions, and the Resampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        weights = paths.files(paths.INFINITE_YOU, "facexlib")
        return schema(
            "LoadIdentityEncoder",
            "Load Identity Encoder",
            description="Loads the networks that read a person's identity from photos. Nothing is downloaded. "
            "Licences: image_proj_model: CC BY-NC 4.0. ArcFace IR-SE50: terms unstated, treat as non-commercial. "
            "Every InsightFace pack (antelopev2): non-commercial research only. The miniature: Apache-2.0.",
            search_aliases=["arcface", "insightface", "face analysis", "antelopev2", "faceid", "pulid", "instantid"],
            inputs=[
                io.Combo.Input(
                    "image_proj",
                    options=[NONE, MINIATURE, *(name for name in weights if not _is_shard(name))],
                    default=NONE,
                    tooltip="The Resampler: image_proj_model.bin from models/infinite_you, from the same stage "
                    "as InfuseNet.",
                ),
                io.Combo.Input(
                    "arcface",
                    options=[NONE, MINIATURE, *(name for name in weights if not _is_shard(name))],
                    default=NONE,
                    tooltip="recognition_arcface_ir_se50.pth from models/infinite_you.\n"
                    "If image_proj is miniature, none loads the miniature's own.",
                ),
                *face_inputs(
                    "The antelopev2 folder from models/insightface. Only its detector is used here.\n"
                    "If image_proj is miniature, none loads the miniature's own.",
                    "Where faces are read. auto: the GPU if there is one. The node shows what the detector really "
                    "runs on.",
                ),
            ],
            outputs=[EncoderSocket.Output("encoder", display_name="encoder")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, image_proj=None, arcface=None, face_pack=None) -> bool | str:
        """Whether the files are there; if not, where to get them."""
        return listed(cls, image_proj=image_proj, arcface=arcface, face_pack=face_pack)

    @classmethod
    @checked
    def execute(cls, image_proj, arcface, face_pack, device) -> io.NodeOutput:
        """Load them, unless they are loaded; say where the detector runs."""
        if image_proj == MINIATURE:
            arcface, face_pack = (MINIATURE if name == NONE else name for name in (arcface, face_pack))
        weights = (paths.INFINITE_YOU, "facexlib")
        sources = (
            chosen(image_proj, shipped.IMAGE_PROJ, "the Resampler", "sim_stage1/image_proj_model.bin", *weights),
            chosen(arcface, shipped.ARCFACE, "the recognizer", "recognition_arcface_ir_se50.pth", *weights),
            chosen_pack(face_pack, "the face pack antelopev2"),
        )
        encoder = load_once(lambda: load_encoder(sources, device), "encoder", *sources, device)
        message = f"Faces are detected on {encoder.provider} and encoded on {encoder.device}."
        log.info("%s", message)
        show(cls, message)
        return io.NodeOutput(encoder)


def face_inputs(pack: str, device: str) -> list[io.Input]:
    """The inputs of a node that opens a face pack: which, and where it runs; with these tooltips."""
    packs = [NONE, MINIATURE, *paths.face_packs()]
    return [
        io.Combo.Input("face_pack", options=packs, default=NONE, tooltip=pack),
        io.Combo.Input("device", options=["auto", "cpu", "cuda"], default="auto", tooltip=device),
    ]


def load_encoder(sources: tuple[Path, Path, Path], device: str) -> Any:
    """An IdentityEncoder; the face stack's packages are imported here."""
    from ..infusenet.adapters.infusenet.encoder import IdentityEncoder

    return IdentityEncoder.from_files(*sources, device=device)


def _is_shard(name: str) -> bool:
    return "InfuseNetModel" in name or name.rsplit(".", 1)[0].rpartition("-of-")[2].isdigit()


def chosen(name: str, mini: Path, what: str, wanted: str, *folders: str) -> Path:
    """The path of a file combo's entry; `wanted` is the file that an error advises.

    Raises:
        SettingsError: `none`, or a file that is gone.
    """
    if name == NONE:
        raise SettingsError(
            f"Nothing is chosen yet. Choose {what}, or miniature, which comes with these "
            f"nodes.{catalogue.advice(wanted)} Then refresh the page (R)."
        )
    if name == MINIATURE:
        miniature.check_shipped()
        return mini
    return paths.find(name, *folders)


def chosen_pack(name: str, what: str) -> Path:
    """The folder of a face pack's entry.

    Raises:
        SettingsError: `none`, or a pack that is gone.
    """
    if name in (NONE, MINIATURE):
        return chosen(name, shipped.FACE_PACK, what, "antelopev2")
    return paths.find_face_pack(name)
