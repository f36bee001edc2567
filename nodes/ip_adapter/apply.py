"""Apply IP-Adapter: a person's identity joins the MODEL."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from typing import Any

import comfy.lora
from comfy_api.latest import io

from ...infusenet.errors import SettingsError
from ...infusenet.guidance.manipulation import Manipulation, ScalePower, SoftMask
from ...infusenet.sampling import no_effect
from ..checks import checked
from ..convert import crops_to_image, image_to_pictures
from ..shared import show
from ..sockets import EncoderSocket, IPAdapterSocket, RecognizerSocket, schema
from .attention import Binding, IdentityAttention
from .layers import Layer, layers_of, lora_names
from .load import LoadedAdapter
from .person import read_person

log = logging.getLogger(__name__)

KEY = "infusenet_ip_adapter"
"""Of what a MODEL with an IP-Adapter of ours carries: its `Binding`."""
MANIPULATIONS: dict[str, Manipulation | None] = {"none": None, "scale": ScalePower(), "soft mask": SoftMask()}
_GROUPS = {"down": "input", "up": "output", "mid": "middle"}


def block_strengths(text: str, layers: Sequence[Layer]) -> list[float]:
    """What each layer's weight is multiplied by, written as "down=1, mid=0, output_0=0.5".

    Args:
        text: groups of blocks (down, mid, up) and single ones (input_4); single ones count. Nothing written means 1.
        layers: of the MODEL.

    Raises:
        SettingsError: something else is written.
    """
    blocks = list(dict.fromkeys(f"{layer.block}_{layer.number}" for layer in layers))
    given: dict[str, float] = {}
    for part in filter(None, re.split(r"[\s,;]+", re.sub(r"\s*=\s*", "=", text))):
        name, _, number = part.partition("=")
        try:
            given[name] = float(number)
        except ValueError:
            given[name] = math.nan
        if name not in (*_GROUPS, *blocks) or not math.isfinite(given[name]):
            raise SettingsError(
                f'Apply IP-Adapter: block_weights must look like "down=1, mid=0, up=0.5"; got {part!r:.60}. Known '
                f"names: {', '.join((*_GROUPS, *blocks))}."
            )
    groups = {block: given.get(group, 1.0) for group, block in _GROUPS.items()}
    return [given.get(f"{layer.block}_{layer.number}", groups[layer.block]) for layer in layers]


def bound(model: Any, adapter: LoadedAdapter, binding: Binding, layers: Sequence[Layer], lora_strength: float) -> Any:
    """A clone of a MODEL with an IP-Adapter at work.

    Args:
        model: with Stable Diffusion's UNet.
        adapter: its layers are loaded by the host together with the MODEL.
        binding: to a person.
        layers: of the MODEL, in the file's order.
        lora_strength: of the LoRA in the file.
    """
    model = model.clone()
    there = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    for index, layer in enumerate(layers):
        patch = IdentityAttention(binding, index, layer.part, there.get(layer.key))
        model.set_model_attn2_replace(patch, *layer.key)
    model.set_additional_models(f"{KEY}:{id(adapter)}", [adapter.patcher])
    model.set_attachments(KEY, binding)
    once = f"{KEY}:lora:{adapter.file.path}"  # several people by one file have its LoRA once
    if lora_strength and adapter.file.lora and model.get_attachment(once) is None:
        model.set_attachments(once, lora_strength)
        targets, state = lora_names(list(layers), dict(adapter.file.lora))
        model.add_patches(comfy.lora.load_lora(state, targets), lora_strength)
    return model


class ApplyIPAdapter(io.ComfyNode):
    """Binds an IP-Adapter to a person and hangs it on the MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "ApplyIPAdapter",
            "Apply IP-Adapter",
            description="Puts a person into an SDXL picture, with IP-Adapter FaceID. For several people, chain one "
            "of these nodes per person. For FLUX, use Apply InfuseNet Identity.",
            search_aliases=["ip-adapter", "ipadapter", "faceid", "fastface", "face", "identity", "face swap"],
            inputs=[
                io.Model.Input("model", tooltip="An SDXL model. Few-step LoRAs (Hyper, LCM) go before this node."),
                IPAdapterSocket.Input("ip_adapter", tooltip="From Load IP-Adapter."),
                io.MultiType.Input(
                    "recognizer",
                    types=[RecognizerSocket, EncoderSocket],
                    tooltip="The network that reads the faces. It must be the one the adapter was trained with: for "
                    "the published files, Load Face Recognizer with buffalo_l. Use a different one to measure.",
                ),
                io.Image.Input("image", tooltip="One photo of the person, or a batch of several."),
                io.Float.Input(
                    "weight",
                    default=0.8,
                    min=0.0,
                    max=3.0,
                    step=0.01,
                    tooltip="How strongly the identity acts. FastFace uses 0.8. 0 leaves the model unchanged.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When the identity starts to act, as a share of the run, by noise level. 0: from the "
                    "beginning.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When the identity stops acting, as a share of the run, by noise level. 1: at the end.",
                ),
                io.Combo.Input(
                    "batch",
                    options=["fuse", "one per image"],
                    default="fuse",
                    tooltip="What several photos show.\n"
                    "fuse: one person, whose identity is the mean of all photos.\n"
                    "one per image: one identity per photo, for a batch of latents.",
                ),
                io.Float.Input(
                    "lora_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Strength of the LoRA in the file. 1: as trained. It acts throughout the run.",
                ),
                io.Combo.Input(
                    "attention",
                    options=list(MANIPULATIONS),
                    default="none",
                    optional=True,
                    tooltip="FastFace's attention manipulation: changes how the picture attends to the person.\n"
                    "none: unchanged.\n"
                    "scale: makes strong attention stronger and weak attention weaker.\n"
                    "soft mask: turns attention into a mask with soft edges, one for each identity token.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Needed for FaceID plus v2: CLIP-ViT-H-14 (laion2B) from Load CLIP Vision.",
                ),
                io.String.Input(
                    "block_weights",
                    default="",
                    optional=True,
                    tooltip='Multiplies weight in parts of the model, for example "down=1, mid=1, up=0.5" or '
                    '"output_0=0". Empty: 1 everywhere.',
                ),
            ],
            outputs=[
                io.Model.Output(
                    "out_model", display_name="model", tooltip="For the sampler, FastFace Guider or Identity Probe."
                ),
                io.Image.Output("faces", display_name="faces", tooltip="The aligned faces that were read, 112x112."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        ip_adapter,
        recognizer,
        image,
        weight,
        start_percent,
        end_percent,
        batch,
        lora_strength,
        attention="none",
        clip_vision=None,
        block_weights="",
    ) -> io.NodeOutput:
        """Read the person, bind, attach."""
        layers = layers_of(model)
        ip_adapter.file.check_fit([layer.width for layer in layers], layers[0].text_width)
        shares = block_strengths(block_weights, layers)
        pictures = image_to_pictures(image)
        person = read_person(ip_adapter.file, recognizer, pictures, clip_vision, fuse=batch == "fuse")
        notices = list(filter(None, (no_effect(weight, start_percent, end_percent), *person.notices)))
        if notices:
            show(cls, "\n".join(notices))
        faces = crops_to_image(person.faces)
        if weight == 0:
            return io.NodeOutput(model, faces)
        sampling = model.get_model_object("model_sampling")
        whole = (start_percent, end_percent) == (0.0, 1.0)
        window = None if whole else tuple(map(sampling.percent_to_sigma, (start_percent, end_percent)))
        binding = Binding(
            person.face,
            person.nobody,
            ip_adapter.projections,
            [weight * share for share in shares],
            window,
            MANIPULATIONS[attention],
        )
        return io.NodeOutput(bound(model, ip_adapter, binding, layers, lora_strength), faces)
