"""One run of a sampler under a probe: what its callback says goes to the recorder, and nothing comes back."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import comfy.model_management
import folder_paths
import torch
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.probe import ProbeRecorder, RunInfo, Trace
from ...infusenet.probe.background import BackgroundRecorder
from ...infusenet.probe.pieces import without_levels
from ..shared import pack_of
from . import chart, seen
from .decoders import Decoder, flat, full_decoder, is_tiny, small_decoder
from .guider import about, conditions, infusenets, notices_on, size_of
from .levels import Levels, renumber
from .sampler_node import SamplerNode
from .stopping import SHORT, Cut, StopJudge, StopRule

if TYPE_CHECKING:
    from .watch import Watch

log = logging.getLogger(__name__)

LIVE, AFTER = "live", "after the run"
_NO_ROOM = "The image encoder does not fit on the GPU beside the model, so the steps were measured after the run."
_DISPLAYED = "This sampler reports its progress in steps of its own, so the noise level of each step is unknown."
_NO_STOP = (
    " Stop at Identity Peak therefore did nothing, and the run went to its end. Free some memory, or remove that node."
)
_INTERRUPT = comfy.model_management.InterruptProcessingException


class Run:
    """One run of one sampler under one probe. Nothing in here disturbs the sampler."""

    def __init__(
        self,
        watch: Watch,
        guider: Any,
        sigmas: Tensor,
        seed: int | None,
        sampler: SamplerNode,
        rule: StopRule | None,
        shape: Sequence[int],
        before: Run | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        self.sampler, self.rule, self._watch = sampler, rule, watch
        self.goes_on = before  # the run that this one is a further piece of
        self.name = uuid.uuid4().hex if before is None else before.name
        self.execution: Any = None  # the execution that it is one run of, and its number there, from 1
        self.number = 0
        self.trace: Trace | None = None
        self.final: Tensor | None = None
        self.predicted: Tensor | None = None  # the last prediction, which some nodes hand on, where it is not `final`
        self.size = size_of(guider, shape)  # width and height of the picture
        self.judge: StopJudge | None = None  # of a run with a rule of stopping
        self.cut: Cut | None = None  # a run that was cut short, by this probe's rule or another's
        self.stopped_at: int | None = None  # the step whose prediction is handed on, where that is not the end
        self.volume = False  # latents of video kind, [B, C, 1, h, w]
        self._model = guider.model_patcher.model
        self._device = guider.model_patcher.load_device
        self._decoder: Decoder | None = None
        self._trouble: str | None = None
        self._shape = shape  # of the latents
        self._notices = [*notices, *notices_on(guider)]
        self._cancelled = False
        self._levels: Levels | None = None  # None until it starts
        self._newest: Tensor | None = None
        self.steps_before = 0 if before is None or before.trace is None else len(before.trace.sigmas) - 1
        self._controls = tuple(infusenets(guider))
        told = about(guider, self._controls)
        conditioning = conditions(watch.recognizer.name, (told.pop("recognizer", None), *sampler.recognizers))
        self._info = RunInfo(seed=seed, step_offset=sampler.offset, conditioning_recognizer=conditioning, **told)
        self.recorder = self._make_recorder()
        seen.RUNS[self.name] = self

    def begin(self, base_model: Any, sigmas: Tensor, sampler: str) -> None:
        """The sampler's loop starts."""
        try:
            self._begin(base_model, sigmas, sampler)
        except Exception as error:
            log.warning("The identity probe could not start: %s", error, exc_info=True)
            self._trouble = f"the start: {type(error).__name__}: {error}"

    def _begin(self, base_model: Any, sigmas: Tensor, sampler: str) -> None:
        os.makedirs(folder_paths.get_temp_directory(), exist_ok=True)
        levels, self._model = Levels(sigmas, sampler), base_model
        steps = levels.steps
        info = replace(self._info, steps=steps, sampler=sampler or None)
        self._make_room()
        self.recorder.start(levels.sigmas if levels.known else None, run=replace(info, decoder=None))
        self._levels = levels
        if self.rule is not None:
            self.judge = StopJudge(self.rule, steps, self.recorder.bar)
        total = None if steps is None else self.steps_before + steps
        self._send(start=True, steps=total, offset=info.step_offset, **self._watch.beside)

    def _make_room(self) -> None:
        """A network that the host would load at the cost of the model that samples measures after the run."""
        has_room = getattr(self._watch.recognizer, "has_room", None)
        if self.recorder.when != "live" or has_room is None or has_room(self._model, self._shape):
            return
        self.recorder.when = "after"
        self._notices.append(_NO_ROOM + (_NO_STOP if self.rule is not None else ""))

    def step(self, index: int, x0: Tensor) -> None:
        """The sampler's callback: `x0` is the prediction in the model's space."""
        if self._levels is None:  # it could not start
            return
        try:
            self._newest = x0.detach()
            told = self._levels.step(index)
            if told is None:  # a run has as many records as steps
                return
            step, sigma = told
            if self.judge is not None and self._levels.displayed:
                self.judge.steps = None  # such a run is not cut short
            latents = self._model.process_latent_out(x0.detach().float())
            self.volume = latents.ndim == 5
            record = self.recorder.on_step(step, sigma, flat(latents))
            if self.judge is not None and self.cut is None and self.judge.wants(step):
                record = record or self.recorder.measured(step)
                if record is not None:
                    self.judge.look(step, record, x0)
        except Exception as error:
            log.warning("The identity probe failed at step %d: %s", index + 1, error, exc_info=True)
            self._trouble = self._trouble or f"step {index + 1}: {type(error).__name__}: {error}"

    def ask(self, sigma: Tensor) -> None:
        """The model is asked at a noise level [B]."""
        if self._levels is not None:
            self._levels.ask(sigma)

    def follow(self, cut: Cut) -> None:
        """The run goes on at other noise levels."""
        if self.cut is None and self._levels is not None:
            self.cut = cut
            self._levels.cut(cut.levels)
            self.recorder.cut_short(cut.step, cut.levels)

    def end(self, output: Tensor | None, error: BaseException | None = None) -> None:
        """Sampling is over: measure the rest, keep the trace, tell the browser."""
        try:
            self._end(output, error)
        finally:
            self._model = self._decoder = self.judge = self._newest = None  # nothing large is kept with the record
            self._controls = ()

    def _end(self, output: Tensor | None, error: BaseException | None) -> None:
        levels = self._levels
        if levels is None:  # it failed before its first step
            return
        if error is not None and not isinstance(error, (Exception, _INTERRUPT)):
            self.recorder.close()
            return
        levels.end(early=error is not None or self.stopped_at is not None or self.cut is not None)
        self.final = None if output is None else output.detach().cpu()
        self._keep_prediction()
        latents = self._final_latents()
        pictures, name = self._finished(latents)
        trace = self.recorder.finish(
            pictures,
            latents=latents if pictures is None else None,
            final_step=self.stopped_at,
        )
        status, reason = self._outcome(error)
        used = None if self._decoder is None else self._decoder.name
        decoding = None if self._decoder is None else self._decoder.notice
        idle = dict.fromkeys(control.idle for control in self._controls)
        displayed = _DISPLAYED if levels.displayed else None
        notices = [*self._notices, *filter(None, (displayed, decoding, *idle))]
        self.trace = replace(
            trace,
            status=status or trace.status,
            reason="; ".join(filter(None, (reason, trace.reason))) or None,
            run=replace(trace.run, decoder=used, final_decoder=name or used),
            warnings=(*trace.warnings, *notices),
        )
        if levels.left_off:
            self.trace = replace(self.trace, sigmas=levels.sigmas, run=replace(self.trace.run, steps=levels.count))
        if levels.displayed:
            self.trace = without_levels(self.trace, levels.numbers)
            renumber(self.recorder, levels.numbers)

    def _keep_prediction(self) -> None:
        """The last prediction as the host hands it on ("denoised_output"), where that is not the result."""
        if self._newest is None or self.final is None or self._model is None:
            return
        predicted = self._model.process_latent_out(self._newest.cpu())
        self.predicted = None if torch.equal(predicted.to(self.final), self.final) else predicted

    def forget(self) -> None:
        """The browser forgets a run that has nothing to show; one that it goes on with is told again."""
        before = self.goes_on
        if before is None:
            self._send(gone=True)
        else:
            seen.RUNS[self.name] = before
            before.tell()

    def tell(self) -> None:
        """The browser is told of the whole curve, once the run has ended and has its place among others."""
        if self.trace is not None:
            self._send(
                end=True,
                number=self.number,
                runs=self.execution.count,
                **chart.curve(self.trace),
                **self._watch.compared,
            )

    def latents(self, tensor: Tensor) -> Tensor:
        """Recorded latents in the shape of the sampler's own."""
        return tensor.unsqueeze(2) if self.volume else tensor

    def _outcome(self, error: BaseException | None) -> tuple[Any, str | None]:
        """Status and reason for the trace."""
        if isinstance(error, _INTERRUPT) or self._cancelled:
            return "interrupted", "it was cancelled."
        if error is not None:
            pack = pack_of(error)
            return "failed", f"{type(error).__name__}: {error}" + (f" (in {pack}, another pack)" if pack else "")
        if self.final is not None and not bool(torch.isfinite(self.final).all()):
            return "failed", "the sampler's result contains NaN or infinity, so the picture is black."
        if self._trouble:
            return "failed", self._trouble
        if self.cut is not None:
            rest = len(self.cut.levels) - 1 - self.cut.step
            return "stopped at peak", (
                f"It was cut short after step {self.cut.step} and finished in {rest} larger steps."
            )
        levels = self._levels
        if self.stopped_at is not None and levels is not None and levels.count >= len(levels.sigmas) - 1:
            return "stopped at peak", f"It ran to the end, and step {self.stopped_at} was kept."
        if self.stopped_at is not None:
            return "stopped at peak", f"The likeness fell after step {self.stopped_at}, so sampling stopped."
        return None, None

    def _final_latents(self) -> Tensor | None:
        """The sampler's result as it can be decoded, where it is a finished picture: no noise left, not of video."""
        try:
            noise = self._levels is None or self._levels.leaves_noise
            return None if self.final is None or noise else flat(self.final)
        except SettingsError:
            return None  # told by the steps

    def _finished(self, latents: Tensor | None) -> tuple[Tensor | None, str | None]:
        """Finished pictures by the full VAE, where steps were looked at by something smaller."""
        vae = self._watch.vae
        if latents is None or vae is None or self._watch.when == AFTER or is_tiny(vae):
            return None, None
        try:
            decoder = full_decoder(vae)
            return self._look(decoder, latents), decoder.name
        except Exception as error:
            log.warning("The probe's VAE could not decode the result: %s", error, exc_info=True)
            return None, None

    def _decode(self, latents: Tensor) -> Tensor:
        """The recorder's decoder, chosen when first needed."""
        if self._decoder is None:
            watch = self._watch
            whole = watch.vae is not None and watch.when == AFTER
            self._decoder = full_decoder(watch.vae) if whole else small_decoder(watch.vae, self._model, self._device)
        return self._look(self._decoder, latents)

    def _look(self, decoder: Decoder, latents: Tensor) -> Tensor:
        """Decode. Cancel, which the host's networks notice in any thread, is given back for the sampler to notice."""
        try:
            return decoder.decode(latents)
        except _INTERRUPT as error:
            self._cancelled = True
            comfy.model_management.interrupt_current_processing()
            raise RuntimeError("it was cancelled") from error

    def _make_recorder(self) -> ProbeRecorder:
        watch = self._watch
        waits = self.rule is not None and self.rule.mode != SHORT  # for every step; else for few
        in_loop = waits or getattr(watch.recognizer, "in_loop", False)
        in_loop = in_loop or "CPU" not in getattr(watch.recognizer, "provider", "CPU")
        kind = ProbeRecorder if watch.when == AFTER or in_loop else BackgroundRecorder
        return kind(
            watch.recognizer,
            watch.references,
            self._decode,
            when="after" if watch.when == AFTER else "live",
            every=watch.every,
            strangers=watch.strangers,
            on_record=lambda record: self._send(
                point=chart.point(replace(record, step=self.steps_before + record.step))
            ),
            batch_size=4,
            keep_latents="all",
            folder=folder_paths.get_temp_directory(),
        )

    def _send(self, **payload: Any) -> None:
        """An event for the probe node's chart."""
        place = {"workflow": self.sampler.workflow, "node": self._watch.node, "sampler": self.sampler.node}
        chart.send({**place, "run": self.name, **payload})
