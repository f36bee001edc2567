"""What a probe saw: chart, faces, the best step's latent, and words."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.probe import ProbeRecorder, StepRecord, Trace, batch, second
from ...infusenet.probe.drift import analyse
from ...infusenet.probe.lines import first_above
from ..checks import checked
from ..convert import pictures_to_image, with_samples
from ..sockets import TraceSocket, schema
from . import chart
from .best import best_of_batch, latents_of, picked
from .choice import find_run
from .decoders import flat, full_decoder
from .run import Run
from .watch import Watch

UI = "infusenet_drift"
SHOWN = 6  # runs of one execution beside each other
_PICKED = "The best outputs give step {} because step is set to it. Set step to 0 for the best step."
_LOST = "{} when decoded with this report's VAE, so the probe's own measurement is used."


class DriftReport(io.ComfyNode):
    """Where identity formed, peaked and drifted in one run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "DriftReport",
            "Identity Drift Report",
            description="Tells you at which step identity formed and peaked, how far it drifted afterwards, and what "
            "to try next. For a batch, it does so for each picture too, and says which came out best. Outputs the "
            "best step's latent. Steps are completed steps of this one run, counted from 1. Connect the sampler's "
            "latent, or a picture made from it, so that the report follows the run.",
            search_aliases=["face similarity", "identity drift", "arcface score", "likeness", "chart", "plot"],
            inputs=[
                TraceSocket.Input("trace", tooltip="From Identity Probe."),
                io.Latent.Input(
                    "samples",
                    optional=True,
                    tooltip="The sampler's latent. This, or image, tells the report which sampler to report on, and "
                    "when.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Instead of samples: a picture made from the sampler's latent. It is not measured.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes the finished picture so that it can be measured, if the probe had only a small "
                    "decoder.",
                ),
                io.Int.Input(
                    "run",
                    default=0,
                    min=0,
                    max=100000,
                    optional=True,
                    tooltip="For nodes that sample several times (detailers, tiles, XY plots): which run, from 1.\n"
                    "0: chosen automatically (the run whose result is in the latent, else one of its size, else the "
                    "largest picture).",
                ),
                io.Int.Input(
                    "step",
                    default=0,
                    min=0,
                    max=100000,
                    optional=True,
                    tooltip="Which step the best outputs return, counted from 1. A click on the chart sets it.\n0: the "
                    "best step, and the best finished picture of a batch.",
                ),
            ],
            outputs=[
                io.Image.Output("chart", display_name="chart", tooltip="Similarity by noise level and step."),
                io.Image.Output(
                    "faces", display_name="faces", tooltip="The aligned face (or small picture) at each step."
                ),
                io.Latent.Output("best", display_name="best", tooltip="The best step's prediction."),
                io.Int.Output(
                    "best_step",
                    display_name="best_step",
                    tooltip="The best step, counted from 1; 0 if there is none.",
                ),
                io.Float.Output(
                    "peak", display_name="peak", tooltip="The highest similarity (cosine); NaN if undefined."
                ),
                io.Float.Output(
                    "drift", display_name="drift", tooltip="Peak minus final, never negative; NaN if undefined."
                ),
                io.String.Output(
                    "json", display_name="json", tooltip="The whole record, with each picture's peak, final and drift."
                ),
                io.String.Output("csv", display_name="csv", tooltip="One row per step and picture."),
                io.Image.Output(
                    "best_picture", display_name="best_picture", tooltip="The finished picture most like the person."
                ),
                io.Latent.Output("best_latent", display_name="best_latent", tooltip="best_picture as a latent."),
                io.Int.Output(
                    "best_index",
                    display_name="best_index",
                    tooltip="Position of best_picture in the batch, counted from 0; -1 if there is none.",
                ),
                io.Float.Output(
                    "best_similarity",
                    display_name="best_similarity",
                    tooltip="Similarity of best_picture; NaN if undefined.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, trace, samples=None, image=None, vae=None, run=0, step=0) -> io.NodeOutput:
        """Find the run, and tell of it."""
        if samples is None and image is None:
            raise SettingsError(
                "Identity Drift Report does not know which sampler to report on. Connect the sampler's latent to "
                "samples, or a picture made from it to image."
            )
        hidden = getattr(cls, "hidden", None)
        place = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
        choice = find_run(trace, *place, samples, image, run)
        chosen, other = choice.run, second_of(trace, choice.run)
        which = " ".join(filter(None, [choice.which, _PICKED.format(step) if step else ""]))
        record = finished(trace, chosen, vae)
        if choice.note is not None:
            record = replace(record, warnings=(*record.warnings, choice.note))
        figures = analyse(record)
        beside = others(chosen)
        if step:
            best, best_step = latents_of(chosen, step, samples), step
            best_picture = picked(trace, chosen, record, samples, vae, step)
        else:
            best, best_step = best_of(chosen, record, samples)
            best_picture = best_of_batch(trace, chosen, record, samples, image, vae)
        return io.NodeOutput(
            draw(chosen, record, beside),
            faces_of(chosen, record),
            best,
            best_step,
            math.nan if figures.peak is None else figures.peak.value,
            math.nan if figures.drift is None else figures.drift,
            record_json(record, chosen, other),
            record.to_csv(),
            *best_picture,
            ui={
                UI: [
                    told(trace, chosen, record, which, other),
                    *(told(trace.second, one, one.trace) for one in [other] if one is not None),
                    *(told(trace, one, one.trace) for one in beside),
                ],
                "text": [chart.words(record, which, None if other is None else other.trace)],
            },
        )


def finished(watch: Watch, run: Run, vae: Any) -> Trace:
    """The run's trace; its finished picture measured through `vae` if the probe had only something small."""
    trace = run.trace
    assert trace is not None
    if vae is None or run.final is None or trace.final is None or trace.run.final_decoder in ("VAE", "tiny VAE"):
        return trace
    decoder = full_decoder(vae)
    final = remeasured(watch, decoder.decode(flat(run.final)), trace.final)
    if final is None:
        return replace(trace, warnings=(*trace.warnings, _LOST.format(trace.wording.no_final)))
    return replace(trace, final=final, run=replace(trace.run, final_decoder=decoder.name))


def remeasured(watch: Watch, pictures: Tensor, final: StepRecord) -> StepRecord | None:
    """The finished pictures measured anew, from another decoder; None where a face that was measured is lost."""
    again = ProbeRecorder(watch.recognizer, watch.references, lambda latents: latents)
    again.start(batch=final.batch)
    measured = again.finish(pictures).final
    if measured is None:
        return None
    pairs = zip(measured.similarity, final.similarity, strict=True)
    lost = any(now is None and before is not None for now, before in pairs)
    return None if lost else replace(measured, step=final.step, sigma=final.sigma)


def others(run: Run) -> list[Run]:
    """The latest other runs of its execution that are as large, the latest first."""
    alike = [one for one in run.execution.runs if one is not run and one.size == run.size]
    return alike[:-SHOWN:-1]


def second_of(watch: Watch, run: Run) -> Run | None:
    """The same run as a second recognizer measured it, where there is one."""
    if watch.second is None:
        return None
    sampler = run.sampler
    known = [one for one in watch.second.executions.found(sampler.node) if one.sampler.index == sampler.index]
    known += watch.second.executions.before(sampler.node)
    runs = (other for one in known if one.sampler.prompt == sampler.prompt for other in one.runs)
    return next((other for other in runs if other.number == run.number), None)


def told(watch: Watch, run: Run, trace: Trace, which: str = "", other: Run | None = None) -> dict[str, Any]:
    """What the browser draws of a run; `other` is the same one as a second recognizer measured it."""
    place = {"workflow": run.sampler.workflow, "number": run.number, "runs": run.execution.count}
    curve = chart.curve(trace, which, None if other is None else other.trace)
    return {"run": run.name, "probe": watch.node, "sampler": run.sampler.node, **place, **curve, **watch.compared}


def record_json(trace: Trace, run: Run, other: Run | None = None) -> str:
    """The record as JSON; `report` in it holds what follows from it: where it is above the lines, each picture, what a
    second recognizer says, and, where its node sampled several times, the figures of every run that is kept.
    """
    figures = batch.figures_of(trace)
    best = batch.best_of(figures)
    report = {
        "run": run.number,
        "runs": run.execution.count,
        "kept": [_figures(one) for one in run.execution.runs] if run.execution.count > 1 else [],
        "first_above": first_above(trace),
        "best_picture": None if best is None else best.picture,
        "pictures": [asdict(one) for one in figures],
        "second": None if other is None or other.trace is None else second.figures_of(trace, other.trace),
    }
    return json.dumps({**json.loads(trace.to_json()), "report": report}, indent=1, allow_nan=False) + "\n"


def _figures(run: Run) -> dict[str, Any]:
    trace = run.trace
    assert trace is not None
    figures, (width, height) = analyse(trace), run.size
    peak = None if figures.peak is None else figures.peak.value
    return {
        "run": run.number,
        "width": width,
        "height": height,
        "steps": trace.steps,
        "peak": peak,
        "final": figures.final,
    }


def draw(run: Run, trace: Trace, beside: Sequence[Run]) -> Any:
    """The chart as an IMAGE, with other runs of its execution beside it; matplotlib is imported here."""
    from ...infusenet.charts import figure_pixels, similarity_figure

    if not beside:
        return pictures_to_image([figure_pixels(similarity_figure(trace))])
    shown = sorted([run, *beside], key=lambda one: one.number)
    traces = [trace if one is run else one.trace for one in shown]
    names = [f"run {one.number}" + (", reported" if one is run else "") for one in shown]
    return pictures_to_image([figure_pixels(similarity_figure(traces, names=names))])


def faces_of(run: Run, trace: Trace) -> Any:
    """The faces of all steps as an IMAGE."""
    from ...infusenet.charts import faces_sheet

    return pictures_to_image([faces_sheet(trace, run.recorder.gallery)])


def best_of(run: Run, trace: Trace, samples: dict[str, Any] | None) -> tuple[dict[str, Any], int]:
    """The best step as a LATENT, else the sampler's own result; and its number, 0 where none was measured."""
    best, final = run.recorder.best, None if trace.final is None else trace.mean(trace.final)
    steps = [value for value in trace.means if value is not None]
    if trace.final is not None and final is not None and final > max(steps, default=-math.inf):
        return with_samples(samples or {}, run.final), trace.final.step
    if best is not None:
        return with_samples(samples or {}, run.latents(best.latents)), best.step
    if samples is not None:
        return samples, 0
    return {"samples": torch.zeros(1, 4, 8, 8) if run.final is None else run.final}, 0
