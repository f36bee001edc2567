"""One setting tried at several values in one node: which one keeps the person best."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import comfy.samplers
from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker

from ...infusenet.axes import AXES, MOST, NOTHING, Tried, best_of, in_words, parse_values, to_csv
from ...infusenet.errors import require
from ...infusenet.measures import Reference, as_measure
from ..checks import checked
from ..convert import Picture, image_to_pictures, pictures_to_image, with_samples
from ..probe.decoders import full_decoder
from ..probe.probe import other_people
from ..shared import show
from ..sockets import recognizer_input, reference_input, schema
from . import trials

_UNKEPT = (
    "Nothing was connected to pictures when Identity Sweep ran, so it kept none. Change one of its inputs, such as "
    "seed, and queue again."
)
_EXACT = 2**53  # beyond it a page's numbers are rounded


class Sweep(io.ComfyNode):
    """Samples once for each value, measures every picture, keeps the best."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "Sweep",
            "Identity Sweep",
            description="Samples once for each value of one setting and measures how much each picture looks like the "
            "reference. The setting can be the step budget, InfuseNet's strength, the guidance, or the seed. Each "
            "value is a separate run on FLUX's exact schedule. Nothing you have connected is changed.",
            search_aliases=[
                "xy plot",
                "grid",
                "compare steps",
                "step budget",
                "face similarity",
                "seed search",
                "likeness",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The MODEL to sample with. dev or schnell is detected from it."),
                io.Conditioning.Input("positive", tooltip="From Apply InfuseNet Identity, or any other conditioning."),
                io.Conditioning.Input("negative", tooltip="Has no effect while cfg is 1."),
                io.Latent.Input(
                    "latent_image", tooltip="The latent to sample, as in a sampler. Batches and masks work too."
                ),
                io.Vae.Input("vae", tooltip="Decodes the finished pictures."),
                recognizer_input(),
                reference_input(),
                io.Combo.Input(
                    "axis",
                    options=list(AXES),
                    default="steps",
                    tooltip="The setting to try.\n"
                    "steps: separate runs with this many steps.\n"
                    "strength: of every InfuseNet in positive and negative; other ControlNets are left alone.\n"
                    "guidance: as FluxGuidance sets it.\n"
                    "true_cfg: replaces cfg.\n"
                    "first_steps: how many of the first steps InfuseNet acts in.\n"
                    "seed: of the noise.",
                ),
                io.String.Input(
                    "values",
                    default="1, 2, 4, 8",
                    tooltip="The values to try: numbers separated by commas, and ranges as start:stop:step. At most "
                    f"{MOST} values.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=200,
                    tooltip="Steps of each run, unless steps is the axis. 0 = the variant's own: 4 for schnell, 28 "
                    "for dev.",
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="True CFG scale. FLUX wants 1, which skips the negative and halves the time.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of each run's noise, unless seed is the axis.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=list(comfy.samplers.KSampler.SAMPLERS),
                    default="euler",
                    tooltip="The sampler. The published pipelines use euler.",
                ),
            ],
            outputs=[
                io.Image.Output("chart", display_name="chart", tooltip="Similarity at each value."),
                io.Image.Output(
                    "sheet", display_name="sheet", tooltip="All pictures, labelled, with the best one framed."
                ),
                io.Latent.Output(
                    "best",
                    display_name="best",
                    tooltip="The latents of the best value, or of the first if none is best.",
                ),
                io.Float.Output(
                    "best_value",
                    display_name="best_value",
                    tooltip="The best value; -1 if no picture could be measured.",
                ),
                io.String.Output("csv", display_name="csv", tooltip="One row per picture, in full precision."),
                io.Image.Output(
                    "pictures",
                    display_name="pictures",
                    tooltip="All pictures in full size, as one batch in the order of the values.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        vae,
        recognizer,
        reference,
        axis,
        values,
        steps,
        cfg,
        seed,
        sampler_name,
    ) -> io.NodeOutput:
        """Settle what is sampled, sample it, tell what came of it."""
        require("matplotlib")
        from ...infusenet.charts import contact_sheet, figure_pixels, sheet_tile, values_figure

        kind = AXES[axis]
        wanted, samples = parse_values(values, kind), trials.fitted(model, latent_image)
        settings = trials.RunSettings(steps, seed, cfg)
        planned = trials.make_trials(kind, wanted, model, positive, negative, samples, settings)
        note = trials.note_on(kind, model, positive)
        person = Reference.from_pictures(recognizer, image_to_pictures(reference), source="reference image")
        strangers, _ = other_people(recognizer, [person], None)
        count = len(planned) * len(samples)
        looked = trials.run_trials(
            planned,
            model,
            samples,
            latent_image,
            full_decoder(vae),
            partial(person.similarities, recognizer),
            sampler_name=sampler_name,
        )
        tried: list[Tried] = []
        small: list[Picture] = []
        whole: list[Picture] = []
        best, keep = None, is_linked(cls, "pictures")
        for look in looked:
            tried.append(look.tried)
            small += [trials.reduced(one, sheet_tile(one.shape[1], one.shape[0], count)) for one in look.pictures]
            whole += look.pictures if keep else []
            if best is None or best_of(tried) is look.tried:
                best = look.latents
        rule, lines = as_measure(recognizer).rule, {"strangers": strangers, "blank": person.blank}
        words = " ".join(filter(None, [in_words(tried, kind, rule.subject), note]))
        show(cls, words)
        figure = values_figure(tried, kind, recognizer=recognizer.name, **lines, note=note, subject=rule.subject)
        made = {"cfg": cfg, "sampler": sampler_name}
        found, table = best_of(tried), to_csv(tried, kind, **made, recognizer=recognizer.name, rule=str(rule))
        return io.NodeOutput(
            pictures_to_image([figure_pixels(figure)]),
            pictures_to_image([contact_sheet(small, tried, kind, subject=rule.subject)]),
            with_samples(latent_image, best),
            NOTHING if found is None else float(found.value),
            table,
            pictures_to_image(whole) if keep else ExecutionBlocker(_UNKEPT),
            ui={"text": [words], "csv": [table], "use": [] if found is None else changes(axis, found)},
        )


def is_linked(cls: type[io.ComfyNode], output: str) -> bool:
    """Whether anything takes this output; True where the prompt does not tell."""
    hidden = getattr(cls, "hidden", None)
    prompt, node = getattr(hidden, "prompt", None), str(getattr(hidden, "unique_id", None))
    if not prompt or node not in prompt:
        return True
    slot = [one.id for one in cls.define_schema().outputs].index(output)
    return any([node, slot] == value for entry in prompt.values() for value in entry.get("inputs", {}).values())


def changes(axis: str, best: Tried) -> list[list[Any]]:
    """What using the best value sets: [kinds of node, name of the widget, value]; no kinds = the nearest node."""
    value, apply = best.value, ["InfuseNet_Apply"]
    if axis == "seed" and value > _EXACT:
        return []
    known = {
        "steps": ([], "steps", value),
        "strength": (apply, "strength", value),
        "guidance": (["FluxGuidance", "CLIPTextEncodeFlux"], "guidance", value),
        "true_cfg": ([], "cfg", value),
        # up to a thousandth, to which the page rounds: rounded down, the last of these steps would be left out
        "first_steps": (apply, "end_percent", min(1.0, math.ceil(1000 * value / max(best.steps, 1)) / 1000)),
        "seed": ([], "noise_seed|seed", value),
    }
    return [list(known[axis])] if axis in known else []
