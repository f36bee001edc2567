"""Templates of FastFace: one seed with the guidance and without, and which is more like the person."""

from __future__ import annotations

from .graph import Graph
from .parts import (
    ENCODER_FILES,
    REFERENCE,
    SMILING,
    YOURS,
    apply,
    backbone,
    person,
    picture,
    prompt,
    recognizer,
    run,
    sample,
    score,
)


def fastface() -> Graph:
    """InfuseNet on schnell, with the identity guided in the last two steps."""
    graph = Graph(
        "## FastFace: text and identity guided separately\n\n*Guider* gives the identity a weight of its own at each "
        "step. *Plain* is the same seed without it. *Scores* compares the two (the guided one first).\n\nHere *kind* "
        "is direction: 2 evaluations in each of the last two steps. Try FastFace's own, identity, with *a* = 1, 1.5, "
        "1.5, 1; *b* = 1, 3, 3, 1; *rescale* = 0.75: 10 evaluations instead of 6.\n\n" + YOURS
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


def fastface_sdxl() -> Graph:
    """FastFace where it was made: SDXL in 4 steps with IP-Adapter FaceID, its published weights."""
    graph = Graph(
        "## FastFace on SDXL\n\nSDXL in 4 steps with IP-Adapter FaceID. *Guider* is FastFace's own guidance with its "
        "published weights, *Plain* the same seed without it: *Scores* compares both (the guided one first). Results "
        "vary a lot with the seed: try several.\n\nFastFace's other half is *attention* in *Apply*: scale or soft "
        "mask. FastFace itself uses *weight* 0.8.\n\nIt runs on the small SDXL that comes with the pack. For SDXL "
        "itself, use *Load Checkpoint* and Hyper-SDXL's LoRA instead of *Backbone*, *Load Face Recognizer* with "
        "buffalo_l instead of *Face network*, and choose your file in *IP-Adapter*."
    )
    graph.add("Backbone", "InfuseNet_LoadMiniSDXL", "Models", few_steps=True)
    graph.add("IP-Adapter", "InfuseNet_LoadIPAdapter", "Models", ip_adapter="miniature")
    names = dict.fromkeys(ENCODER_FILES, "miniature")
    graph.add("Face network", "InfuseNet_LoadIdentityEncoder", "Models", **names, device="auto")
    recognizer(graph)
    graph.add("Reference", "LoadImage", "Person", image=REFERENCE)
    graph.add("Prompt", "CLIPTextEncode", "Prompt and identity", clip=("Backbone", 1), text=SMILING)
    graph.add("Negative", "ConditioningZeroOut", "Prompt and identity", conditioning=("Prompt", 0))
    graph.add(
        "Apply",
        "InfuseNet_ApplyIPAdapter",
        "Prompt and identity",
        model=("Backbone", 0),
        ip_adapter=("IP-Adapter", 0),
        recognizer=("Face network", 0),
        image=("Reference", 0),
        weight=1.0,
        start_percent=0.0,
        end_percent=1.0,
        batch="fuse",
        lora_strength=1.0,
        attention="none",
        block_weights="",
    )
    graph.add("Size", "EmptyLatentImage", "Sampling", width=128, height=128, batch_size=1)
    steps = {"scheduler": "simple", "steps": 4, "denoise": 1.0}
    graph.add("Schedule", "BasicScheduler", "Sampling", model=("Backbone", 0), **steps)
    graph.add("Noise", "RandomNoise", "Sampling", noise_seed=8)
    graph.add("Sampler", "KSamplerSelect", "Sampling", sampler_name="euler")
    run(graph, "Sampling", "Guider", ("Prompt", 0), ("Size", 0), ("Apply", 0))
    picture(graph, "infusenet_fastface_sdxl")
    run(graph, "Plain", "Plain guider", ("Prompt", 0), ("Size", 0), ("Apply", 0), "Second method")
    graph.add(
        "Guider",
        "InfuseNet_DecoupledGuider",
        "Sampling",
        model=("Apply", 0),
        positive=("Prompt", 0),
        negative=("Negative", 0),
        kind="identity",
        a="1, 1.5, 1.5, 1",
        b="1, 3, 3, 1",
        rescale=0.75,
    )
    graph.add("Decode plain", "VAEDecode", "Second method", samples=("Plain", 0), vae=("Backbone", 2))
    graph.add("Both", "ImageBatch", "Compared", image1=("Decode", 0), image2=("Decode plain", 0))
    score(graph, ("Both", 0), section="Compared")
    return graph
