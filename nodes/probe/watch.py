"""A probe at work in the host: keyed wrappers around a MODEL's sampling, one record for each sampler node."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.measures import as_measure
from ...infusenet.probe import Baseline, Reference
from ...infusenet.probe.drift import NOISE_LEFT
from . import chart, stopping
from .executions import Execution, Executions
from .guider import size_of
from .run import LIVE, Run
from .sampler_node import SamplerNode
from .stopping import CUT, LEFT_ALONE, SHORT, StopRule, refuse_noise

log = logging.getLogger(__name__)

KEY = "infusenet_probe"
_STOPPED = "infusenet_stopped"
_NUMBERS = itertools.count(1)


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
        skip_below: pictures whose longer side is shorter, in pixels, are sampled without being measured.
        notice: what every report has to say of the probe's own inputs.
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
        skip_below: int = 0,
        notice: str | None = None,
    ) -> None:
        self.skip_below, self.notice = skip_below, notice
        self.recognizer, self.strangers = recognizer, strangers
        self.references = (references,) if isinstance(references, Reference) else tuple(references)
        self.node, self.when, self.every, self.vae = node, when, every, vae
        self.key = f"{KEY}:{node}:{next(_NUMBERS)}"
        self.executions = Executions()
        self.second: Watch | None = None  # measures the same by another network
        self.pair: tuple[str, ...] = ()  # of the two, what measures: their curves are drawn together
        self._current: Run | None = None

    def compare(self, second: Watch) -> None:
        """Measure by a second network too.

        Raises:
            SettingsError: it is the same one.
        """
        self.second, pair = second, (self.measured_by, second.measured_by)
        if pair[0] == pair[1]:
            raise SettingsError(
                f"recognizer and second_recognizer are the same network ({self.title}). Load another one as the second."
            )
        self.pair = second.pair = pair

    @property
    def title(self) -> str:
        """What the network is called beside another."""
        return as_measure(self.recognizer).name.partition(" ")[0]

    @property
    def measured_by(self) -> str:
        """Network and rule."""
        measure = as_measure(self.recognizer)
        return chart.measured_by(measure.name, measure.rule)

    @property
    def compared(self) -> dict[str, Any]:
        """What the browser is told of the pair; nothing where there is none."""
        return {"pair": self.pair, "title": self.title} if self.pair else {}

    def attach(self, model: Any) -> Any:
        """A clone of a MODEL whose sampling is watched."""
        model = model.clone() if self.second is None else self.second.attach(model)
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, self.key, self._around_run)
        model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, self.key, self._around_sampler)
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, self.key, self._around_prediction)
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
            "by": self.measured_by,
            **self.compared,
        }

    @property
    def runs(self) -> dict[tuple[str, int], Run]:
        """The last run of each sampler node and item of a list, the latest last."""
        return {(one.sampler.node, one.sampler.index): one.runs[-1] for one in self.executions.found()}

    @property
    def latest(self) -> Run | None:
        """The run that ended last."""
        return next(reversed(self.runs.values()), None)

    def _around_run(self, executor: Any, *args: Any, **named: Any) -> Any:
        """Wraps a guider's sampling, loading and unloading included."""
        guider, sigmas = executor.class_obj, args[3]
        sampler, rule, notice = SamplerNode.now(), _rule(guider.model_options, self.key), None
        small = self._too_small(guider, args[0].shape)
        if rule is not None and not small and float(sigmas[-1]) > NOISE_LEFT:
            refuse_noise(sampler.inputs, float(sigmas[-1]))
            rule, notice = None, LEFT_ALONE
        execution, run = self.executions.of(sampler), None
        if small:
            execution.skipped += 1
        else:
            seed = args[7] if len(args) > 7 else named.get("seed")
            run = self._run(execution, guider, sigmas, seed, rule, tuple(args[0].shape), notice)
        outer, self._current = self._current, run
        try:
            output = executor(*args, **named)
        except BaseException as error:
            self._ended(execution, run, None, error)
            raise
        finally:
            self._current = outer
        self._ended(execution, run, output)
        return output

    def _run(
        self,
        execution: Execution,
        guider: Any,
        sigmas: Tensor,
        seed: int | None,
        rule: StopRule | None,
        shape: tuple[int, ...],
        notice: str | None,
    ) -> Run | None:
        """A run that begins; None where it cannot be watched, which harms no picture."""
        try:
            before = execution.waiting(tuple(sigmas.detach().float().cpu().tolist()), shape)
            notices = [text for text in (self.notice, notice) if text is not None]
            return Run(self, guider, sigmas, seed, execution.sampler, rule, shape, before, notices)
        except Exception:
            log.warning(
                "The identity probe could not follow this run, so it is sampled without the probe.", exc_info=True
            )
            return None

    def _ended(
        self, execution: Execution, run: Run | None, output: Tensor | None, error: BaseException | None = None
    ) -> None:
        """A run is over."""
        if run is None:
            return
        try:
            run.end(output, error)
            nothing = run.trace is None or (not run.trace.records and error is None)
            if nothing and execution.runs:  # as in a cycle that reports no step: the run before it is the one to show
                run.forget()
            elif run.trace is not None:
                self.executions.add(execution, run)
                run.tell()
        except Exception:
            log.warning("The identity probe failed at the end of a run. The picture is not affected.", exc_info=True)

    def _too_small(self, guider: Any, shape: Sequence[int]) -> bool:
        """Whether pictures of latents of this shape are not to be measured."""
        return max(size_of(guider, shape)) < self.skip_below

    def _around_prediction(self, executor: Any, x: Tensor, timestep: Tensor, *rest: Any, **named: Any) -> Any:
        """Wraps each evaluation of the model: notes the noise level that it is asked at."""
        if self._current is not None:
            self._current.ask(timestep)
        return executor(x, timestep, *rest, **named)

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
