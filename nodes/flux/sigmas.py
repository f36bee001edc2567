"""The exact FLUX schedule as SIGMAS, for whatever MODEL speaks FLUX."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor, zeros

from ...infusenet.backbones import BackboneSpec, published
from ...infusenet.sampling import flux_sigmas
from ...infusenet.speed import TwoRate
from ..checks import checked
from ..sockets import schema
from .sizes import latent_tokens, variant_of_model


def sigmas_for(spec: BackboneSpec, tokens: int, steps: int, denoise: float) -> tuple[Tensor, int]:
    """A backbone's schedule by the host's rule for denoise: the last `steps` of a longer schedule.

    Args:
        spec: the backbone, whose schedule and own step count are meant.
        tokens: image tokens.
        steps: how many steps are taken; 0 = the backbone's own number.
        denoise: share of the noise, 0..1; 0 gives no step at all.

    Returns:
        (float32 [steps + 1], steps).
    """
    steps = steps or spec.num_inference_steps
    if denoise <= 0:
        return zeros(0), 0
    total = steps if denoise >= 1 else int(steps / denoise)
    return flux_sigmas(total, spec, image_seq_len=tokens)[-(steps + 1) :], steps


class Sigmas(io.ComfyNode):
    """FLUX's own noise levels."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "Sigmas",
            "FLUX Sigmas",
            description="Outputs FLUX's exact schedule for SamplerCustomAdvanced, bit for bit the same as in the "
            "published pipelines. dev or schnell is detected from the model itself.",
            search_aliases=["flux scheduler", "flux sigmas", "exact schedule"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Any FLUX.1 model, from any loader. dev or schnell is detected from it."
                ),
                io.Latent.Input("latent", tooltip="The latent you will sample. dev's schedule depends on its size."),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=200,
                    tooltip="Number of steps. 0 = the variant's own: 4 for schnell, 28 for dev.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="1 starts from pure noise. Below 1 is image to image: the last steps of a longer "
                    "schedule, as in ComfyUI's schedulers.",
                ),
                io.Int.Input(
                    "keep",
                    default=0,
                    min=0,
                    max=200,
                    optional=True,
                    tooltip="With last_steps: how many steps at the beginning are left as they are.",
                ),
                io.Int.Input(
                    "last_steps",
                    default=0,
                    min=0,
                    max=200,
                    optional=True,
                    tooltip="How many larger steps cover the rest of the schedule. 0 = the schedule stays as it is.",
                ),
            ],
            outputs=[
                io.Sigmas.Output("sigmas", display_name="sigmas", tooltip="Noise levels, from 1 (or less) to 0."),
                io.Int.Output("out_steps", display_name="steps", tooltip="The number of steps."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model, latent, steps, denoise, keep=0, last_steps=0) -> io.NodeOutput:
        """Read the variant off the model, count the tokens, make the schedule."""
        spec = published(variant_of_model(model.model))
        sigmas, steps = sigmas_for(spec, latent_tokens(latent["samples"]), steps, denoise)
        if last_steps and steps:
            sigmas = TwoRate(keep, last_steps).levels(sigmas)
        return io.NodeOutput(sigmas, max(len(sigmas) - 1, 0))
