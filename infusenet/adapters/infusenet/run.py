"""What one pipeline call works with, and a step of it: each branch's residuals and velocity, and their combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...speed import Evaluation, Reuse

Text = tuple[Tensor, Tensor, Tensor]  # embeddings [B, T, dim], pooled [B, dim], positions [T, 3]
Residuals = tuple[Sequence[Tensor] | None, Sequence[Tensor] | None]  # for the double and the single blocks


@dataclass
class RunInputs:
    """What the loop of one call works with. B pictures, L image tokens, N steps."""

    positive: Text
    negative: Text | None
    true_cfg_scale: float
    guidance: Tensor | None  # the backbone's [B], None for schnell
    tokens: Tensor | None  # identity [B, 8, dim]
    control: Tensor | None  # packed latents of the control image [B, L, 64]
    scales: list[float]  # InfuseNet's strength at each of the N steps
    img_ids: Tensor  # [L, 3]
    on_negative: bool  # InfuseNet acts on the negative branch too
    reuse: Reuse  # of its residuals

    def step(
        self, transformer: Any, controlnet: Any, now: Evaluation, at: Mapping[str, Any]
    ) -> tuple[Tensor, Residuals]:
        """The velocity [B, L, 64] at a step, and the residuals that the positive branch received.

        Args:
            transformer, controlnet: the networks.
            now: its number, 0..N-1, with what a policy of reuse looks at.
            at: what all calls of the step share: latents, noise level, positions.
        """
        residuals = self.residuals(controlnet, now, self.positive, at)
        velocity = self._velocity(transformer, "cond", self.positive, residuals, at)
        if self.negative is not None:
            theirs: Residuals = (None, None)
            if self.on_negative:
                theirs = self.residuals(controlnet, now, self.negative, at)
            uncond = self._velocity(transformer, "uncond", self.negative, theirs, at)
            velocity = uncond + self.true_cfg_scale * (velocity - uncond)
        return velocity, residuals

    def residuals(self, controlnet: Any, now: Evaluation, text: Text, at: Mapping[str, Any]) -> Residuals:
        """What InfuseNet adds to a branch at a step, by the branch's own pooled text; nothing where it rests."""
        if not self.scales[now.step]:  # at 0 the original computes residuals and multiplies them by 0
            return None, None

        def compute() -> Residuals:
            residuals: Residuals = controlnet(
                controlnet_cond=self.control,
                conditioning_scale=self.scales[now.step],
                encoder_hidden_states=self.tokens,
                pooled_projections=text[1],
                **at,
            )
            return residuals

        return self.reuse.of(id(text[1]), now, compute)  # each branch's text lives as long as the run

    def take(self, changed: Mapping[str, Any]) -> None:
        """What a callback has changed; residuals of another control image are not used any more."""
        self.positive = (changed.get("prompt_embeds", self.positive[0]), *self.positive[1:])
        control = changed.get("control_image", self.control)
        if control is not self.control:
            self.reuse.clear()
        self.control = control

    def _velocity(
        self, transformer: Any, branch: str, text: Text, residuals: Residuals, at: Mapping[str, Any]
    ) -> Tensor:
        """What the backbone says of one branch; caches that hang on it keep branches apart by their names."""
        embeds, pooled, text_ids = text
        with transformer.cache_context(branch):
            velocity: Tensor = transformer(
                encoder_hidden_states=embeds,
                pooled_projections=pooled,
                txt_ids=text_ids,
                guidance=self.guidance,
                controlnet_block_samples=residuals[0],
                controlnet_single_block_samples=residuals[1],
                **at,
            )[0]
        return velocity
