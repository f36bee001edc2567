"""One run of a sampler under a probe: what its callback says goes to the recorder, and nothing comes back."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import comfy.model_management
import folder_paths
import torch
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.probe import ProbeRecorder, RunInfo, StepRecord, Trace
from ...infusenet.probe.background import BackgroundRecorder
from ...infusenet.probe.drift import NOISE_LEFT, OWN_PACE
from ...infusenet.probe.records import same_network
from ..infusenet.adapter import InfuseNetControl, chain
from . import chart
from .decoders import Decoder, full_decoder, is_tiny, small_decoder
from .sampler_node import SamplerNode
from .stopping import SHORT, Cut, StopJudge, StopRule

log = logging.getLogger(__name__)

LIVE, AFTER = "live", "after the run"
_NO_ROOM = (
    "There is no room on the GPU for the image encoder beside the model, so the steps were measured after the run."
)
_NO_STOP = " So Stop at Identity Peak could not look, and the run was finished: free memory, or take it out."
_INTERRUPT = comfy.model_management.InterruptProcessingException


class Watching(Protocol):
    """Who watches: `watch.Watch`."""

    recognizer: Any
    references: tuple[Any, ...]
    strangers: Any
    node: str
    when: str
    every: int
    vae: Any

    @property
    def beside(self) -> dict[str, Any]:
        """What the browser draws beside the curve."""


class Run:
    """One run of one sampler under one probe. Nothing in here disturbs the sampler."""

    def __init__(
        self,
        watch: Watching,
        guider: Any,
        sigmas: Tensor,
        seed: int | None,
        sampler: SamplerNode,
        rule: StopRule | None,
        shape: Sequence[int],
    ) -> None:
        self.sampler, self.rule, self._watch = sampler, rule, watch
        self.name = uuid.uuid4().hex
        self.trace: Trace | None = None
        self.final: Tensor | None = None
        self.judge: StopJudge | None = None  # of a run with a rule of stopping
        self.cut: Cut | None = None  # a run that was cut short, by this probe's rule or another's
        self.stopped_at: int | None = None  # the step whose prediction is handed on, where that is not the end
        self.volume = False  # latents of video kind, [B, C, 1, h, w]
        self._model = guider.model_patcher.model
        self._device = guider.model_patcher.load_device
        self._decoder: Decoder | None = None
        self._trouble: str | None = None
        self._shape = shape  # of the latents
        self._notices: list[str] = []
        self._leaves_noise = False
        self._cancelled = False
        self._count, self._follows = 0, True
        self._controls = tuple(_infusenets(guider))
        about = _about(guider, self._controls)
        conditioning = conditions(watch.recognizer.name, (about.pop("recognizer", None), *sampler.recognizers))
        self._info = RunInfo(seed=seed, step_offset=sampler.offset, conditioning_recognizer=conditioning, **about)
        self.recorder = self._make_recorder()

    def begin(self, base_model: Any, sigmas: Tensor, sampler: str) -> None:
        """The sampler's loop starts."""
        try:
            self._begin(base_model, sigmas, sampler)
        except Exception as error:
            log.warning("The identity probe cannot start: %s", error, exc_info=True)
            self._trouble = f"the start: {type(error).__name__}: {error}"

    def _begin(self, base_model: Any, sigmas: Tensor, sampler: str) -> None:
        os.makedirs(folder_paths.get_temp_directory(), exist_ok=True)
        levels = sigmas.detach().float().cpu()
        self._model, self._follows = base_model, sampler not in OWN_PACE and bool(torch.isfinite(levels).all())
        self._leaves_noise = float(levels[-1]) > NOISE_LEFT
        steps = len(levels) - 1 if self._follows else None
        info = replace(self._info, steps=steps, sampler=sampler or None)
        self._make_room()
        self.recorder.start(levels if self._follows else None, run=replace(info, decoder=None))
        self._sigmas = levels.tolist()
        if self.rule is not None:
            self.judge = StopJudge(self.rule, steps, self.recorder.bar)
        self._send(start=True, steps=steps, offset=info.step_offset, **self._watch.beside)

    def _make_room(self) -> None:
        """A network that the host would load at the cost of the model that samples measures after the run."""
        has_room = getattr(self._watch.recognizer, "has_room", None)
        if self.recorder.when != "live" or has_room is None or has_room(self._model, self._shape):
            return
        self.recorder.when = "after"
        self._notices.append(_NO_ROOM + (_NO_STOP if self.rule is not None else ""))

    def step(self, index: int, x0: Tensor) -> None:
        """The sampler's callback: `x0` is the prediction in the model's space."""
        if not hasattr(self, "_sigmas"):  # it could not start
            return
        try:
            self._count += 1
            step = index + 1 if self._follows else self._count
            sigma = self._sigmas[index] if self._follows and index < len(self._sigmas) else None
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

    def follow(self, cut: Cut) -> None:
        """The run goes on at other noise levels."""
        if self.cut is None and hasattr(self, "_sigmas"):
            self.cut, self._sigmas = cut, list(cut.levels)
            self.recorder.cut_short(cut.step, cut.levels)

    def end(self, output: Tensor | None, error: BaseException | None = None) -> None:
        """Sampling is over: measure the rest, keep the trace, tell the browser."""
        try:
            self._end(output, error)
        finally:
            self._model = self._decoder = self.judge = None  # nothing large is kept with the record
            self._controls = ()

    def _end(self, output: Tensor | None, error: BaseException | None) -> None:
        if not hasattr(self, "_sigmas"):  # it failed before its first step
            return
        if error is not None and not isinstance(error, (Exception, _INTERRUPT)):
            self.recorder.close()
            return
        self.final = None if output is None else output.detach().cpu()
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
        notices = [*self._notices, *filter(None, (decoding, *idle))]
        self.trace = replace(
            trace,
            status=status or trace.status,
            reason="; ".join(filter(None, (reason, trace.reason))) or None,
            run=replace(trace.run, decoder=used, final_decoder=name or used),
            warnings=(*trace.warnings, *notices),
        )
        self._send(end=True, **chart.curve(self.trace))

    def latents(self, tensor: Tensor) -> Tensor:
        """Recorded latents in the shape of the sampler's own."""
        return tensor.unsqueeze(2) if self.volume else tensor

    def remeasure(self, pictures: Tensor, final: StepRecord) -> StepRecord | None:
        """The finished pictures measured anew, from another decoder; None where a face that was measured is lost."""
        watch = self._watch
        again = ProbeRecorder(watch.recognizer, watch.references, lambda latents: latents)
        again.start(batch=final.batch)
        measured = again.finish(pictures).final
        if measured is None:
            return None
        pairs = zip(measured.similarity, final.similarity, strict=True)
        lost = any(now is None and before is not None for now, before in pairs)
        return None if lost else replace(measured, step=final.step, sigma=final.sigma)

    def _outcome(self, error: BaseException | None) -> tuple[Any, str | None]:
        """Status and reason for the trace."""
        if isinstance(error, _INTERRUPT) or self._cancelled:
            return "interrupted", "it was cancelled."
        if error is not None:
            return "failed", f"{type(error).__name__}: {error}"
        if self.final is not None and not bool(torch.isfinite(self.final).all()):
            return "failed", "the sampler's result is not finite (NaN or infinity), so its picture is black."
        if self._trouble:
            return "failed", self._trouble
        if self.cut is not None:
            rest = len(self.cut.levels) - 1 - self.cut.step
            return "stopped at peak", f"It was cut short after step {self.cut.step}; {rest} larger steps ended it."
        if self.stopped_at is not None and self._count >= len(self._sigmas) - 1:
            return "stopped at peak", f"It was finished; step {self.stopped_at} was kept."
        if self.stopped_at is not None:
            return "stopped at peak", f"The likeness fell after step {self.stopped_at}; sampling went no further."
        return None, None

    def _final_latents(self) -> Tensor | None:
        """The sampler's result as it can be decoded, where it is a finished picture: no noise left, not of video."""
        try:
            return None if self.final is None or self._leaves_noise else flat(self.final)
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
            log.warning("The probe's VAE cannot decode the result: %s", error, exc_info=True)
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
            on_record=lambda record: self._send(point=chart.point(record)),
            batch_size=4,
            folder=folder_paths.get_temp_directory(),
        )

    def _send(self, **payload: Any) -> None:
        """An event for the probe node's chart."""
        chart.send({"node": self._watch.node, "sampler": self.sampler.node, "run": self.name, **payload})


