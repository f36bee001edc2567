"""The probe: how much the picture looks like the person, step by step, on any MODEL and sampler."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ...infusenet import miniature as shipped
from ...infusenet.errors import SettingsError, require
from ...infusenet.measures import LEAST_IMPOSTORS, Baseline, Reference, as_measure, impostors
from ...infusenet.miniature.people import drawn_strangers
from ...infusenet.probe.stopping import SHARE, TAIL
from ..checks import checked
from ..convert import image_to_pictures
from ..shared import show
from ..sockets import RecognizerSocket, TraceSocket, recognizer_input, reference_input, schema, strangers_input
from .run import AFTER, LIVE
from .stopping import MODES, SHORT, StopRule
from .watch import Watch, last_live_probe, set_rule

log = logging.getLogger(__name__)

ONE, EACH = "one person", "one per image"
"""Whom a batch of references shows."""


class IdentityProbe(io.ComfyNode):
    """Listens to the sampler's callback; changes nothing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "IdentityProbe",
            "Identity Probe",
            description="Measures how much each step's prediction looks like the reference while the picture forms. "
            "The picture stays the same, bit for bit, with and without the probe. Works with any image MODEL and "
            "sampler, and with any identity method.",
            search_aliases=["face similarity", "identity drift", "arcface score", "likeness", "consistent character"],
            inputs=[
                io.Model.Input("model", tooltip="Any image MODEL. Connect the model output to the sampler."),
                recognizer_input(),
                reference_input(),
                io.Combo.Input(
                    "when",
                    options=[LIVE, AFTER],
                    default=LIVE,
                    tooltip="live: the curve grows during sampling; steps are seen through a small decoder.\n"
                    "after the run: steps are only copied during sampling, then decoded by the vae.",
                ),
                io.Int.Input(
                    "every",
                    default=1,
                    min=1,
                    max=1000,
                    tooltip="Measures steps 1, 1 + every, 1 + 2 * every, ... and the last one.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="when = after the run: decodes the steps.\nwhen = live: decodes the finished picture (and "
                    "the steps, if it is a tiny VAE).\nIf not connected, a small decoder is used: TAESD from "
                    "models/vae_approx, else a rough preview.",
                ),
                strangers_input(),
                references_input(),
                io.Int.Input(
                    "skip_below",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    optional=True,
                    tooltip="In pixels. Pictures whose longer side is below this are sampled but not measured: tiles, "
                    "thumbnails and small crops that would cost time. 0 measures all.",
                ),
                RecognizerSocket.Input(
                    "second_recognizer",
                    optional=True,
                    tooltip="Another face recognizer that measures the same steps. Its curve is drawn beside the "
                    "first, and the report says where the two disagree. It doubles the time for measuring.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    "out_model", display_name="model", tooltip="For the sampler, or Stop at Identity Peak."
                ),
                TraceSocket.Output("trace", display_name="trace", tooltip="For Identity Drift Report."),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,  # two identical probes must not share one record
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        recognizer,
        reference,
        when,
        every,
        vae=None,
        strangers=None,
        references=ONE,
        skip_below=0,
        second_recognizer=None,
    ) -> io.NodeOutput:
        """Read the reference, then listen."""
        require("matplotlib")  # for the report, which comes after the sampling
        node = str(getattr(getattr(cls, "hidden", None), "unique_id", None) or "")

        def watching(measuring: Any) -> Watch:
            people = read_references(measuring, reference, references)
            others, message = other_people(measuring, people, strangers)
            if message is not None:
                log.warning("%s", message)
                show(cls, message)
            return Watch(
                measuring,
                people,
                node=node,
                when=when,
                every=every,
                vae=vae,
                strangers=others,
                skip_below=skip_below,
                notice=message,
            )

        watch = watching(recognizer)
        if second_recognizer is not None:
            watch.compare(watching(second_recognizer))
        return io.NodeOutput(watch.attach(model), watch)


def references_input() -> io.Input:
    """The input that tells whom a batch of references shows."""
    return io.Combo.Input(
        "references",
        options=[ONE, EACH],
        default=ONE,
        optional=True,
        tooltip="Who is in a batch of references.\n"
        "one person: all show the same person, and their mean is used.\n"
        "one per image: the first reference belongs to the first picture, and so on, starting over if there are fewer "
        "references. Like batch in Encode Identity.",
    )


def read_references(recognizer: Any, reference: Any, references: str) -> list[Reference]:
    """The person in an IMAGE; or, with "one per image", the person in each."""
    pictures = image_to_pictures(reference)
    groups = [[picture] for picture in pictures] if references == EACH else [pictures]
    return [Reference.from_pictures(recognizer, group, source="reference image") for group in groups]


def other_people(recognizer: Any, people: Sequence[Reference], strangers: Any) -> tuple[Baseline | None, str | None]:
    """What other people (or pictures) score: those given, else drawn ones for the miniature's recognizer, else unknown.

    Returns:
        The line, of all references together; and what to tell the user where the given ones do not give one.
    """
    if strangers is not None:
        pictures = image_to_pictures(strangers)
    elif Path(getattr(recognizer, "path", "")).parent == shipped.FACE_PACK:
        pictures = list(drawn_strangers())
    else:
        return None, None
    measure = as_measure(recognizer)
    line, known = impostors(measure, people, pictures)
    if line is not None or strangers is None:
        return line, None
    face = measure.rule.subject == "face"
    found, others = ("a face was found in", "people") if face else ("there is a value for", "pictures")
    return None, (
        f"strangers: {found} {known} of {len(pictures)} pictures, but {LEAST_IMPOSTORS} are needed. What other "
        f"{others} score is therefore unknown."
    )


class StopAtPeak(io.ComfyNode):
    """Cuts sampling short once the face is seen, and ends it in a few larger steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "StopAtPeak",
            "Stop at Identity Peak",
            description="Cuts a run short after a share of its steps and removes the remaining noise in a few larger "
            "steps with the same sampler. It waits until the face is seen and its likeness is above the chart's lines. "
            "A run that never shows the person clearly is sampled to the end. On the miniature this gave nearly the "
            "picture of the whole run in just over half the steps. On FLUX and real faces it is untried, so compare.",
            search_aliases=["early stop", "identity peak", "likeness", "short tail"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="From an Identity Probe with when = live. If there are several, the last one decides.",
                ),
                io.Int.Input(
                    "patience",
                    default=2,
                    min=1,
                    max=100,
                    tooltip="Only for the mode 'at the peak'. Stops once this many probed steps in a row are below "
                    "the best one.",
                ),
                io.Int.Input(
                    "min_steps",
                    default=2,
                    min=1,
                    max=1000,
                    tooltip="Only for the mode 'at the peak'. Never stops before this step.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=0.01,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Only for the mode 'at the peak'. Losses of likeness (cosine) up to this are ignored.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=SHORT,
                    optional=True,
                    tooltip="short tail: after a share of the steps, finishes in a few larger ones.\n"
                    "finish, keep the best: runs to the end, then keeps the prediction most like the reference among "
                    "those nearly as sharp as the end.\n"
                    "at the peak: stops once the likeness has fallen, and outputs the best step as it is: soft, and "
                    "often too early.",
                ),
                io.Float.Input(
                    "share",
                    default=SHARE,
                    min=0.05,
                    max=0.95,
                    step=0.01,
                    optional=True,
                    tooltip="Only for the mode 'short tail'. The share of the steps, rounded up, after which the run "
                    "may be cut short.",
                ),
                io.Int.Input(
                    "tail_steps",
                    default=TAIL,
                    min=2,
                    max=100,
                    optional=True,
                    tooltip="Only for the mode 'short tail'. How many larger steps remove the remaining noise. Fewer "
                    "steps give a softer picture.",
                ),
            ],
            outputs=[io.Model.Output("out_model", display_name="model", tooltip="For the sampler.")],
        )

    @classmethod
    @checked
    def execute(cls, model, patience, min_steps, tolerance, mode=SHORT, share=SHARE, tail_steps=TAIL) -> io.NodeOutput:
        """Set the rule for the last live probe."""
        key = last_live_probe(model)
        if key is None:
            raise SettingsError(
                "Stop at Identity Peak needs a MODEL that has passed through Identity Probe with when = live. "
                "Connect one before this node."
            )
        return io.NodeOutput(set_rule(model, StopRule(key, patience, min_steps, tolerance, mode, share, tail_steps)))
