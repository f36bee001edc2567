"""Templates that answer a question: is it the method, and why does it not look like me."""

from __future__ import annotations

from .graph import Graph
from .parts import CONSENT, SMILING, YOURS, apply, backbone, person, probe, prompt, report, run, sample, score


def methods() -> Graph:
    """Two ways to carry an identity, from the same noise, under one probe."""
    graph = Graph(
        "## Two methods, one probe\n\n*Sampling* uses InfuseNet for the person; *Other* uses the prompt alone. Both "
        "have the same noise and the same probe, and each has a report. *Scores* compares the pictures.\n\nPut your "
        "own method into *Other guider*. One that changes the model (PuLID, a LoRA) goes between *Backbone* and a "
        f"probe of its own.\n\n{YOURS}"
    )
    graph.opened.add("Other guider")
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, SMILING)
    applied = apply(graph, positive, identity)
    model = probe(graph, "Reference", "live")
    sample(graph, (applied, 0), 128, 128, "infusenet_method", model)
    run(graph, "Other", "Other guider", positive, ("Size", 0), model, "Second method")
    graph.add("Decode other", "VAEDecode", "Second method", samples=("Other", 0), vae=("Backbone", 2))
    for name, of in (("", "Sampling"), (" of the other", "Other")):
        told = {"trace": ("Probe", 1), "samples": (of, 0), "run": 0, "step": 0}
        graph.add(f"Report{name}", "InfuseNet_DriftReport", f"Report{name}", **told)
        graph.add(f"Chart{name}", "PreviewImage", f"Report{name}", images=(f"Report{name}", 0))
    graph.add("Both", "ImageBatch", "Compared", image1=("Decode", 0), image2=("Decode other", 0))
    score(graph, ("Both", 0), section="Compared")
    return graph


def checklist() -> Graph:
    """What to look at, in order, when the likeness is poor."""
    graph = Graph(
        "## Why does my face not look like me?\n\nRun it with your photo and go through the notes from 1 to 5. Each "
        "says what to look at and what to change.\n\nChange one thing at a time and keep the seed: the curve of the "
        f"previous run stays in the chart.\n\nIt runs on the miniature; for FLUX choose your files in *Models*. "
        f"{CONSENT}"
    )
    graph.remark(
        "1 The photo",
        "Person",
        "*What was read* must show one sharp, upright face, and the right one. If not, use another photo, or choose "
        "another *face* in *Identity*. You can also give several photos of one person as a batch.",
    )
    graph.remark(
        "2 The stage",
        "Models",
        "*infusenet* and *image_proj* must come from the same stage: both sim or both aes. sim keeps the "
        "person more closely, aes follows the prompt more.",
    )
    graph.remark(
        "3 Strength and window",
        "Prompt and identity",
        "Start with *strength* 1, *start_percent* 0 and *end_percent* 1. Ending early costs likeness: on the miniature "
        "it was 0.24, 0.35, 0.53 and 0.67 with the identity in the first 4, 8, 16 and all 28 steps.",
    )
    graph.remark(
        "4 The probe",
        "Probe",
        "A curve above the grey area shows the person. If it never gets there, go back to note 1. If it gets there and "
        "falls, *Report* says at which step, and what to try next.",
    )
    graph.remark(
        "5 Chance",
        "Sampling",
        "One seed is one draw. Before you change a setting for good, try other seeds, for example with the template "
        "*The best of eight pictures*.",
    )
    graph.opened.add("Identity")
    backbone(graph, "mini-schnell")
    identity = person(graph)
    applied = apply(graph, prompt(graph, SMILING), identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_checklist", probe(graph, "Reference", "live"))
    report(graph)
    return graph
