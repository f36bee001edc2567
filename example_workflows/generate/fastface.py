"""Template of FastFace: one seed with the guidance and without, and which is more like the person."""

from __future__ import annotations

from .graph import Graph
from .parts import SMILING, YOURS, apply, backbone, person, prompt, recognizer, run, sample, score


def fastface() -> Graph:
    """InfuseNet on schnell, with the identity guided in the last two steps."""
    graph = Graph(
        "## FastFace: text and identity guided apart\n\n*Guider* gives the identity a weight of its own at each step, "
        "*Plain* is the same seed without it: *Scores* compares both (the guided one first).\n\nHere *kind* is "
        "direction: 2 evaluations in each of the last two steps. Try FastFace's own, identity, with *a* 1, 1.5, 1.5, "
        "1, *b* 1, 3, 3, 1 and *rescale* 0.75: 3 evaluations a step.\n\n" + YOURS
    )
    backbone(graph, "mini-schnell")
    recognizer(graph)
    identity = person(graph)
    applied = apply(graph, prompt(graph, SMILING), identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_fastface")
    run(graph, "Plain", "Plain guider", (applied, 0), ("Size", 0), ("Backbone", 0), "Second method")
    graph.add(
        "Guider",
        "InfuseNet_DecoupledGuider",
        "Sampling",
        model=("Backbone", 0),
        positive=(applied, 0),
        negative=(applied, 1),
        kind="direction",
        a="1, 1, 2, 2",
        b="1",
        rescale=0.0,
    )
    graph.add("Decode plain", "VAEDecode", "Second method", samples=("Plain", 0), vae=("Backbone", 2))
    graph.add("Both", "ImageBatch", "Compared", image1=("Decode", 0), image2=("Decode plain", 0))
    score(graph, ("Both", 0), section="Compared")
    return graph
