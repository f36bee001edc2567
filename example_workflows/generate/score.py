"""Templates that measure finished pictures: by face, and by all that is seen."""

from __future__ import annotations

from .graph import Graph
from .parts import SMILING, YOURS, apply, backbone, person, prompt, recognizer, sample
from .parts import score as scored


def score() -> Graph:
    """The picture that looks most like the person."""
    graph = Graph(
        "## Pick the picture most like the person\n\n*Score* measures each picture of a batch against *Reference* and "
        "sorts them. *Best picture* keeps the first.\n\nIt needs no sampler: connect any pictures to *images*, from "
        "*Load Image* or another pack. To compare with other people, connect 5 or more faces of them to "
        f"*strangers*.\n\n{YOURS}"
    )
    backbone(graph, "mini-schnell")
    recognizer(graph)
    identity = person(graph)
    applied = apply(graph, prompt(graph, SMILING), identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_batch", batch=6)
    best, _ = scored(graph, ("Decode", 0), "Score")
    graph.add("Best picture", "SaveImage", "Picture", images=(best, 1), filename_prefix="infusenet_best")
    return graph


def thing() -> Graph:
    """Whole pictures instead of faces."""
    graph = Graph(
        "## A thing or a style, not a face\n\n*Likeness Measure* takes the place of the face recognizer and compares "
        "whole pictures: an object, a style, a scene. It goes wherever a recognizer goes, into the probe and the sweep "
        "as well.\n\nChoose an image encoder in *Encoder*: CLIP for content and style, DINOv2 for the exact object. "
        "Numbers of two encoders cannot be compared.\n\nPut your picture in *Reference* and "
        "replace *Backbone* with your own model."
    )
    backbone(graph, "mini-schnell")
    graph.add("Encoder", "CLIPVisionLoader", "Models", clip_name="clip_vision_h.safetensors")
    graph.add("Recognizer", "InfuseNet_Measure", "Models", clip_vision=("Encoder", 0))
    identity = person(graph)
    applied = apply(graph, prompt(graph, "a pencil sketch of a person in a library"), identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_thing", batch=4)
    scored(graph, ("Decode", 0), "Score")
    return graph
