"""Decoupled guidance as one of the host's guiders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider, calc_cond_batch, sampling_function
from torch import Tensor

from ...infusenet.guidance.decoupled import CONTENTS, Decoupled, Third
from ..infusenet.apply import Conditioning
from ..infusenet.gate import step_now, with_clock
from ..shared import tell
from .conditions import infusenets
from .without import WithoutIdentity

log = logging.getLogger(__name__)

_KEY = "infusenet_decoupled"
_CONDS: Mapping[Third, str] = {"full": "positive", "negative": "negative", "identity": "identity"}
"""The host's names of our branches: it shares what the positive carries with the others."""
_ROUNDING = 1e-3  # of a prediction's spread
_NO_DIFFERENCE = (
    "The model predicted the same with and without the identity, so FastFace's guidance had no effect. Either the "
    "identity's strength is 0, or its method changes the network itself and acts in both branches."
)


class DecoupledGuider(CFGGuider):
    """A guider that evaluates up to three branches a step, and puts them together by `Decoupled`.

    Args:
        model: the MODEL, with the identity where a method patches it.
        guidance: kind and weights.
        conditions: the conditioning of each third.
        plain: evaluates the branches without identity; None = `model` does, told by `cond_or_uncond`.
        node: id of the node that shows what is told of a run.
    """

    def __init__(
        self,
        model: Any,
        guidance: Decoupled,
        conditions: Mapping[Third, Conditioning],
        *,
        plain: WithoutIdentity | None = None,
        node: str | None = None,
    ) -> None:
        counted = any(net.extra_hooks is not None for net in infusenets(conditions["full"]))
        super().__init__(model if counted else with_clock(model))
        self.guidance, self._plain, self._node = guidance, plain, node
        self._differs: bool | None = None  # None: never compared in this run
        self.inner_set_conds({_CONDS[third]: conditioning for third, conditioning in conditions.items()})

    def outer_sample(self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *rest: Any, **named: Any):
        """The host's, and what is told of the run before and after it."""
        steps = len(sigmas) - 1
        told = "\n".join(filter(None, (cost(self.guidance, steps), self.guidance.shortage(steps))))
        log.info("FastFace: %s", told)
        tell(self._node, told)
        self._differs = None
        if self._plain is not None:
            self._plain.begin()
        output = super().outer_sample(noise, latent_image, sampler, sigmas, *rest, **named)
        if self._differs is False:
            log.warning(_NO_DIFFERENCE)
            tell(self._node, _NO_DIFFERENCE)
        return output

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any], seed: int | None = None
    ) -> Tensor:
        """The guided prediction.

        Args:
            x: noisy latents [B, ...].
            timestep: noise level [B].
            model_options: the host's.
            seed: the run's.

        Returns:
            The prediction without noise, [B, ...].
        """
        step = step_now(model_options["transformer_options"], float(timestep.max())) or 0
        thirds = needed(self.guidance, step, whole=bool(model_options.get("disable_cfg1_optimization")))
        if self.guidance.neutral_at(step):
            conds = self.conds.get("negative"), self.conds["positive"]
            return sampling_function(self.inner_model, x, timestep, *conds, 1.0, model_options, seed)
        denoised = self._evaluate(thirds, x, timestep, model_options)
        if thirds == self.guidance.branches_at(step):
            self._differs = self._differs or differ(self.guidance, denoised)
        else:  # it is weighed by 0, so that any stands in for it
            denoised["negative"] = denoised[thirds[0]]
        guided = combine(self.guidance, step, denoised, x, timestep)
        return self._finished(guided, denoised, x, timestep, model_options)

    def _evaluate(
        self, thirds: Sequence[Third], x: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> dict[Third, Tensor]:
        """The predictions of these thirds, those of one MODEL in one call, which the host splits as memory allows."""
        seen = CONTENTS[self.guidance.kind]
        apart = [third for third in thirds if self._plain is not None and not seen[third].identity]
        found: dict[Third, Tensor] = {}
        for group in filter(None, ([third for third in thirds if third not in apart], apart)):
            options = self._plain.options(model_options) if group is apart else model_options
            options = with_sides(options, [seen[third].identity for third in group])
            conds = [self.conds[_CONDS[third]] for third in group]
            if "sampler_calc_cond_batch_function" in options:
                args = {"conds": conds, "input": x, "sigma": timestep, "model": self.inner_model}
                made = options["sampler_calc_cond_batch_function"]({**args, "model_options": options})
            else:
                made = calc_cond_batch(self.inner_model, conds, x, timestep, options)
            found.update(zip(group, made, strict=True))
        return found

    def _finished(
        self,
        guided: Tensor,
        denoised: Mapping[Third, Tensor],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> Tensor:
        """After the MODEL's post-CFG functions, as samplers of the kind CFG++ and other nodes hang on it."""
        for function in model_options.get("sampler_post_cfg_function", []):
            guided = function(
                {
                    "denoised": guided,
                    "cond": self.conds["positive"],
                    "uncond": self.conds["negative"],
                    "cond_scale": 1.0,
                    "model": self.inner_model,
                    "uncond_denoised": denoised["negative"],
                    "cond_denoised": denoised["full"],
                    "sigma": timestep,
                    "model_options": model_options,
                    "input": x,
                }
            )
        return guided


def combine(guidance: Decoupled, step: int, denoised: Mapping[Third, Tensor], x: Tensor, sigma: Tensor) -> Tensor:
    """A step's guided prediction, put together where FastFace does it.

    The weights act alike on predictions of the picture and of the noise (SDXL's eps, FLUX's velocity: (x - x0) /
    sigma), since all are one linear step apart. Rescaling does not: it is of the noise's spread.

    Args:
        guidance: kind and weights.
        step: counted from 0.
        denoised: the thirds' predictions without noise, [B, ...] each.
        x: noisy latents [B, ...].
        sigma: noise level [B].
    """
    if not guidance.rescale:
        return guidance.combine(step, denoised)
    level = sigma.reshape(-1, *[1] * (x.ndim - 1)).clamp(min=1e-6)
    noise = {third: (x - value) / level for third, value in denoised.items()}
    return x - level * guidance.combine(step, noise)


def needed(guidance: Decoupled, step: int, *, whole: bool = False) -> tuple[Third, ...]:
    """The thirds that a step's prediction depends on: with a = 1, e1 and e2 alone.

    Args:
        guidance: kind and weights.
        step: counted from 0.
        whole: asks for all of them, for samplers that use the negative's prediction themselves.
    """
    thirds, (a, _) = guidance.branches_at(step), guidance.at(step)
    if a != 1 or whole or guidance.kind == "separate":
        return thirds
    return tuple(third for third in thirds if third != "negative")


def differ(guidance: Decoupled, denoised: Mapping[Third, Tensor]) -> bool:
    """Whether the two thirds with the same text, one with the identity and one without, predict differently.

    By more than rounding, that is: the host may evaluate them in batches of other sizes.
    """
    by_text: dict[bool, list[Tensor]] = {}
    for third, seen in CONTENTS[guidance.kind].items():
        by_text.setdefault(seen.prompt, []).append(denoised[third])
    one, other = next(pair for pair in by_text.values() if len(pair) == 2)
    return float((one - other).abs().mean()) > _ROUNDING * float(other.std())


def cost(guidance: Decoupled, steps: int) -> str:
    """What a run costs, in evaluations of the model."""
    each = [len(needed(guidance, step)) for step in range(steps)]
    listed = f"{each[0]} a step" if len(set(each)) <= 1 else "step by step: " + ", ".join(map(str, each))
    return f"{sum(each)} evaluations of the model in {steps} steps ({listed}). Without this guidance: {steps}."


def with_sides(model_options: dict[str, Any], identity: Sequence[bool]) -> dict[str, Any]:
    """Options of a call whose patches are told 0 (the host's "cond") for branches with identity, 1 for others.

    The host numbers the branches of a call; patches of attention know 0 and 1 alone, and put a zero identity where 1
    stands.
    """

    def told(
        executor: Any, x: Tensor, t: Tensor, c_concat: Any, c_crossattn: Any, control: Any, inside: Any, **named: Any
    ) -> Any:
        sides = [0 if identity[index] else 1 for index in inside["cond_or_uncond"]]
        return executor(x, t, c_concat, c_crossattn, control, {**inside, "cond_or_uncond": sides}, **named)

    inside = model_options["transformer_options"]
    wrappers = inside.get("wrappers", {})
    ours = {**wrappers.get(WrappersMP.APPLY_MODEL, {}), _KEY: [told]}
    return {
        **model_options,
        "transformer_options": {**inside, "wrappers": {**wrappers, WrappersMP.APPLY_MODEL: ours}},
    }
