"""A probe at work in the host: keyed wrappers around a MODEL's sampling, one record for each sampler node."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.measures import as_measure
from ...infusenet.probe import Baseline, Reference
from ...infusenet.probe.drift import NOISE_LEFT
from . import chart, stopping
from .run import LIVE, Run
from .sampler_node import SamplerNode
from .stopping import CUT, SHORT, StopRule

log = logging.getLogger(__name__)

KEY = "infusenet_probe"
_STOPPED = "infusenet_stopped"
_NUMBERS = itertools.count(1)
_KEPT = 4  # runs of earlier executions, for results that the host has kept longer than the latest


class _Stop(Exception):
    """Ends a sampler's loop; caught around it."""


class Watch:
    """What Identity Probe hands on as its trace: the records of all samplers that its MODEL goes through.

    Args:
        recognizer: measures: a face recognizer, or any Measure.
        references: the person or thing; or one for each picture of the batch, taken in turn.
        node: the probe node's id.
        when: "live" or "after the run".
        every: probe every so many steps.
        vae: decodes predictions; None = something small.
        strangers: what other people, or other pictures, score.
    """

    def __init__(
        self,
        recognizer: Any,
        references: Reference | Sequence[Reference],
        *,
        node: str = "",
        when: str = LIVE,
        every: int = 1,
        vae: Any = None,
        strangers: Baseline | None = None,
    ) -> None:
        self.recognizer, self.strangers = recognizer, strangers
        self.references = (references,) if isinstance(references, Reference) else tuple(references)
        self.node, self.when, self.every, self.vae = node, when, every, vae
        self.key = f"{KEY}:{node}:{next(_NUMBERS)}"
        self.runs: dict[tuple[str, int], Run] = {}
        self.earlier: deque[Run] = deque(maxlen=_KEPT)
        self._current: Run | None = None

    def attach(self, model: Any) -> Any:
        """A clone of a MODEL whose sampling is watched."""
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, self.key, self._around_run)
        model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, self.key, self._around_sampler)
        return model

    @property
    def beside(self) -> dict[str, Any]:
        """What the browser draws beside the curve of every run, before one has ended."""
        measure = as_measure(self.recognizer)
        blank = Baseline.pooled([reference.blank for reference in self.references])
        published = getattr(measure, "published_line", None)
        subject = measure.rule.subject
        return {
            "lines": chart.lines(self.strangers, blank, published, measure.name, subject),
            "labels": chart.labels(subject),
            "by": chart.measured_by(measure.name, measure.rule),
        }

    @property
    def latest(self) -> Run | None:
        """The run that ended last."""
        return next(reversed(self.runs.values()), None)

    def _around_run(self, executor: Any, *args: Any, **named: Any) -> Any:
        """Wraps a guider's sampling, loading and unloading included."""
        guider, sigmas = executor.class_obj, args[3]
        rule = _rule(guider.model_options, self.key)
        if rule is not None and float(sigmas[-1]) > NOISE_LEFT:
            raise SettingsError(
                "Stop at Identity Peak returns a finished picture, but this sampler ends with noise left (sigma "
                f"{float(sigmas[-1]):.3f}). Let it run to the last step (end_at_step, return_with_leftover_noise), or "
                "take the node out."
            )
        sampler = SamplerNode.now()
        mine = [key for key in self.runs if key[0] == sampler.node and (sampler.index == 0 or key[1] == sampler.index)]
        for key in mine:
            self.earlier.append(self.runs.pop(key))
        seed = args[7] if len(args) > 7 else named.get("seed")
        try:
            run = Run(self, guider, sigmas, seed, sampler, rule, tuple(args[0].shape))
        except Exception:
            log.warning("The identity probe cannot watch this run; it is sampled without.", exc_info=True)
            return executor(*args, **named)
        outer, self._current = self._current, run
        try:
            output = executor(*args, **named)
        except BaseException as error:
            run.end(None, error)
            raise
        finally:
            self._current = outer
            self.runs[sampler.node, sampler.index] = run
        run.end(output)
        return output

    def _around_sampler(
        self, executor: Any, guider: Any, sigmas: Tensor, extra_args: Any, callback: Any, *rest: Any, **named: Any
    ) -> Any:
        """Wraps the sampler's loop: listens to its callback, and ends it when the rule says so."""
        run = self._current
        if run is None:
            return executor(guider, sigmas, extra_args, callback, *rest, **named)
        shared = extra_args["model_options"].setdefault("transformer_options", {})
        if CUT not in shared:
            name = getattr(getattr(executor.class_obj, "sampler_function", None), "__name__", "")
            run.begin(guider.inner_model, sigmas, name.removeprefix("sample_").removesuffix("_function"))
        judge = run.judge
        if judge is not None and judge.rule.mode == SHORT:
            stopping.begin(shared)
        newest: list[Tensor] = []

        def hand_on(step: int, *more: Any) -> None:
            """Previews and denoised_output show what is handed on."""
            shared[_STOPPED] = judge.best_step  # type: ignore[union-attr]
            if callback is not None:
                callback(step, judge.best_inside, *more)  # type: ignore[union-attr]

        def listen(step: int, x0: Tensor, *more: Any) -> None:
            cut = shared.get(CUT)
            own = step  # a probe inside the one that decides is told the tail's own numbers
            if cut is not None:
                run.follow(cut)
                own += cut.step if inside else 0
            if _STOPPED not in shared:
                run.step(own, x0)
            if callback is not None:
                callback(step, x0, *more)
            if judge is None or cut is not None:
                return
            if judge.cut_at is not None:
                newest[:] = [x0.detach()]
                raise _Stop(self.key)
            if judge.best_step is not None:
                hand_on(step, *more)
                raise _Stop(self.key)
            if step == len(sigmas) - 2:
                judge.finish(x0.device)
                if judge.best_step is not None:
                    hand_on(step, *more)

        inside = CUT in shared
        try:
            output = executor(guider, sigmas, extra_args, listen, *rest, **named)
            return output if judge is None or judge.best_inside is None or inside else judge.best_inside
        except _Stop as stop:
            if stop.args != (self.key,) or judge is None:
                raise
            if judge.cut_at is None:
                return judge.best_inside

            def again(levels: Tensor, ours: Any, told: Any, *others: Any) -> Any:
                return executor(guider, levels, ours, told, *others, **named)

            return stopping.cut_short(
                again, listen, sigmas, judge.cut_at, judge.rule, guider, extra_args, rest, newest[0]
            )
        finally:
            run.stopped_at = shared.get(_STOPPED)


def last_live_probe(model: Any) -> str | None:
    """The key of the live probe that was attached last, or None."""
    wrappers = model.wrappers.get(WrappersMP.OUTER_SAMPLE, {})
    keys = [
        key
        for key, calls in wrappers.items()
        if str(key).startswith(KEY) and any(getattr(call.__self__, "when", None) == LIVE for call in calls)
    ]
    return keys[-1] if keys else None


def set_rule(model: Any, rule: StopRule) -> Any:
    """A clone of a MODEL whose sampling ends by the rule."""
    model = model.clone()
    model.model_options.setdefault("transformer_options", {})[KEY] = rule
    if rule.mode == SHORT:
        stopping.attach(model, rule.key)
    return model


def _rule(model_options: dict[str, Any], key: str) -> StopRule | None:
    """The rule that this probe decides on, if there is one."""
    rule = model_options.get("transformer_options", {}).get(KEY)
    return rule if isinstance(rule, StopRule) and rule.key == key else None
