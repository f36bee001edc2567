"""Apply InfuseNet Identity: an identity joins the conditioning."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.guidance.joint import ATTENTION_SCALE, ATTENTIONS, NO_ATTENTION, attention_named
from ...infusenet.sampling import no_effect
from ...infusenet.speed import EVERY_STEP, parse_refresh
from ..checks import OTHERS_IDENTITY, checked
from ..convert import check_image
from ..flux.sizes import LATENT_CHANNELS
from ..shared import show
from ..sockets import IdentitySocket, InfuseNetSocket, schema
from .adapter import InfuseNetControl, chain
from .notices import noted

log = logging.getLogger(__name__)

Conditioning = list[list[Any]]
_ROUNDING = 1e-3  # by which resampling may leave a mask's range without a word


def attach(conditionings: list[Conditioning], control: InfuseNetControl) -> list[Conditioning]:
    """Conditionings that carry a control as well. What they carry already stays, before it in the chain.

    Entries with the same predecessor share one binding, so that the host can sample them as one batch.
    """
    bound: dict[Any, InfuseNetControl] = {}
    attached = []
    for conditioning in conditionings:
        entries = []
        for embedding, options in conditioning:
            before = options.get("control")
            if before not in bound:
                bound[before] = control.copy()
                bound[before].set_previous_controlnet(before)
            entries.append([embedding, {**options, "control": bound[before], "control_apply_to_uncond": False}])
        attached.append(entries)
    return attached


def with_shared(positive: Conditioning, negative: Conditioning) -> Conditioning:
    """The negative with the ControlNet that the positive shares with it, as the host's older Apply ControlNet marks it.

    `attach` takes that mark off, or the host would share InfuseNet too.
    """
    shared = next((options["control"] for _, options in positive if options.get("control_apply_to_uncond")), None)
    if shared is None:
        return negative
    mine = {"control": shared, "control_apply_to_uncond": False}
    return [[embedding, options if "control" in options else {**options, **mine}] for embedding, options in negative]


def zeroed(conditioning: Conditioning) -> Conditioning:
    """A conditioning that says nothing: zeros of the same shapes, without any control."""
    entries = []
    for embedding, options in conditioning:
        kept = {key: value for key, value in options.items() if not key.startswith("control")}
        pooled = kept.get("pooled_output")
        if isinstance(pooled, Tensor):
            kept["pooled_output"] = torch.zeros_like(pooled)
        entries.append([torch.zeros_like(embedding), kept])
    return entries


def check_mask(mask: Tensor | None) -> tuple[Tensor | None, list[str]]:
    """A mask as [n, H, W] of 0..1, and what to say of it.

    Raises:
        SettingsError: not a mask, or with numbers that are none.
    """
    if mask is None:
        return None, []
    if mask.ndim not in (2, 3) or mask.numel() == 0:
        raise SettingsError(f"Expected a MASK of shape [batch, height, width], got {list(mask.shape)}.")
    mask = (mask[None] if mask.ndim == 2 else mask).float()
    low, high = map(float, mask.aminmax())
    if not math.isfinite(low + high):
        raise SettingsError(
            "Expected a MASK with values from 0 to 1, got NaN or infinity. Check the node that made the mask."
        )
    notices = []
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        notices.append(f"The mask's values ({low:g} to {high:g}) were clamped to the range from 0 to 1.")
    if high <= 0:
        notices.append("The mask is black everywhere, so the identity has no effect. Paint white where it should act.")
    return mask.clamp(0, 1), notices


def check_pose(pose: Tensor | None) -> Tensor | None:
    """A control picture as an IMAGE of three channels, 0..1.

    Raises:
        PictureError: not an IMAGE, or with numbers that are none.
    """
    return None if pose is None else check_image(pose)[..., :3].expand(-1, -1, -1, 3).clamp(0, 1)


class ApplyInfuseNet(io.ComfyNode):
    """Binds InfuseNet to an identity and hangs it on the conditioning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "Apply",
            "Apply InfuseNet Identity",
            description="Puts a person into a FLUX picture. For several people, chain one of these nodes per person, "
            "each with a mask. The negative conditioning carries no identity unless on_negative is on.",
            search_aliases=[
                "infiniteyou",
                "infinite you",
                "identity",
                "face",
                "controlnet",
                "face swap",
                "pulid",
                "instantid",
                "faceid",
                "portrait",
                "headshot",
                "consistent character",
                "likeness",
            ],
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="The prompt's conditioning. ControlNets already on it are kept."
                ),
                InfuseNetSocket.Input("infusenet", tooltip="From Load InfuseNet Adapter."),
                IdentitySocket.Input(
                    "identity", tooltip="From Encode Identity: one person for all pictures, or one per picture."
                ),
                io.Vae.Input("vae", tooltip="FLUX's VAE. It encodes the control picture (black without a pose image)."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.01,
                    tooltip="How strongly the identity acts. 1: as trained. 0: the conditioning is left unchanged.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When the identity starts to act, as a share of the run. 0: from the beginning.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="When the identity stops acting, as a share of the run. 1: at the end.",
                ),
                io.Combo.Input(
                    "gate",
                    options=["step", "percent"],
                    default="step",
                    tooltip="How start_percent and end_percent are counted.\n"
                    "step: in whole steps of this sampler, as in the original pipeline (step i of N acts if i/N >= "
                    "start and (i+1)/N <= end).\n"
                    "percent: by noise level, like ComfyUI's own ControlNet nodes, which act one step longer whenever "
                    "end is below 1.",
                ),
                io.Boolean.Input(
                    "on_negative",
                    default=False,
                    tooltip="Off: the negative conditioning has no identity, as in the original pipeline.\n"
                    "On: it has the same identity as the positive.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="The negative conditioning. If not connected, an empty one is output.",
                ),
                io.Image.Input(
                    "pose_image",
                    optional=True,
                    tooltip="Where the face should be: from Face Pose Image, at the latent's size. If not connected, "
                    "the face can be anywhere.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the identity acts (white). Any size; soft edges are fine. If not connected, it "
                    "acts everywhere.",
                ),
                io.String.Input(
                    "refresh",
                    default=str(EVERY_STEP),
                    optional=True,
                    tooltip="When InfuseNet is computed again. In between, its last output is reused, which is "
                    "faster.\n"
                    "every step: as trained.\n"
                    "every 2, every 4, ...: for dev with its 28 steps.\n"
                    "1,3: at these steps of the sampler.\n"
                    "adaptive: whenever the picture has changed enough.",
                ),
                io.Combo.Input(
                    "attention",
                    options=[NO_ATTENTION, *ATTENTIONS],
                    default=NO_ATTENTION,
                    optional=True,
                    tooltip="FastFace's attention manipulation: changes how the image attends to the identity inside "
                    "InfuseNet.\n"
                    "none: as trained.\n"
                    "scale: strong attention becomes stronger, weak attention weaker.\n"
                    "soft mask: replaces attention by a mask with soft edges, one for each identity token.",
                ),
                io.Float.Input(
                    "attention_scale",
                    default=ATTENTION_SCALE,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    optional=True,
                    tooltip="How strongly the changed attention acts. 1.55: as published. Has no effect if attention "
                    "is none.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "out_positive", display_name="positive", tooltip="The positive conditioning with the identity."
                ),
                io.Conditioning.Output(
                    "out_negative",
                    display_name="negative",
                    tooltip="The negative conditioning, by default without the identity.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive,
        infusenet,
        identity,
        vae,
        strength,
        start_percent,
        end_percent,
        gate,
        on_negative,
        negative=None,
        pose_image=None,
        mask=None,
        refresh=str(EVERY_STEP),
        attention=NO_ATTENTION,
        attention_scale=ATTENTION_SCALE,
    ) -> io.NodeOutput:
        """Bind and attach."""
        policy = parse_refresh(refresh)
        empty = zeroed(positive) if negative is None else negative
        mask, of_mask = check_mask(mask)
        notices = list(filter(None, (no_effect(strength, start_percent, end_percent), *of_mask)))
        if notices:
            log.warning("Apply InfuseNet Identity: %s", " ".join(notices))
            show(cls, "\n".join(notices))
        positive = noted(positive, (*identity.notices, *notices))
        if strength == 0:
            return io.NodeOutput(positive, empty)
        check_fit(infusenet, identity.tokens, vae)
        check_unmixed([*positive, *empty])
        control = infusenet.bind(
            identity.tokens,
            vae,
            strength=strength,
            window=(start_percent, end_percent),
            gate=gate,
            pose=check_pose(pose_image),
            mask=mask,
            refresh=policy,
            recognizer=identity.recognizer,
            node=getattr(getattr(cls, "hidden", None), "unique_id", None),
            attention=attention_named(attention, attention_scale),
        )
        empty = with_shared(positive, empty)
        if on_negative:
            return io.NodeOutput(*attach([positive, empty], control))
        return io.NodeOutput(attach([positive], control)[0], empty)


