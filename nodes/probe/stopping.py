"""Stop at Identity Peak at work: when a sampler's loop is ended, and how the rest of its noise is removed then.

A loop is ended by raising in its own callback. What is left of the noise is removed by the same sampler, called again
with fewer noise levels from where the model was asked last: every sampler of the host that steps through noise levels
asks the model at a step's own level first, so that the state there, and the prediction of it, are known whatever the
sampler hands to its callback. From there one straight step leads to the tail's first level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.metrics.base import mean_of
from ...infusenet.probe import StepRecord
from ...infusenet.probe.stopping import SHARE, TAIL, best_kept, is_on_course, saves, should_stop, stop_step
from ...infusenet.sampling import tail
from ..infusenet import gate
from .chart import BEST, SHORT

PEAK = "at the peak"
MODES = (SHORT, BEST, PEAK)
_LAST = "infusenet_last_prediction"
CUT = "infusenet_cut"


LEFT_ALONE = (
    "This run ended with noise left because its node samples in several parts, so Stop at Identity Peak did nothing."
)


def refuse_noise(inputs: dict[str, Any], sigma: float) -> None:
    """Refuse a run that ends with noise left, where its node has a setting that helps; else do nothing.

    Args:
        inputs: of the sampler node, by name.
        sigma: the noise level that is left.

    Raises:
        SettingsError: what to change there.
    """
    helps = {
        "return_with_leftover_noise": "Let it run to the last step (end_at_step, return_with_leftover_noise)",
        "sigmas": "Give it sigmas that end at 0",
    }
    words = next((words for name, words in helps.items() if name in inputs), None)
    if words is not None:
        raise SettingsError(
            "Stop at Identity Peak returns a finished picture, but this sampler ends with noise left (sigma "
            f"{sigma:.3f}). {words}, or remove Stop at Identity Peak."
        )


@dataclass(frozen=True)
class StopRule:
    """What Stop at Identity Peak asks for. `key` names the probe that decides.

    Attributes:
        mode: SHORT cuts the run short after a share of it, once the face is seen above the lines, and goes on in a few
            larger steps; BEST finishes and keeps the most alike sharp step; PEAK is the first rule.
        patience, min_steps, tolerance: of PEAK, see `infusenet.probe.stopping.should_stop`.
        share: of the steps, after which SHORT may stop.
        tail_steps: SHORT's steps after that.
    """

    key: str
    patience: int = 2
    min_steps: int = 2
    tolerance: float = 0.01
    mode: str = PEAK
    share: float = SHARE
    tail_steps: int = TAIL


@dataclass(frozen=True)
class Cut:
    """A run that was cut short: after which of its steps, and the noise levels that it has and gets."""

    step: int
    levels: tuple[float, ...]


class StopJudge:
    """Decides during one run. It depends on what is seen alone, never on time.

    Args:
        rule: how.
        steps: of the run; None where callbacks are no steps of the schedule: such a run is never cut short.
        bar: what a likeness must exceed to be above every known line.
    """

    def __init__(self, rule: StopRule, steps: int | None, bar: float | None) -> None:
        self.rule, self.steps, self.bar = rule, steps, bar
        self.cut_at: int | None = None  # SHORT: steps completed when it is time
        self.best_step: int | None = None  # PEAK: the step that is handed on, when it is time; BEST: at the end
        self.best_inside: Tensor | None = None  # that step's prediction, as the model has it
        self._values: list[float | None] = []
        self._highest, self._best = float("-inf"), 0
        self._items: set[int] = set()
        self._kept: list[tuple[StepRecord, Tensor]] = []

    def wants(self, step: int) -> bool:
        """Whether this step must be looked at before the next one begins."""
        if self.rule.mode != SHORT:
            return True
        if self.steps is None or not saves(self.steps, step, self.rule.tail_steps):
            return False
        return step >= stop_step(self.steps, self.rule.share)

    def look(self, step: int, record: StepRecord, x0: Tensor) -> None:
        """Take a step that has been looked at; `x0` is its prediction as the model has it."""
        if self.rule.mode == SHORT:
            values = [value if seen else None for value, seen in zip(record.similarity, record.found, strict=True)]
            if self.wants(step) and is_on_course(values, self.bar):
                self.cut_at = step
        elif self.rule.mode == BEST:
            self._kept.append((record, x0.detach().clone().cpu()))
        else:
            self._follow(step, record, x0)

    def finish(self, device: torch.device) -> None:
        """BEST: the run is at its end; choose."""
        if self.rule.mode != BEST or not self._kept:
            return
        records = [record for record, _ in self._kept]
        place = best_kept(
            [_mean(r) for r in records], [mean_of(r.sharpness) for r in records], _last_sharpness(records)
        )
        if place is not None and place != len(records) - 1:
            self.best_step, self.best_inside = records[place].step, self._kept[place][1].to(device)
        self._kept.clear()

    def _follow(self, step: int, record: StepRecord, x0: Tensor) -> None:
        """PEAK: keep the best prediction so far."""
        new = {item for item, seen in enumerate(record.found) if seen} - self._items
        if new:  # the mean is over other pictures now, so that earlier ones cannot be compared with it
            self._items |= new
            self._values, self._highest = [None] * len(self._values), float("-inf")
        seen = bool(self._items) and all(record.found[item] for item in self._items)
        value = mean_of([record.similarity[item] for item in self._items]) if seen else None
        self._values.append(value)
        if value is not None and value > self._highest:
            self._highest, self.best_inside, self._best = value, x0.detach().clone(), step
        rule = self.rule
        lost = should_stop(self._values, patience=rule.patience, min_steps=1, tolerance=rule.tolerance)
        if step >= rule.min_steps and lost is not None:
            self.best_step = self._best


def _mean(record: StepRecord) -> float | None:
    """Mean of a batch in which every face is seen."""
    return mean_of(record.similarity) if all(record.found) else None


def _last_sharpness(records: list[StepRecord]) -> float | None:
    return mean_of(records[-1].sharpness)


# ------------------------------------------------------------------------------------------ the tail


class Last:
    """The newest evaluation of the model: its input, noise level and prediction."""

    def __init__(self) -> None:
        self.x: Tensor | None = None
        self.sigma: Tensor | None = None  # a tensor still: to read it here would wait for the GPU at every step
        self.x0: Tensor | None = None


def remember(
    executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any], *rest: Any, **named: Any
) -> Any:
    """Wraps each prediction: keeps the newest where a rule may need it."""
    x0 = executor(x, timestep, model_options, *rest, **named)
    last = model_options.get("transformer_options", {}).get(_LAST)
    if last is not None:
        last.x, last.sigma, last.x0 = x.detach().clone(), timestep.detach().max(), x0.detach()
    return x0


def attach(model: Any, key: str) -> None:
    """Let a MODEL's predictions be remembered, for a rule that cuts runs short."""
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, f"{key}:last", remember)


