"""Templates of the adapter: one person, two people, the plain KSampler, settings from a recipe."""

from __future__ import annotations

import json

from .graph import Graph
from .parts import (
    CONSENT,
    FILES_NOTE,
    LICENCES,
    REFERENCE_2,
    SEED,
    SMILING,
    apply,
    backbone,
    person,
    picture,
    prompt,
    sample,
)


def miniature() -> Graph:
    """Everything in small: runs as it comes."""
    graph = Graph(
        "## A person in a scene\n\nPress *Run*: the person in *Reference* appears in the scene that *Prompt* "
        "describes. It runs on the miniature that comes with the pack, on any machine.\n\n"
        "The miniature knows few words. Try *a pencil sketch of a sad person in the snow*, or *wearing a blue suit and "
        "glasses*, *in a forest*, *in a library*.\n\n"
        f"For FLUX choose your files in *Models*. For 28 steps choose *mini-dev* in *Backbone*. {CONSENT}"
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, SMILING)
    sample(graph, (apply(graph, positive, identity), 0), 128, 128, "infusenet_miniature")
    return graph


def flux(name: str, title: str) -> Graph:
    """FLUX with InfiniteYou's weights."""
    graph = Graph(
        f"## {title}\n\nA photo in *Reference*, a scene in *Prompt*, and *Run*. For the other FLUX change *backbone* "
        f"and *diffusion_model* in *Backbone*: steps, guidance and schedule follow by themselves.\n\n{FILES_NOTE} "
        f"Nothing is downloaded automatically.\n\n{LICENCES}"
    )
    backbone(graph, name)
    identity = person(graph)
    positive = prompt(graph, "A person in a red coat on a snowy street at dusk, 85mm photograph")
    sample(graph, (apply(graph, positive, identity), 0), 864, 1152, "infusenet_" + name.replace("-", "_"))
    return graph


def two_people() -> Graph:
    """Two identities, each in its half."""
    graph = Graph(
        "## Two people\n\nOne *Apply* for each person, chained, each with a mask. The mask limits the identity, not "
        "the picture: the prompt says where people are.\n\nFor masks of your own, replace *Left half* with "
        f"*Load Image (as Mask)*. This needs FLUX: the miniature draws one face per picture. {FILES_NOTE}\n\n{LICENCES}"
    )
    backbone(graph, "flux-schnell")
    first, second = person(graph), person(graph, " 2", REFERENCE_2)
    positive = prompt(
        graph, "Two people side by side at a cafe table, one on the left and one on the right, photograph"
    )
    graph.add("Left", "SolidMask", "Masks", value=1.0, width=576, height=864)
    graph.add("Nothing", "SolidMask", "Masks", value=0.0, width=1152, height=864)
    graph.add(
        "Left half", "MaskComposite", "Masks", destination=("Nothing", 0), source=("Left", 0), x=0, y=0, operation="add"
    )
    graph.add("Right half", "InvertMask", "Masks", mask=("Left half", 0))
    one = apply(graph, positive, first, mask=("Left half", 0))
    two = apply(graph, (one, 0), second, " 2", mask=("Right half", 0))
    sample(graph, (two, 0), 1152, 864, "infusenet_two_people")
    return graph


def ksampler() -> Graph:
    """The plain KSampler with the closest stock scheduler."""
    graph = Graph(
        "## The plain KSampler\n\nYour own workflow needs only the loaders and *Apply*. The scheduler *simple* is "
        "schnell's exact schedule at 4 steps.\n\nFor dev: 28 steps, *cfg* 1, and ModelSamplingFlux (max_shift 1.15, "
        "base_shift 0.5, your size) after the model. Its noise levels are within 5e-4 of those of *FLUX Sigmas*."
        f"\n\nFor FLUX choose your files in *Models*. {CONSENT}"
    )
    backbone(graph, "mini-schnell")
    identity = person(graph, picture=REFERENCE_2)
    positive = prompt(graph, "a photo of a smiling person in a forest")
    applied = apply(graph, positive, identity)
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=128, height=128, batch_size=1)
    graph.add(
        "Sampling",
        "KSampler",
        "Sampling",
        model=("Backbone", 0),
        seed=SEED,
        steps=("Backbone", 3),
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=(applied, 0),
        negative=(applied, 1),
        latent_image=("Size", 0),
        denoise=1.0,
    )
    picture(graph, "infusenet_ksampler")
    return graph


RECIPE = {  # shows the form, and claims nothing
    "format": "infusenet recipe 1",
    "backbone": "dev",
    "family": "flux",
    "variant": "dev",
    "steps": 14,
    "strength": 1.0,
    "refresh": "every 2",
    "schedule": "exact",
}


def tuned() -> Graph:
    """Steps, strength and refresh from a recipe of `infusenet tune`."""
    graph = Graph(
        "## Settings from a recipe\n\n*Recipe* sets the steps, the strength and how often InfuseNet is computed. The "
        "command `infusenet tune` searches for the fastest settings that keep the quality you ask for, on your own "
        "people, and writes them as recipe.json.\n\nPut that file in ComfyUI's input folder, press R, and choose it in "
        "*Recipe*. The shipped text is only an example, not the result of a search.\n\nAs shipped, this runs on the "
        f"miniature. For FLUX choose your files in *Models*; a recipe for dev fits dev alone. {CONSENT}"
    )
    backbone(graph, "mini-dev")
    identity = person(graph)
    positive = prompt(graph, SMILING)
    text = json.dumps(RECIPE, indent=1)
    graph.add("Recipe", "InfuseNet_LoadRecipe", "Prompt and identity", model=("Backbone", 0), recipe="none", text=text)
    applied = apply(graph, positive, identity, strength=("Recipe", 3), refresh=("Recipe", 4))
    levels = {"steps": ("Recipe", 0), "keep": ("Recipe", 1), "last_steps": ("Recipe", 2)}
    sample(graph, (applied, 0), 128, 128, "infusenet_recipe", **levels)
    return graph
