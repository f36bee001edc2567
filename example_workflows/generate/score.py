"""The template that picks the best picture of a batch."""

from __future__ import annotations

from .graph import Graph
from .parts import SWITCH, apply, backbone, person, prompt, sample


def score() -> Graph:
    """The picture that looks most like the person."""
    graph = Graph(
        "## Pick the picture that looks most like the person\n\n*Score* measures each picture of a batch against "
        "*Reference* and sorts them. It needs no sampler: connect any pictures to `images`, from *Load Image* or "
        "another pack. To know how high is high, connect 5 or more faces of other people to `strangers`.\n\nAs it "
        "comes it runs on the miniature. With real weights choose a face pack in *Recognizer* that is not the one that "
        f"carries the identity.\n\n{SWITCH}"
    )
    backbone(graph, "mini-schnell")
    graph.add("Recognizer", "InfuseNet_LoadFaceRecognizer", "Models", face_pack="miniature", device="auto")
    identity = person(graph)
    applied = apply(graph, prompt(graph, "a photo of a smiling person at the beach"), identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_batch", batch=6)
    graph.add(
        "Score",
        "InfuseNet_Score",
        "Report",
        images=("Decode", 0),
        recognizer=("Recognizer", 0),
        reference=("Reference", 0),
        show="pictures",
        references="one person",
    )
    graph.add("Best picture", "SaveImage", "Report", images=("Score", 1), filename_prefix="infusenet_best")
    graph.add("Sheet", "PreviewImage", "Report", images=("Score", 7))
    return graph