def begin(shared: dict[str, Any]) -> None:
    """A run that may be cut short begins."""
    shared[_LAST] = Last()


def cut_short(
    again: Callable[..., Any],
    run: Callable[[int, Tensor, Tensor, int], None],
    sigmas: Tensor,
    step: int,
    rule: StopRule,
    guider: Any,
    extra_args: dict[str, Any],
    rest: tuple[Any, ...],
    predicted: Tensor,
) -> Any:
    """Remove what noise is left after `step` steps in a few larger ones.

    Args:
        again: the sampler, called as `again(sigmas, extra_args, callback, noise, ...)`.
        run: the callback, told of step numbers that go on from those before.
        sigmas: the whole run's noise levels.
        step: steps completed.
        rule: how many larger steps.
        guider: the host's, for how its model mixes noise and picture.
        extra_args: the sampler's.
        rest: noise, latent picture, mask and whatever the sampler takes after its callback.
        predicted: the prediction of that step as the sampler's callback had it, inside a mask blended.

    Returns:
        What the sampler gives.
    """
    shared = extra_args["model_options"]["transformer_options"]
    last: Last = shared.pop(_LAST)
    assert last.x is not None and last.x0 is not None and last.sigma is not None
    asked = float(last.sigma)
    levels = tail(sigmas, step, rule.tail_steps)
    merged = torch.cat([sigmas[:step], levels])
    shared[CUT] = Cut(step, tuple(merged.detach().float().cpu().tolist()))
    gate.keep_schedule(shared, sigmas)
    shared["sample_sigmas"] = merged
    total = len(merged) - 1
    # asked at the step's own level, as nearly all samplers do: then the callback's prediction is of that very state
    x0 = predicted if abs(asked - float(sigmas[step - 1])) <= 1e-4 * asked else last.x0
    state = x0 + (last.x - x0) * (float(levels[0]) / asked)
    noise, latent, *more = rest
    noise = as_noise(guider.inner_model.model_sampling, levels[0], state, latent)
    seed = extra_args.get("seed")
    ours = {**extra_args, "seed": seed if seed is None else seed + 1}  # random samplers must not draw the same again

    def on(index: int, x0: Tensor, x: Tensor, _: int) -> None:
        run(step + index, x0, x, total)

    return again(levels.clone(), ours, on, noise, latent, *more)


def as_noise(sampling: Any, sigma: Tensor, state: Tensor, latent: Tensor) -> Tensor:
    """The noise with which the host, mixing it with the latent picture at a noise level, begins at this very state.

    Args:
        sampling: the model's `model_sampling`; its mixing is linear in the noise.
        sigma: the noise level.
        state: what the sampler's loop shall begin with.
        latent: the latent picture that the host will mix in, of the same shape.
    """
    sigma = sigma.to(state)
    offset = sampling.noise_scaling(sigma, torch.zeros_like(state), latent.to(state), False)
    scale = sampling.noise_scaling(sigma, torch.ones_like(state), torch.zeros_like(state), False)
    return (state - offset) / scale
