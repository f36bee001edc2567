"""At which of a sampler's steps InfuseNet acts, counted in the noise levels that this sampler was given.

The noise level alone tells the step for nearly every sampler of the host. heun and its kin, and two ancestral ones,
look at the NEXT noise level within a step, which cannot be told from that step's own first look: for them a clock, set
by the sampler's own callback, keeps count. It is hung on the sampler through the host's hooks, for runs that need it
only.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.hooks
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...infusenet.sampling import conditioning_window
from ...infusenet.speed import Reuse

_CLOCK, _SCHEDULE = "infusenet_step_clock", "infusenet_schedule"
_LOOKING_AHEAD = (
    "sample_heun",
    "sample_exp_heun",
    "sample_dpm_2_ancestral",
    "sample_dpmpp_2s_ancestral_cfg_pp",
)
_NEAR = 1e-4  # relative; noise levels that a sampler computed anew


def step_of(sigmas: Tensor, sigma: float) -> int:
    """The step i whose noise levels enclose `sigma`: sigmas[i] >= sigma > sigmas[i + 1].

    Args:
        sigmas: the sampler's noise levels [N+1], falling.
        sigma: the noise level of this evaluation.
    """
    above = int((sigmas[:-1] >= sigma * (1 - _NEAR)).sum())
    return max(0, above - 1)


class StepClock:
    """Counts the steps of one run of a sampler that looks ahead.

    Args:
        sigmas: the sampler's noise levels [N+1].
        looks_ahead: whether the sampler evaluates the next noise level within a step.

    Attributes:
        step: of the evaluation, from 0.
        shape: of the latents that the sampler works on, [n, 16, h, w].
        reuse: what InfuseNets keep for this run, by InfuseNet. Freed with the clock, however the run ends.
    """

    def __init__(self, sigmas: Tensor, looks_ahead: bool) -> None:
        self.sigmas = sigmas.detach().float().cpu()
        self.looks_ahead = looks_ahead
        self.called_back = -1  # step of the last callback, which comes after a step's first evaluation
        self.looks = 0  # evaluations of the next noise level since then
        self.step = 0
        self.shape: tuple[int, ...] = ()
        self.reuse: dict[Any, Reuse] = {}

    def evaluated(self, sigma: float, shape: tuple[int, ...] = ()) -> None:
        """The sampler asks for a prediction at this noise level, of latents of this shape."""
        self.shape = shape
        if not self.looks_ahead or self.called_back < 0:
            self.step = step_of(self.sigmas, sigma)
            return
        following = float(self.sigmas[min(self.called_back + 1, len(self.sigmas) - 1)])
        self.looks += abs(sigma - following) <= _NEAR * following
        self.step = self.called_back + (self.looks >= 2)

    def called(self, step: int) -> None:
        """The sampler's callback for a step, counted from 0."""
        self.called_back, self.looks = step, 0


def step_now(transformer_options: dict[str, Any], sigma: float) -> int | None:
    """The step, counted from 0, of an evaluation at this noise level; None where the levels are not known.

    Args:
        transformer_options: the host's, which hold the sampler's noise levels (a sampler of another pack may not).
        sigma: the noise level of this evaluation.
    """
    sigmas = _schedule(transformer_options)
    if sigmas is None:
        return None
    clock = transformer_options.get(_CLOCK)
    return clock.step if clock is not None else step_of(sigmas, sigma)


def is_on(transformer_options: dict[str, Any], sigma: float, start: float, end: float) -> bool | None:
    """Whether InfuseNet acts now, by the original pipeline's rule: i/N >= start and (i+1)/N <= end.

    Args:
        transformer_options: the host's.
        sigma: the noise level of this evaluation.
        start: first share of the steps, 0..1.
        end: last share, 0..1.

    Returns:
        None where the noise levels are not known.
    """
    step, sigmas = step_now(transformer_options, sigma), _schedule(transformer_options)
    return None if step is None else conditioning_window(len(sigmas) - 1, start, end)[step]


def _schedule(transformer_options: dict[str, Any]) -> Any:
    """The noise levels whose steps are counted, if there are any."""
    sigmas = transformer_options.get(_SCHEDULE, transformer_options.get("sample_sigmas"))
    return None if sigmas is None or len(sigmas) < 2 else sigmas


def clock_of(transformer_options: dict[str, Any]) -> StepClock | None:
    """The clock of a run; None where it has none."""
    return transformer_options.get(_CLOCK)


def keep_schedule(transformer_options: dict[str, Any], sigmas: Tensor) -> None:
    """A run goes on at other noise levels, in fewer steps: steps are still those of the schedule that it began with.

    Args:
        transformer_options: the host's, of the run.
        sigmas: the noise levels that it began with [N+1].
    """
    transformer_options.setdefault(_SCHEDULE, sigmas.detach().clone())
    clock = transformer_options.get(_CLOCK)
    if clock is not None:
        clock.looks_ahead = False  # its counting is of the steps before


def _set_clock(
    executor: Any, guider: Any, sigmas: Tensor, extra_args: Any, callback: Any, *rest: Any, **named: Any
) -> Any:
    """Wraps a sampler's run: puts a clock into its options and lets its callback move it."""
    options = extra_args["model_options"].setdefault("transformer_options", {})
    if _CLOCK in options:  # two hooks of one run
        return executor(guider, sigmas, extra_args, callback, *rest, **named)
    name = getattr(getattr(executor.class_obj, "sampler_function", None), "__name__", "")
    clock = StepClock(sigmas, name.startswith(_LOOKING_AHEAD))

    def move(step: int, *args: Any) -> None:
        clock.called(step)
        if callback is not None:
            callback(step, *args)

    options[_CLOCK] = clock
    try:
        return executor(guider, sigmas, extra_args, move, *rest, **named)
    finally:
        clock.reuse.clear()


def _tell_clock(
    executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any], *rest: Any, **named: Any
) -> Any:
    """Wraps each prediction: tells the clock its noise level."""
    clock = model_options.get("transformer_options", {}).get(_CLOCK)
    if clock is not None:
        clock.evaluated(float(timestep.max()), tuple(x.shape))
    return executor(x, timestep, model_options, *rest, **named)


@cache
def clock_hooks() -> comfy.hooks.HookGroup:
    """The host's hooks that keep the clock. One group, so that several InfuseNets of a graph register it once."""
    wrappers = {WrappersMP.SAMPLER_SAMPLE: {_CLOCK: [_set_clock]}, WrappersMP.PREDICT_NOISE: {_CLOCK: [_tell_clock]}}
    group = comfy.hooks.HookGroup()
    group.add(comfy.hooks.TransformerOptionsHook({"wrappers": wrappers}))
    return group


def with_clock(model: Any) -> Any:
    """A clone of a MODEL whose runs keep the clock, for what counts steps without an InfuseNet that does."""
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, _CLOCK, _set_clock)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, _CLOCK, _tell_clock)
    return model
