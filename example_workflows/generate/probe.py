"""Templates of the probe: 4 steps, 28 steps that are cut short, and any model."""

from __future__ import annotations

from .graph import Graph
from .parts import (
    COMMON_FILES,
    REFERENCE,
    SEED,
    SMILING,
    YOURS,
    apply,
    backbone,
    person,
    probe,
    prompt,
    report,
    run,
    sample,
    score,
)


def probe_schnell() -> Graph:
    """See the likeness at every step."""
    graph = Graph(
        "## See the likeness at every step\n\n*Probe* measures each step against *Reference* and draws the curve "
        "during sampling. The picture is the same with and without it.\n\n*Report* says where the likeness peaked and "
        f"what to try next.\n\n{YOURS}"
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, SMILING)
    applied = apply(graph, positive, identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_probe", probe(graph, "Reference", "live"))
    report(graph)
    return graph


def probe_dev() -> Graph:
    """Cut a run short, and see it beside the finished one."""
    graph = Graph(
        "## Stop where the likeness peaks\n\n*Stop* ends the run after 12 of its 28 steps, once the face is seen above "
        "the lines, and finishes the picture in 4 larger ones.\n\n*Whole run* is the same seed without it: compare "
        f"them in *Both pictures* (the short one first) and *Scores*. Without *Whole run* it is quicker.\n\n{YOURS}"
    )
    backbone(graph, "mini-dev")
    identity = person(graph)
    positive = prompt(graph, SMILING)
    applied = apply(graph, positive, identity)
    model = probe(graph, "Reference", "live")
    graph.add(
        "Stop",
        "InfuseNet_StopAtPeak",
        "Probe",
        model=model,
        patience=2,
        min_steps=2,
        tolerance=0.01,
        mode="short tail",
        share=0.4,
        tail_steps=4,
    )
    sample(graph, (applied, 0), 128, 128, "infusenet_stop_at_peak", ("Stop", 0))
    report(graph)
    run(graph, "Whole run", "Whole guider", (applied, 0), ("Size", 0), ("Backbone", 0))
    graph.add("Decode whole", "VAEDecode", "Compared", samples=("Whole run", 0), vae=("Backbone", 2))
    graph.add("Both", "ImageBatch", "Compared", image1=("Decode", 0), image2=("Decode whole", 0))
    graph.add("Both pictures", "PreviewImage", "Compared", images=("Both", 0))
    score(graph, ("Both", 0), section="Compared")
    return graph


def best_of_eight() -> Graph:
    """Eight pictures, and the one to keep."""
    graph = Graph(
        "## The best of eight\n\nOne run makes eight pictures of one prompt. *Best* keeps the one most like "
        "*Reference*; *Save* writes all of them, the chart and the figures to *output/infusenet*.\n\nFor another eight "
        f"change *noise_seed* in *Noise*. For more or fewer change *batch_size* in *Size*.\n\n{YOURS}"
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, SMILING)
    applied = apply(graph, positive, identity)
    model = probe(graph, "Reference", "after the run")
    sample(graph, (applied, 0), 128, 128, "infusenet_best_of_eight", model, batch=8)
    graph.nodes.pop("Picture")
    given = {"trace": ("Probe", 1), "image": ("Decode", 0), "run": 0}
    graph.add("Report", "InfuseNet_DriftReport", "Report", samples=("Sampling", 0), **given, step=0)
    graph.add("Best", "SaveImage", "Picture", images=("Report", 8), filename_prefix="infusenet_best")
    graph.add("All", "PreviewImage", "Picture", images=("Decode", 0))
    graph.add("Save", "InfuseNet_SaveResults", "Report", filename_prefix="infusenet/best_of_eight", **given)
    return graph


def probe_ksampler() -> Graph:
    """Any model, any way of carrying identity."""
    graph = Graph(
        "## Probe any model\n\nReplace *Backbone* with your own loader: any image model, with PuLID, InstantID, "
        "a LoRA or nothing to carry the identity. Here nothing does, so the curve stays at the strangers' line.\n\n"
        "*Probe* goes between the model and its sampler, and changes nothing in the picture.\n\nIn *Recognizer* choose "
        "a face pack that your method does not use itself: PuLID and InstantID use antelopev2, which would flatter "
        "them."
    )
    none = dict.fromkeys(["diffusion_model", *COMMON_FILES], "none")
    graph.add(
        "Backbone",
        "InfuseNet_LoadBackbone",
        "Models",
        backbone="mini-schnell",
        **none,
        weight_dtype="default",
        compile=False,
    )
    graph.add("Reference", "LoadImage", "Person", image=REFERENCE)
    graph.add(
        "Prompt",
        "CLIPTextEncode",
        "Prompt and identity",
        clip=("Backbone", 1),
        text=SMILING,
    )
    graph.add("Negative", "CLIPTextEncode", "Prompt and identity", clip=("Backbone", 1), text="")
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=128, height=128, batch_size=1)
    graph.add(
        "Sampling",
        "KSampler",
        "Sampling",
        model=probe(graph, "Reference", "after the run"),
        seed=SEED,
        steps=8,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=("Prompt", 0),
        negative=("Negative", 0),
        latent_image=("Size", 0),
        denoise=1.0,
    )
    graph.add("Decode", "VAEDecode", "Sampling", samples=("Sampling", 0), vae=("Backbone", 2))
    graph.add("Picture", "SaveImage", "Picture", images=("Decode", 0), filename_prefix="infusenet_probe_ksampler")
    report(graph)
    return graph