def check_unmixed(conditioning: Conditioning) -> None:
    """Raise SettingsError where a conditioning carries another pack's InfuseNet, which would act on top of this one."""
    controls = (control for _, options in conditioning for control in chain(options.get("control")))
    if any(hasattr(control, OTHERS_IDENTITY) for control in controls):
        raise SettingsError(
            "The conditioning already carries another pack's InfuseNet (its Apply InfuseNet node), and both would "
            "act. Remove one of the two nodes."
        )


def check_fit(infusenet: InfuseNetControl, tokens: Tensor, vae: Any) -> None:
    """Raise SettingsError unless the identity's tokens are this InfuseNet's and the VAE is FLUX's."""
    channels = getattr(vae, "latent_channels", LATENT_CHANNELS)
    if channels != LATENT_CHANNELS:
        raise SettingsError(
            f"Apply InfuseNet Identity needs FLUX's VAE (ae.safetensors), which has {LATENT_CHANNELS} latent "
            f"channels. The one connected has {channels}."
        )
    if tokens.shape[-1] != infusenet.token_width:
        raise SettingsError(
            f"The identity and this InfuseNet do not match: the identity's tokens have width {tokens.shape[-1]}, but "
            f"this InfuseNet expects width {infusenet.token_width}. Load image_proj and InfuseNet as a pair: both "
            "miniature, or both from the same InfiniteYou stage."
        )
