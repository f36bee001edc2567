"""What a probe saw: chart, faces, the best step's latent, and words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import torch
from comfy_api.latest import io

from ...infusenet.errors import SettingsError
from ...infusenet.probe import Trace, batch
from ...infusenet.probe.drift import analyse
from ...infusenet.probe.lines import first_above
from ..checks import checked
from ..convert import pictures_to_image, with_samples
from ..sockets import TraceSocket, schema
from . import chart
from .decoders import full_decoder
from .others import ancestors
from .run import Run, flat
from .sampler_node import SamplerNode
from .watch import Watch

UI = "infusenet_drift"
_OTHER = (
    "The latent connected here is not the one that the probe saw sampler node {} end with, so this may be the record "
    "of an earlier run: connect the probe's model to the sampler, and run it again."
)
_LOST = "{} as this report's VAE decodes it: it is measured as the probe saw it."


class DriftReport(io.ComfyNode):
    """Where identity formed, peaked and drifted in one run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "DriftReport",
            "Identity Drift Report",
            description="Says at which step identity formed and peaked, how far it drifted afterwards, and what to try "
            "next; of a batch, also for each picture, and which came out best. Hands over the best step's latent. "
            "Steps are those of this one run, completed, from 1. Connect the sampler's latent, or a picture made from "
            "it: that makes the report follow the run.",
            search_aliases=["face similarity", "identity drift", "arcface score", "chart", "plot"],
            inputs=[
                TraceSocket.Input("trace", tooltip="From Identity Probe."),
                io.Latent.Input(
                    "samples",
                    optional=True,
                    tooltip="What the sampler gave. This, or image, tells which sampler is meant, and when.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Instead of samples: a picture made from what the sampler gave. It is not measured.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes the finished picture for its measurement, if the probe had only a small decoder.",
                ),
            ],
            outputs=[
                io.Image.Output("chart", display_name="chart", tooltip="Similarity by noise level and step."),
                io.Image.Output(
                    "faces", display_name="faces", tooltip="The aligned face (or the small picture) of each step."
                ),
                io.Latent.Output("best", display_name="best", tooltip="The prediction of the best step."),
                io.Int.Output("best_step", display_name="best_step", tooltip="Steps completed, from 1; 0 = none."),
                io.Float.Output("peak", display_name="peak", tooltip="Highest similarity, cosine; NaN = undefined."),
                io.Float.Output(
                    "drift", display_name="drift", tooltip="Peak - final, never negative; NaN = undefined."
                ),
                io.String.Output(
                    "json", display_name="json", tooltip="The whole record, with each picture's peak, final and drift."
                ),
                io.String.Output("csv", display_name="csv", tooltip="A row for each step and picture."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, trace, samples=None, image=None, vae=None) -> io.NodeOutput:
        """Find the run, and tell of it."""
        if samples is None and image is None:
            raise SettingsError(
                "Identity Drift Report does not know when to report. Connect the sampler's latent to samples, or a "
                "picture made from it to image."
            )
        hidden = getattr(cls, "hidden", None)
        run, note = find_run(trace, getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None), samples)
        record = finished(run, vae)
        if note is not None:
            record = replace(record, warnings=(*record.warnings, note))
        figures = analyse(record)
        best, best_step = best_of(run, record, samples)
        return io.NodeOutput(
            draw(record),
            faces_of(run, record),
            best,
            best_step,
            math.nan if figures.peak is None else figures.peak.value,
            math.nan if figures.drift is None else figures.drift,
            record_json(record),
            record.to_csv(),
            ui={
                UI: [{"run": run.name, "probe": trace.node, "sampler": run.sampler.node, **chart.curve(record)}],
                "text": [chart.words(record)],
            },
        )


def find_run(
    watch: Watch, prompt: dict[str, Any] | None, report: str | None, samples: dict[str, Any] | None = None
) -> tuple[Run, str | None]:
    """The run that gave `samples`; else that of the sampler upstream of a report, else the latest one.

    Returns:
        The run, and a note for the reader where it may be another than the one meant.

    Raises:
        SettingsError: nothing has been sampled with this probe's MODEL.
    """
    measured = {place: run for place, run in watch.runs.items() if run.trace is not None}
    if not measured:
        raise SettingsError(
            "The probe has seen no sampling. Connect Identity Probe's model output to the sampler whose result goes "
            "into this report."
        )
    index, near = SamplerNode.now().index, upstream(prompt or {}, report)
    for node in near:
        found = [run for place, run in measured.items() if place[0] == node]
        if found:
            run = next((run for run in found if run.sampler.index == index), found[-1])
            earlier = [run for run in reversed(watch.earlier) if run.trace is not None and run.sampler.node == node]
            known = (run, *found, *earlier)  # the host may have kept the result of an earlier run
            given = next((one for one in known if samples is None or gave(one, samples)), None)
            if given is not None:
                return given, None
            direct = (prompt or {}).get(str(report), {}).get("inputs", {}).get("samples") == [node, 0]
            return run, _OTHER.format(node) if direct else None
    latest = list(measured.values())[-1]
    if len(measured) == 1 and not prompt:
        return latest, None
    return latest, f"This is the latest run (sampler node {latest.sampler.node}); it is not upstream of this report."


def gave(run: Run, samples: dict[str, Any]) -> bool:
    """Whether a run ended with these latents."""
    latents = samples["samples"]
    return (
        run.final is not None
        and isinstance(latents, torch.Tensor)
        and run.final.shape == latents.shape
        and torch.equal(run.final.to(latents.dtype), latents.detach().cpu())
    )


def upstream(prompt: dict[str, Any], report: str | None) -> list[str]:
    """The nodes that a report's samples or image come from, the nearest first."""
    report = str(report)
    inputs = prompt.get(report, {}).get("inputs", {})
    meant = {name: inputs[name] for name in ("samples", "image") if name in inputs}
    return ancestors(report, {**prompt, report: {"inputs": meant}})


def finished(run: Run, vae: Any) -> Trace:
    """The run's trace; its finished picture measured through `vae` if the probe had only something small."""
    trace = run.trace
    assert trace is not None
    if vae is None or run.final is None or trace.final is None or trace.run.final_decoder in ("VAE", "tiny VAE"):
        return trace
    decoder = full_decoder(vae)
    final = run.remeasure(decoder.decode(flat(run.final)), trace.final)
    if final is None:
        return replace(trace, warnings=(*trace.warnings, _LOST.format(trace.wording.no_final)))
    return replace(trace, final=final, run=replace(trace.run, final_decoder=decoder.name))


def record_json(trace: Trace) -> str:
    """The record as JSON; `report` in it holds what follows from it: where it is above the lines, and each picture."""
    figures = batch.figures_of(trace)
    best = batch.best_of(figures)
    report = {
        "first_above": first_above(trace),
        "best_picture": None if best is None else best.picture,
        "pictures": [asdict(one) for one in figures],
    }
    return json.dumps({**json.loads(trace.to_json()), "report": report}, indent=1, allow_nan=False) + "\n"


def draw(trace: Trace) -> Any:
    """The chart as an IMAGE; matplotlib is imported here."""
    from ...infusenet.charts import figure_pixels, similarity_figure

    return pictures_to_image([figure_pixels(similarity_figure(trace))])


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
