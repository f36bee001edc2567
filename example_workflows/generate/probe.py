"""Templates of the probe: 4 steps, 28 steps that are cut short, and any model."""

from __future__ import annotations

from .graph import Graph
from .parts import COMMON_FILES, REFERENCE, SEED, SWITCH, apply, backbone, person, probe, prompt, report, sample

_MEASURED = (
    "*Probe* measures each step's prediction against *Reference* and draws the curve on its node; *Report* says where "
    "the likeness peaked and what to try next. The picture is the same with and without it.\n\nAs it comes it runs on "
    "the miniature. With real weights choose `antelopev2` in *Recognizer* (InsightFace's packs are for non-commercial "
    "research)"
)


def probe_schnell() -> Graph:
    """See the likeness at every step."""
    graph = Graph(f"## Identity probe, 4 steps\n\n{_MEASURED}, and your files in the other loaders.\n\n{SWITCH}")
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
    applied = apply(graph, positive, identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_probe", probe(graph, "Reference", "live"))
    report(graph)
    return graph


def probe_dev() -> Graph:
    """Cut a run short, and see it beside the finished one."""
    graph = Graph(
        "## Stop at the identity peak, 28 steps\n\n*Stop* cuts the run short after 12 of its 28 steps, once the face "
        "is seen above the lines, and finishes the picture in 4 larger ones. *Whole run* is the same seed without it: "
        "compare the two in *Both pictures* (the short one first), and their likeness in *Scores*. Without *Whole run* "
        f"it is quicker.\n\n{_MEASURED}, and your files in the other loaders.\n\n{SWITCH}"
    )
    backbone(graph, "mini-dev")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
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
    graph.add("Whole guider", "BasicGuider", "Sampling", model=("Backbone", 0), conditioning=(applied, 0))
    graph.add(
        "Whole run",
        "SamplerCustomAdvanced",
        "Sampling",
        noise=("Noise", 0),
        guider=("Whole guider", 0),
        sampler=("Sampler", 0),
        sigmas=("Schedule", 0),
        latent_image=("Size", 0),
    )
    graph.add("Decode whole", "VAEDecode", "Report", samples=("Whole run", 0), vae=("Backbone", 2))
    graph.add("Both", "ImageBatch", "Report", image1=("Decode", 0), image2=("Decode whole", 0))
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


def best_of_eight() -> Graph:
    """Eight pictures, and the one to keep."""
    graph = Graph(
        "## Best of eight\n\nEight pictures of one prompt. *Best* is the one most like *Reference*; *Save* writes all "
        "of them, the sheet, the chart and the figures to `output/infusenet`.\n\nOther eight: change `noise_seed` in "
        f"*Noise*. More or fewer: `batch_size` in *Size*.\n\n{_MEASURED}, and your files in the other loaders.\n\n"
        f"{SWITCH}"
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
    applied = apply(graph, positive, identity)
    model = probe(graph, "Reference", "after the run")
    sample(graph, (applied, 0), 128, 128, "infusenet_best_of_eight", model, batch=8)
    graph.nodes.pop("Picture")
    graph.add("All", "PreviewImage", "Picture", images=("Decode", 0))
    given = {"trace": ("Probe", 1), "image": ("Decode", 0), "run": 0}
    graph.add("Report", "InfuseNet_DriftReport", "Report", samples=("Sampling", 0), **given)
    graph.add("Best", "SaveImage", "Picture", images=("Report", 8), filename_prefix="infusenet_best")
    graph.add("Save", "InfuseNet_SaveResults", "Report", filename_prefix="infusenet/best_of_eight", **given)
    return graph


def probe_ksampler() -> Graph:
    """Any model, any way of carrying identity."""
    graph = Graph(
        f"## Identity probe without InfuseNet\n\n{_MEASURED}.\n\nPut your own loader in place of *Backbone*: any image "
        "model, with PuLID, InstantID, a LoRA or nothing to carry the identity. Here nothing does, so that the curve "
        "should stay at the strangers' line. PuLID and InstantID condition with antelopev2 themselves, so that "
        "measuring with it flatters them."
    )
    none = dict.fromkeys(["diffusion_model", *COMMON_FILES], "none")
    graph.add("Backbone", "InfuseNet_LoadBackbone", "Models", backbone="mini-schnell", **none, weight_dtype="default")
    graph.add("Reference", "LoadImage", "Person", image=REFERENCE)
    graph.add(
        "Prompt",
        "CLIPTextEncode",
        "Prompt and identity",
        clip=("Backbone", 1),
        text="a photo of a smiling person at the beach",
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
    graph.add("Decode", "VAEDecode", "Picture", samples=("Sampling", 0), vae=("Backbone", 2))
    graph.add("Picture", "SaveImage", "Picture", images=("Decode", 0), filename_prefix="infusenet_probe_ksampler")
    report(graph)
    return graph
