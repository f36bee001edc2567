"""What one pipeline call works with, and a step of it: each branch's residuals and velocity, and their combination."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...errors import SettingsError
from ...guidance.decoupled import CONTENTS, Contents, Decoupled
from ...guidance.manipulation import Manipulation
from ...speed import Evaluation, Reuse
from .attention import manipulating

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
    on_negative: bool  # InfuseNet acts on the negative branch of true CFG too
    reuse: Reuse  # of its residuals
    decoupled: Decoupled | None = None  # instead of true CFG
    attention: Manipulation | None = None  # what becomes of the attention to the identity

    def step(
        self, transformer: Any, controlnet: Any, now: Evaluation, at: Mapping[str, Any]
    ) -> tuple[Tensor, Residuals]:
        """The velocity [B, L, 64] at a step, and the residuals that the branch with the prompt received.

        Args:
            transformer, controlnet: the networks.
            now: its number, 0..N-1, with what a policy of reuse looks at.
            at: what all calls of the step share: latents, noise level, positions.
        """

        def branch(name: str, sees: Contents) -> tuple[Tensor, Residuals]:
            text = self.positive if sees.prompt or self.negative is None else self.negative
            residuals = self.residuals(controlnet, now, text, at) if sees.identity else (None, None)
            return self._velocity(transformer, name, text, residuals, at), residuals

        if self.decoupled is not None:
            return self._decoupled(self.decoupled, now.step, branch)
        velocity, residuals = branch("cond", Contents(prompt=True, identity=True))
        if self.negative is not None:
            uncond, _ = branch("uncond", Contents(prompt=False, identity=self.on_negative))
            velocity = uncond + self.true_cfg_scale * (velocity - uncond)
        return velocity, residuals

    def _decoupled(
        self, guidance: Decoupled, step: int, branch: Callable[[str, Contents], tuple[Tensor, Residuals]]
    ) -> tuple[Tensor, Residuals]:
        """Decoupled guidance: each branch that the step needs once; where InfuseNet rests two of them are the same."""
        acts = bool(self.scales[step])
        contents = {third: CONTENTS[guidance.kind][third] for third in guidance.branches_at(step)}
        sees = {third: Contents(each.prompt, each.identity and acts) for third, each in contents.items()}
        seen: dict[Contents, tuple[Tensor, Residuals]] = {}
        for third, each in sees.items():
            if each not in seen:
                seen[each] = branch(third, each)
        return guidance.combine(step, {third: seen[each][0] for third, each in sees.items()}), seen[sees["full"]][1]

    def residuals(self, controlnet: Any, now: Evaluation, text: Text, at: Mapping[str, Any]) -> Residuals:
        """What InfuseNet adds to a branch at a step, by the branch's own pooled text; nothing where it rests."""
        if not self.scales[now.step]:  # at 0 the original computes residuals and multiplies them by 0
            return None, None
        assert self.tokens is not None, "it acts by them"
        tokens = self.tokens

        def compute() -> Residuals:
            with manipulating(controlnet, self.attention, now.step, tokens.shape[1]):
                residuals: Residuals = controlnet(
                    controlnet_cond=self.control,
                    conditioning_scale=self.scales[now.step],
                    encoder_hidden_states=tokens,
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


def needs_negative(decoupled: Decoupled | None, true_cfg_scale: float, given: bool) -> bool:
    """Whether a run has a branch with the negative prompt, for decoupled guidance or for true CFG.

    Args:
        decoupled: guidance that takes text and identity apart, if there is any.
        true_cfg_scale: 1 is none.
        given: whether the call has a negative prompt.

    Raises:
        SettingsError: both kinds of guidance are asked for.
    """
    if decoupled is None:
        return given and true_cfg_scale != 1
    if true_cfg_scale != 1:
        raise SettingsError(
            f"Decoupled guidance replaces true CFG, but true_cfg_scale is {true_cfg_scale:g}. Leave it at 1."
        )
    return decoupled.needs_negative
