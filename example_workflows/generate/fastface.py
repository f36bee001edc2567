"""Template of FastFace: one seed with the guidance and without, and which is more like the person."""

from __future__ import annotations

from .graph import Graph
from .parts import SWITCH, WORDS, apply, backbone, person, prompt, sample


def fastface() -> Graph:
    """InfuseNet on schnell, with the identity guided in the last two steps."""
    graph = Graph(
        "## FastFace: text and identity guided apart\n\n*FastFace Guider* gives the identity a weight of its own at "
        "each step. *Plain* is the same seed without it: compare the two in *Both pictures* (the guided one first), "
        "and their likeness in *Scores*.\n\nHere `kind` is `direction`: 2 evaluations in each of the last two steps. "
        "Try `identity`, FastFace's own, with `a` = `1, 1.5, 1.5, 1`, `b` = `1, 3, 3, 1` and `rescale` = `0.75`: 3 "
        "evaluations a step. Without *Plain* it is quicker.\n\nAs it comes it runs on the miniature. With real "
        "weights choose your files in the loaders.\n\n" + WORDS + "\n\n" + SWITCH
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
    applied = apply(graph, positive, identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_fastface")
    graph.add("Plain guider", "BasicGuider", "Sampling", model=("Backbone", 0), conditioning=(applied, 0))
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
    graph.add(
        "Plain",
        "SamplerCustomAdvanced",
        "Sampling",
        noise=("Noise", 0),
        guider=("Plain guider", 0),
        sampler=("Sampler", 0),
        sigmas=("Schedule", 0),
        latent_image=("Size", 0),
    )
    graph.add("Recognizer", "InfuseNet_LoadFaceRecognizer", "Models", face_pack="miniature", device="auto")
    graph.add("Decode plain", "VAEDecode", "Report", samples=("Plain", 0), vae=("Backbone", 2))
    graph.add("Both", "ImageBatch", "Report", image1=("Decode", 0), image2=("Decode plain", 0))
    graph.add("Both pictures", "PreviewImage", "Report", images=("Both", 0))
    graph.add(
        "Scores",
        "InfuseNet_Score",
        "Report",
        images=("Both", 0),
        recognizer=("Recognizer", 0),
        reference=("Reference", 0),
        show="pictures",
        references="one person",
    )
    return graph