def flat(latents: Tensor) -> Tensor:
    """Latents of pictures as [B, C, h, w]; some image models have them with one frame, [B, C, 1, h, w].

    Raises:
        SettingsError: they are of video, sound or something else.
    """
    if latents.ndim == 5 and latents.shape[2] == 1:
        return latents[:, :, 0]
    if latents.ndim != 4:
        raise SettingsError(f"a probe measures pictures, but this MODEL makes latents {list(latents.shape)}")
    return latents


def _infusenets(guider: Any) -> Iterator[InfuseNetControl]:
    """The InfuseNets that a guider's conditionings carry."""
    conds = [cond for group in getattr(guider, "conds", {}).values() for cond in group]
    controls = (control for cond in conds for control in chain(cond.get("control")))
    return (control for control in controls if isinstance(control, InfuseNetControl))


def _about(guider: Any, controls: Sequence[InfuseNetControl]) -> dict[str, Any]:
    """What the guider tells about the run: model, and how InfuseNet acts."""
    about: dict[str, Any] = {"backbone": type(guider.model_patcher.model).__name__}
    for control in controls[:1]:
        about |= {"strength": float(control.strength), "start": control.window[0], "end": control.window[1]}
        about["recognizer"] = control.recognizer
    return about


def conditions(measuring: str, known: Sequence[str | None]) -> str | None:
    """Which recognizer conditions: of several the one that measures, of which a trace warns; None = not known."""
    names = [name for name in known if name is not None]
    return next((name for name in names if same_network(name, measuring)), names[0] if names else None)
