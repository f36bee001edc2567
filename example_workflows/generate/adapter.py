"""Templates of the adapter: one person, two people, the plain KSampler."""

from __future__ import annotations

from .graph import Graph
from .parts import REAL, REFERENCE_2, SEED, SWITCH, WORDS, apply, backbone, person, picture, prompt, sample


def miniature() -> Graph:
    """Everything in small: runs as it comes."""
    graph = Graph(
        "## Identity-preserved FLUX, in small\n\nRuns on any machine with what comes with the pack: a drawn person who "
        "does not exist, kept in a new scene, in 4 steps at 128x128.\n\n"
        + WORDS
        + "\n\n"
        + SWITCH
        + " For 28 steps choose `mini-dev`."
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
    sample(graph, (apply(graph, positive, identity), 0), 128, 128, "infusenet_miniature")
    return graph


def flux(name: str, title: str) -> Graph:
    """FLUX with InfiniteYou's weights."""
    graph = Graph(f"## {title}\n\n{SWITCH}\n\n{REAL}")
    backbone(graph, name)
    identity = person(graph)
    positive = prompt(graph, "A person in a red coat on a snowy street at dusk, 85mm photograph")
    sample(graph, (apply(graph, positive, identity), 0), 864, 1152, "infusenet_" + name.replace("-", "_"))
    return graph


def two_people() -> Graph:
    """Two identities, each in its half."""
    graph = Graph(
        "## Two people\n\nOne *Apply InfuseNet Identity* for each, chained, each with a mask. A mask limits the "
        "identity, not the picture: the prompt says where people are. For masks of your own, put *Load Image (as "
        "Mask)* in the place of *Left half*.\n\nThis takes FLUX: the miniature draws one face a picture, so that "
        "there a mask acts on a part of that face.\n\n" + REAL
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
        "## Plain KSampler\n\nThe scheduler `simple` is schnell's exact schedule at 4 steps. For dev set 28 steps, "
        "`cfg` 1, and put ModelSamplingFlux (max_shift 1.15, base_shift 0.5, your size) behind the model: the noise "
        "levels are then within 5e-4 of the exact ones, which *FLUX Sigmas* gives.\n\n" + SWITCH
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
