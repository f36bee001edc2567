"""The template of the sweep."""

from __future__ import annotations

from .graph import Graph
from .parts import SEED, SMILING, YOURS, apply, backbone, person, prompt, recognizer


def sweep() -> Graph:
    """The step count that suits one face."""
    graph = Graph(
        "## Find the best setting for a face\n\n*Sweep* samples once for each of its *values* and measures every "
        "picture against *Reference*: the chart shows which one keeps this person best.\n\nSet *axis* to strength (try "
        "0.25:1.5:0.25), guidance (with dev: 0, 1, 2, 3.5, 5) or seed (1:8:1). One run is one draw of noise: sweep the "
        f"seed before you trust a small difference.\n\n{YOURS}"
    )
    backbone(graph, "mini-schnell")
    recognizer(graph)
    identity = person(graph)
    positive = prompt(graph, SMILING)
    applied = apply(graph, positive, identity)
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=128, height=128, batch_size=1)
    graph.add(
        "Sweep",
        "InfuseNet_Sweep",
        "Sampling",
        model=("Backbone", 0),
        positive=(applied, 0),
        negative=(applied, 1),
        latent_image=("Size", 0),
        vae=("Backbone", 2),
        recognizer=("Recognizer", 0),
        reference=("Reference", 0),
        axis="steps",
        values="1, 2, 4, 8",
        steps=0,
        cfg=1.0,
        seed=SEED,
        sampler_name="euler",
    )
    graph.add("Decode best", "VAEDecode", "Sampling", samples=("Sweep", 2), vae=("Backbone", 2))
    graph.add("Best picture", "SaveImage", "Picture", images=("Decode best", 0), filename_prefix="infusenet_sweep")
    graph.add("Chart", "PreviewImage", "Report", images=("Sweep", 0))
    graph.add("Sheet", "PreviewImage", "Report", images=("Sweep", 1))
    return graph
