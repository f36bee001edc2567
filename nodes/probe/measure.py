"""Likeness of whole pictures: the host's own image encoders (CLIP, DINOv2) where a face recognizer goes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import comfy.model_management
import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.measures import PictureMeasure, Rule
from ..checks import checked
from ..convert import Picture, pictures_to_image
from ..shared import show
from ..sockets import RecognizerSocket, schema

_SAMPLED = 64  # values of each weight that its digest is made of
_NO_VECTOR = (
    "This CLIP_VISION gives no single embedding of a picture (it is a SigLIP, the one Redux uses). In Load CLIP "
    "Vision, choose a CLIP, such as clip_vision_l or CLIP-ViT-H, or a DINOv2."
)


class LikenessMeasure(io.ComfyNode):
    """What compares whole pictures instead of faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "Measure",
            "Likeness Measure",
            description="Compares whole pictures instead of faces. Connect it in place of a face recognizer, and the "
            "probe, score and sweep tell you how alike pictures of anything are: an object, a style, a scene. It "
            "measures with the image encoder from Load CLIP Vision (CLIP or DINOv2). Do not compare numbers from two "
            "encoders, or from an encoder and a face recognizer.",
            search_aliases=["clip score", "clip similarity", "dino score", "image similarity", "object", "style"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="From Load CLIP Vision.\n"
                    "CLIP compares content and style; DINOv2 compares the exact object or scene. SigLIP cannot be "
                    "used.",
                )
            ],
            outputs=[
                RecognizerSocket.Output(
                    "measure",
                    display_name="measure",
                    tooltip="For the recognizer input of Identity Probe, Identity Score and Identity Sweep.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(cls, clip_vision) -> io.NodeOutput:
        """Make the measure; its network is loaded when it is first needed."""
        measure = HostMeasure(clip_vision)
        show(cls, f"Whole pictures are compared with {measure.name}.")
        return io.NodeOutput(measure)


class HostMeasure(PictureMeasure):
    """Whole pictures by a CLIP_VISION, under the host's memory management.

    Args:
        clip_vision: the host's; its `encode_image` resizes and takes the middle square.

    Raises:
        SettingsError: it gives no single embedding of a picture.
    """

    in_loop = True  # measures between the sampler's steps, never beside them: the host loads models in one thread

    def __init__(self, clip_vision: Any) -> None:
        if getattr(clip_vision, "return_all_hidden_states", False):
            raise SettingsError(_NO_VECTOR)
        self._clip_vision = clip_vision
        label = label_of(clip_vision)
        device = torch.device(clip_vision.load_device).type
        crop = f"middle square, {clip_vision.image_size} px"
        rule = Rule("clip vision 1", {"network": label, "embedding": "image_embeds", "input": crop}, "picture")
        super().__init__(f"{label} ({device})", rule, self._encode)

    def _encode(self, pictures: Sequence[Picture]) -> Tensor:
        """Embeddings [n, d]; pictures of one size at once."""
        sizes = {picture.shape for picture in pictures}
        groups = [pictures] if len(sizes) == 1 else [[picture] for picture in pictures]
        parts = [self._clip_vision.encode_image(pictures_to_image(group))["image_embeds"] for group in groups]
        if any(part.ndim != 2 for part in parts):
            raise SettingsError(_NO_VECTOR)
        return torch.cat([part.float().cpu() for part in parts])

    def has_room(self, sampled: Any, shape: Sequence[int]) -> bool:
        """Whether it can be used between the steps of a model, without the host moving that one off the GPU for it.

        Args:
            sampled: the model (BaseModel) that is loaded and sampled.
            shape: of its latents.
        """
        management, patcher = comfy.model_management, self._clip_vision.patcher
        if management.is_device_cpu(patcher.load_device):
            return True
        if management.DISABLE_SMART_MEMORY:  # then the host unloads everything for each network
            return False
        missing = max(patcher.model_size() - patcher.loaded_size(), 0)
        sampling = sampled.memory_required([2 * shape[0], *shape[1:]])
        needed = 1.1 * missing + management.minimum_inference_memory() + sampling
        return management.get_free_memory(patcher.load_device) > needed


def label_of(clip_vision: Any) -> str:
    """Which weights these are: class, parameters, input size, and the start of a digest of a sample of every weight."""
    digest, count = hashlib.sha256(), 0
    for name, weight in sorted(clip_vision.get_sd().items()):
        count += weight.numel()
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // _SAMPLED)][:_SAMPLED].float().cpu()
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(sample.numpy().astype(np.float16).tobytes())
    millions = f"{count / 1e6:.0f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"
    kind = type(clip_vision.model).__name__
    return f"{kind}-{millions}-{clip_vision.image_size}px {digest.hexdigest()[:12]}"
