"""FLUX with an identity in diffusers: the stock ControlNet pipeline, with a loop of our own where that cannot be right.

The stock loop feeds the ControlNet the prompt and the main guidance and gives its residuals to the negative branch too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from diffusers import FluxControlNetPipeline
from diffusers.pipelines.flux.pipeline_output import FluxPipelineOutput
from torch import Tensor

from ...backbones import BackboneSpec, published, variant_of
from ...errors import SettingsError
from ...guidance.decoupled import Decoupled
from ...guidance.manipulation import Manipulation
from ...sampling import (
    check_steps,
    conditioning_window,
    denoised_from_velocity,
    no_effect,
    pack_latents,
    unpack_latents,
)
from ...speed import EVERY_STEP, EXACT, Evaluation, RefreshPolicy, Reuse, Schedule, parse_refresh, parse_schedule
from ..base import Branches, check_branches, finite
from .arguments import Batch, batch_of, check_packed, control_pixels, picture_size, single
from .model import InfuseNetModel
from .run import RunInputs, Text, needs_negative
from .schedule import Walk, set_schedule

log = logging.getLogger(__name__)
_OFFERED = ("noise_pred", "denoised", "controlnet_block_samples", "controlnet_single_block_samples")


class InfuseNetPipeline(FluxControlNetPipeline):
    """diffusers' `FluxControlNetPipeline` with `identity=`; encoders or controlnet may be None where not needed."""

    _optional_components: ClassVar = [*FluxControlNetPipeline._optional_components, "controlnet"]
    _callback_tensor_inputs: ClassVar = [*FluxControlNetPipeline._callback_tensor_inputs, *_OFFERED]
    _spec: BackboneSpec | None = None
    _black: tuple[tuple[Any, ...], Tensor] | None = None  # latents of the last black control image, and what of

    @property
    def spec(self) -> BackboneSpec:
        """The backbone's own defaults: what the loader found, else those of the published model of this variant."""
        return self._spec or published(variant_of(self.transformer.config))

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = None,
        negative_prompt_2: str | list[str] | None = None,
        true_cfg_scale: float = 1.0,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = None,
        control_guidance_start: float | list[float] = 0.0,
        control_guidance_end: float | list[float] = 1.0,
        control_image: Any = None,
        controlnet_conditioning_scale: float | list[float] = 1.0,
        num_images_per_prompt: int | None = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        joint_attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        max_sequence_length: int | None = None,
        identity: Any = None,
        control_image_latents: Tensor | None = None,
        sample_control_image: bool = False,
        branches: Branches = "positive",
        refresh: str | RefreshPolicy = EVERY_STEP,
        schedule: str | Schedule = EXACT,
        decoupled: Decoupled | None = None,
        attention: Manipulation | None = None,
        timesteps: Any = None,
    ) -> Any:
        """Make pictures of a person. Arguments not named here are `FluxControlNetPipeline`'s.

        Args:
            true_cfg_scale: with a negative prompt and a scale other than 1, v = v_neg + scale * (v_pos - v_neg);
                InfuseNet acts on the positive branch alone, see `branches`.
            height, width: pixels, floored to a multiple of 16; the backbone's own by default.
            num_inference_steps: steps, at least 1; the backbone's own by default (28 for dev, 4 for schnell).
            guidance_scale: for dev, 3.5 by default; schnell has none. InfuseNet's own is always 1.
            control_guidance_start, control_guidance_end: it acts in step i of N when i/N >= start and (i+1)/N <= end.
            control_image: facial keypoints drawn on black, resized to the size: PIL, uint8 [H, W, 3], an array in 0..1,
                or a tensor [B, 3, height, width] in -1..1; black by default.
            controlnet_conditioning_scale: strength; at 0 InfuseNet does not run and the result is plain FLUX's.
            num_images_per_prompt: repeats prompts, ready embeddings, and identities that are one to a prompt.
            latents: initial noise, packed [B, L, 64]. Latents have the transformer's dtype.
            callback_on_step_end_tensor_inputs: also "denoised" (the step's x0 prediction, packed [B, L, 64]),
                "noise_pred" (the velocity) and the residuals (None in steps without InfuseNet).
            max_sequence_length: T5 tokens, at most 512; the backbone's own by default.
            identity: an `Identity`, or its tokens [1 or B, 8, dim]; None for plain FLUX.
            control_image_latents: a ready control image instead of `control_image`: packed latents [1 or B, L, 64].
            sample_control_image: encode the control image with a random draw for each picture, as the original does: it
                takes the global generator, before the initial latents and whatever `generator` is. By default the mode.
            branches: of true CFG, on which InfuseNet acts: "positive", as in the original, or "both".
            refresh: when InfuseNet is computed anew, see `infusenet.speed.parse_refresh`; in between its residuals are
                kept, 14 tensors of the latents' length for each branch it acts on.
            schedule: what becomes of the noise levels, see `infusenet.speed.parse_schedule`: "2+4" takes the first 2 of
                `num_inference_steps` and the rest in 4; "adaptive" takes so many at most, as the prediction changes.
            decoupled: FastFace's guidance instead of true CFG, on velocities; without a negative prompt it is "".
            attention: what becomes of the attention that the image pays to the identity inside InfuseNet, see
                `infusenet.guidance.joint.attention_named`.
            timesteps: refused; give `sigmas`.

        Returns:
            `FluxPipelineOutput`, or a tuple when `return_dict` is False.

        Raises:
            SettingsError: a value is outside what the call accepts, or values do not fit together.
            ValueError: diffusers' own checks of prompts and callbacks.
        """
        if timesteps is not None:
            raise SettingsError("FLUX's schedule is set by noise levels. Pass sigmas= instead of timesteps=.")
        spec, reuse, plan = self.spec, Reuse(parse_refresh(refresh)), parse_schedule(schedule)
        steps = len(sigmas) if sigmas is not None else spec.num_inference_steps
        steps = steps if num_inference_steps is None else num_inference_steps
        check_steps(steps)
        self._guidance_scale = spec.guidance_scale if guidance_scale is None else guidance_scale
        self._joint_attention_kwargs = joint_attention_kwargs or {}
        self._interrupt = False
        width, height = picture_size(control_image, width, height, spec)
        length = spec.max_sequence_length if max_sequence_length is None else max_sequence_length
        self.check_inputs(
            prompt,
            prompt_2,
            height,
            width,
            negative_prompt=negative_prompt,
            negative_prompt_2=negative_prompt_2,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            pooled_prompt_embeds=pooled_prompt_embeds,
            negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            max_sequence_length=length,
        )

        batch = batch_of(prompt, prompt_embeds, num_images_per_prompt)
        positive = self._text(prompt, prompt_2, prompt_embeds, pooled_prompt_embeds, batch, length)
        negative = None
        if needs_negative(decoupled, true_cfg_scale, negative_prompt is not None or negative_prompt_embeds is not None):
            if negative_prompt is None and negative_prompt_embeds is None:
                negative_prompt = ""
            embeds = negative_prompt_embeds, negative_pooled_prompt_embeds
            negative = self._text(negative_prompt, negative_prompt_2, *embeds, batch, length)

        scale = single(controlnet_conditioning_scale)
        shares = single(control_guidance_start), single(control_guidance_end)
        taken = plan.evaluations(steps)
        window = conditioning_window(taken, *shares)
        if identity is not None and (why := no_effect(scale, *shares, taken)):
            log.warning(why)
        if decoupled is not None and (short := decoupled.shortage(taken)):
            log.warning(short)
        scales = [scale * on * (identity is not None) for on in window]
        tokens = self._tokens(identity, batch) if any(scales) else None
        control = None
        if any(scales) or sample_control_image:  # before the latents: in the original its draw is the first
            control = self._control(control_image, control_image_latents, (width, height), batch, sample_control_image)

        channels = self.transformer.config.in_channels
        if latents is not None:
            latents = check_packed(latents, width, height, channels, batch.size, "latents")
        dtype, device = positive[0].dtype, self._execution_device
        latents, img_ids = self.prepare_latents(
            batch.size, channels // 4, height, width, dtype, device, generator, latents
        )
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = torch.full([batch.size], self._guidance_scale, device=device, dtype=torch.float32)
        set_schedule(self.scheduler, spec, steps, sigmas, latents.shape[1], device, plan)
        both = check_branches(branches) == "both"
        given = positive, negative, true_cfg_scale, guidance, tokens, control, scales, img_ids, both, reuse
        run = RunInputs(*given, decoupled, attention)
        walk = Walk(self.scheduler, plan, scales)
        latents = self._denoise(run, latents, walk, callback_on_step_end, callback_on_step_end_tensor_inputs)
        image = latents if output_type == "latent" else self._decode(latents, width, height, output_type)
        self.maybe_free_model_hooks()
        return FluxPipelineOutput(images=image) if return_dict else (image,)

    def _denoise(
        self,
        run: RunInputs,
        latents: Tensor,
        walk: Walk,
        callback: Callable[..., dict[str, Any]] | None,
        callback_inputs: Sequence[str],
    ) -> Tensor:
        batch, self._num_timesteps = latents.shape[0], len(walk)
        with self.progress_bar(total=len(walk)) as progress_bar, run.reuse:
            for i, t in walk:
                if self.interrupt:
                    continue
                at = {
                    "hidden_states": latents,
                    "timestep": t.expand(batch).to(latents.dtype) / 1000,
                    "img_ids": run.img_ids,
                    "joint_attention_kwargs": self.joint_attention_kwargs,
                    "return_dict": False,
                }
                now = Evaluation(i, self.scheduler.sigmas[i], latents)
                velocity, residuals = run.step(self.transformer, self.controlnet, now, at)
                walk.predicted(i, velocity)
                denoised = denoised_from_velocity(latents, velocity, self.scheduler.sigmas[i])
                latents = self.scheduler.step(velocity, t, latents, return_dict=False)[0].to(latents.dtype)
                if callback is not None:
                    offered = {
                        "latents": latents,
                        "prompt_embeds": run.positive[0],
                        "control_image": run.control,
                        "noise_pred": velocity,
                        "denoised": denoised,
                        "controlnet_block_samples": residuals[0],
                        "controlnet_single_block_samples": residuals[1],
                    }
                    changed = callback(self, i, t, {name: offered[name] for name in callback_inputs}) or {}
                    latents = changed.get("latents", latents)
                    run.take(changed)
                progress_bar.update()
        self._num_timesteps = len(walk)
        return finite(latents, "latents")

    def _text(self, prompt: Any, prompt_2: Any, embeds: Any, pooled: Any, batch: Batch, length: int) -> Text:
        """Text embeddings for every picture; ready ones are repeated like encoded ones."""
        if prompt is not None and (self.text_encoder is None or self.text_encoder_2 is None):
            raise SettingsError(
                "No text encoders are loaded. Pass prompt_embeds and pooled_prompt_embeds instead. For a negative "
                "prompt, pass negative_prompt_embeds and negative_pooled_prompt_embeds."
            )
        embeds, pooled, text_ids = self.encode_prompt(
            prompt=prompt,
            prompt_2=prompt_2,
            prompt_embeds=embeds,
            pooled_prompt_embeds=pooled,
            device=self._execution_device,
            max_sequence_length=length,
            lora_scale=self.joint_attention_kwargs.get("scale"),
        )
        embeds, pooled = (batch.spread(self._like_model(x), "text embeddings") for x in (embeds, pooled))
        return embeds, pooled, text_ids

    def _tokens(self, identity: Any, batch: Batch) -> Tensor:
        """Identity tokens for every picture."""
        if self.controlnet is None:
            raise SettingsError("There is an identity but no InfuseNet to carry it. Load an InfuseNet.")
        if not isinstance(getattr(self.controlnet, "_orig_mod", self.controlnet), InfuseNetModel):
            raise SettingsError(
                f"Expected an InfuseNetModel as controlnet, got {type(self.controlnet).__name__}. "
                "Load it with InfuseNetModel.load or InfuseNetModel.from_pretrained."
            )
        tokens = torch.as_tensor(getattr(identity, "tokens", identity))
        width = self.controlnet.config.joint_attention_dim
        if tokens.ndim != 3 or tokens.shape[-1] != width:
            raise SettingsError(
                f"Expected identity tokens [n, 8, {width}], got {list(tokens.shape)}. Load the identity encoder's "
                "image_proj file that belongs to this InfuseNet."
            )
        return batch.spread(finite(self._like_model(tokens), "identity tokens"), "identities")

    def _control(self, image: Any, ready: Tensor | None, size: tuple[int, int], batch: Batch, sample: bool) -> Tensor:
        """Packed latents of the control image [B, L, C], for every picture."""
        what = "control images"
        if ready is not None:
            if image is not None:
                raise SettingsError("Got both control_image and control_image_latents. Pass only one.")
            channels = self.transformer.config.in_channels
            return batch.spread(
                self._like_model(check_packed(ready, *size, channels, None, "control_image_latents")), what
            )
        if sample:  # spread before the draw: another one for each picture
            return self._encode(batch.spread(control_pixels(image, *size, self.image_processor), what), sample=True)
        if image is not None:
            return batch.spread(self._encode(control_pixels(image, *size, self.image_processor)), what)
        key = (self.vae, self.vae.dtype, self._execution_device, size)
        if self._black is None or self._black[0] != key:
            self._black = key, self._encode(control_pixels(None, *size, self.image_processor))
        return batch.spread(self._like_model(self._black[1]), what)

    def _encode(self, pixels: Tensor, *, sample: bool = False) -> Tensor:
        moments = self.vae.encode(pixels.to(self._execution_device, self.vae.dtype)).latent_dist
        latents = moments.sample() if sample else moments.mode()
        return self._like_model(pack_latents((latents - self.vae.config.shift_factor) * self.vae.config.scaling_factor))

    def _like_model(self, x: Tensor) -> Tensor:
        return x.to(self._execution_device, self.transformer.dtype)

    def _decode(self, latents: Tensor, width: int, height: int, output_type: str) -> Any:
        latents = unpack_latents(latents, height, width) / self.vae.config.scaling_factor + self.vae.config.shift_factor
        image = finite(self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0], "decoded picture")
        return self.image_processor.postprocess(image, output_type=output_type)
