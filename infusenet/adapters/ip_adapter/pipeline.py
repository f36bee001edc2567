"""SDXL in diffusers with decoupled guidance: the stock pipeline's parts, and a loop of our own for several branches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from torch import Tensor

from ...backbones import BACKBONES, BackboneSpec
from ...errors import SettingsError
from ...guidance.decoupled import Contents, Decoupled
from ...guidance.manipulation import Manipulation
from ...sampling import check_steps, floor_size
from ..base import finite
from ..infusenet.arguments import Batch, batch_of
from .adapter import FaceRun
from .attention import reshaped
from .branches import Guidance, Inputs, TrueCfg
from .noise import clean, levels

log = logging.getLogger(__name__)


class SDXLPipeline(StableDiffusionXLPipeline):
    """diffusers' `StableDiffusionXLPipeline` with `identity=` and decoupled guidance, for text to image.

    Everything that a run needs is an argument of its call; nothing of it stays in the pipeline or its networks.
    """

    _callback_tensor_inputs: ClassVar = ["latents", "prompt_embeds", "noise_pred", "denoised", "branch_preds"]
    _spec: BackboneSpec | None = None

    @property
    def spec(self) -> BackboneSpec:
        """The backbone's own defaults: what the loader found, else SDXL's."""
        return self._spec or BACKBONES["sdxl"]

    @property
    def sigmas(self) -> list[float]:
        """Noise levels of the schedule that is set, and 0 after it: what a probe reads."""
        return levels(self.scheduler)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = None,
        negative_prompt_2: str | list[str] | None = None,
        true_cfg_scale: float | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int | None = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        identity: FaceRun | None = None,
        decoupled: Decoupled | None = None,
        attention: Manipulation | None = None,
        together: bool = True,
    ) -> Any:
        """Make pictures. Arguments not named here are `StableDiffusionXLPipeline`'s.

        Args:
            true_cfg_scale: guidance where a negative prompt is given.
            height, width: pixels, floored to a multiple of 8; the backbone's own by default.
            num_inference_steps: steps, at least 1; the backbone's own by default.
            guidance_scale: guidance without a negative prompt, the backbone's own by default; up to 1 there is none.
                The negative text is then zeros where the backbone wants them, as in diffusers.
            callback_on_step_end_tensor_inputs: also "noise_pred" (the step's guided prediction), "denoised" (its x0
                prediction) and "branch_preds" (each branch's own, [branches, B, ...]).
            identity: what `ADAPTERS["ip-adapter-faceid"].acting` gives; None for the plain backbone.
            decoupled: takes text and identity apart, instead of ordinary guidance.
            attention: reshapes what the image pays to the identity's tokens; needs an identity.
            together: evaluates all branches of a step in one call; False one after the other, in a third of the memory.

        Returns:
            `StableDiffusionXLPipelineOutput`, or a tuple when `return_dict` is False.

        Raises:
            SettingsError: a value is outside what the call accepts, or values do not fit together.
            ValueError: diffusers' own checks of prompts and callbacks.
        """
        spec = self.spec
        steps = spec.num_inference_steps if num_inference_steps is None else num_inference_steps
        check_steps(steps)
        self._interrupt = False
        self._clip_skip = self._cross_attention_kwargs = self._denoising_end = None
        width, height = self._size(width or spec.width, height or spec.height)
        self.check_inputs(
            prompt,
            prompt_2,
            height,
            width,
            None,
            negative_prompt,
            negative_prompt_2,
            prompt_embeds,
            negative_prompt_embeds,
            pooled_prompt_embeds,
            negative_pooled_prompt_embeds,
            callback_on_step_end_tensor_inputs=list(callback_on_step_end_tensor_inputs),
        )
        scale = spec.guidance_scale if guidance_scale is None else guidance_scale
        if true_cfg_scale is not None and (negative_prompt is not None or negative_prompt_embeds is not None):
            scale = true_cfg_scale
        self._guidance_scale = scale
        guidance = self._guidance(decoupled, identity, scale, steps)
        if attention is not None:
            self._check_attention(attention, identity, together)

        batch, device = batch_of(prompt, prompt_embeds, num_images_per_prompt), self._execution_device
        if prompt is not None and self.text_encoder is None:
            raise SettingsError("No text encoders are loaded. Give prompt_embeds and pooled_prompt_embeds instead.")
        positive, negative, pooled, negative_pooled = self.encode_prompt(
            prompt=prompt,
            prompt_2=prompt_2,
            device=device,
            num_images_per_prompt=batch.copies,
            do_classifier_free_guidance=guidance.needs_negative,
            negative_prompt=negative_prompt,
            negative_prompt_2=negative_prompt_2,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            pooled_prompt_embeds=pooled_prompt_embeds,
            negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
        )
        text = {True: (positive, pooled)}
        if guidance.needs_negative:
            text[False] = negative, negative_pooled
        inputs = Inputs(
            text, self._tokens(identity, batch), self._time_ids(height, width, pooled).repeat(batch.size, 1)
        )
        self.scheduler.set_timesteps(steps, device=device)
        channels = self.unet.config.in_channels
        latents = self.prepare_latents(batch.size, channels, height, width, positive.dtype, device, generator, latents)
        told = callback_on_step_end, callback_on_step_end_tensor_inputs
        with reshaped(self.unet, attention, None if identity is None else identity.clock):
            sampled = self._denoise(guidance, inputs, identity, latents, together, generator, *told)
        image = sampled if output_type == "latent" else self._decode(sampled, output_type)
        self.maybe_free_model_hooks()
        return StableDiffusionXLPipelineOutput(images=image) if return_dict else (image,)

    def _denoise(
        self,
        guidance: Guidance,
        inputs: Inputs,
        identity: FaceRun | None,
        latents: Tensor,
        together: bool,
        generator: Any,
        callback: Callable[..., dict[str, Any]] | None,
        callback_inputs: Sequence[str],
    ) -> Tensor:
        timesteps, extra = self.scheduler.timesteps, self.prepare_extra_step_kwargs(generator, 0.0)
        self._num_timesteps = len(timesteps)
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(0)
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for i, t in enumerate(timesteps):
                if self.interrupt:
                    continue
                if identity is not None:
                    identity.begin(i, len(timesteps))
                scaled = self.scheduler.scale_model_input(latents, t)
                names = guidance.branches_at(i)
                branches = [guidance.contents[name] for name in names]
                predictions = self._predict(scaled, t, inputs, branches, together)
                noise = guidance.combine(i, dict(zip(names, predictions)))
                denoised = clean(self.scheduler, i, t, latents, noise)
                dtype = latents.dtype
                latents = self.scheduler.step(noise, t, latents, **extra, return_dict=False)[0].to(dtype)
                if callback is not None:
                    offered = {
                        "latents": latents,
                        "prompt_embeds": inputs.text[True][0],
                        "noise_pred": noise,
                        "denoised": denoised,
                        "branch_preds": torch.stack(predictions),
                    }
                    changed = callback(self, i, t, {name: offered[name] for name in callback_inputs}) or {}
                    latents = changed.get("latents", latents)
                progress_bar.update()
        return finite(latents, "latents")

    def _predict(
        self, latents: Tensor, t: Tensor, inputs: Inputs, branches: Sequence[Contents], together: bool
    ) -> list[Tensor]:
        """Each branch's prediction, [B, C, h, w]."""
        if not together:
            return [self.unet(latents, t, **inputs.of([branch]))[0] for branch in branches]
        many = torch.cat([latents] * len(branches))
        return list(self.unet(many, t, **inputs.of(branches))[0].chunk(len(branches)))

    def _guidance(self, decoupled: Decoupled | None, identity: FaceRun | None, scale: float, steps: int) -> Guidance:
        """What guides, once it is known that it can."""
        if decoupled is None:
            return TrueCfg(max(scale, 1.0), identity is not None and identity.both)
        if told := decoupled.shortage(steps):
            log.warning("%s", told)
        return decoupled

    @staticmethod
    def _check_attention(attention: Manipulation, identity: FaceRun | None, together: bool) -> None:
        if identity is None:
            raise SettingsError("Reshaping attention needs an identity. Pass one, or leave attention= out.")
        if not together and getattr(attention, "across", "picture") == "batch":
            raise SettingsError(
                'With across="batch" the branches affect each other, so they must be evaluated together. '
                'Use across="picture", or together=True.'
            )

    def _tokens(self, identity: FaceRun | None, batch: Batch) -> Mapping[bool, Tensor] | None:
        if identity is None:
            return None
        both = {True: identity.face, False: identity.nobody}
        place = self._execution_device
        return {
            key: batch.spread(finite(value, "identity tokens").to(place), "identities") for key, value in both.items()
        }

    def _time_ids(self, height: int, width: int, pooled: Tensor) -> Tensor:
        size = (height, width)
        ids = self._get_add_time_ids(size, (0, 0), size, pooled.dtype, text_encoder_projection_dim=pooled.shape[-1])
        return ids.to(self._execution_device)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        multiple = self.spec.size_multiple
        size = floor_size(width, height, multiple)
        if size != (width, height):
            told = "The size %dx%d was changed to %dx%d because it must be a multiple of %d pixels."
            log.warning(told, width, height, *size, multiple)
        return size

    def _decode(self, latents: Tensor, output_type: str) -> Any:
        dtype = self.vae.dtype
        overflows = dtype == torch.float16 and self.vae.config.force_upcast
        if overflows:
            self.vae.to(torch.float32)
        latents = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        image = finite(self.vae.decode(latents, return_dict=False)[0], "decoded picture")
        if overflows:
            self.vae.to(dtype)
        return self.image_processor.postprocess(image, output_type=output_type)
