"""Templates that begin with a photo: the whole of it made anew in part, or its head alone."""

from __future__ import annotations

from .graph import Graph, Link
from .parts import REFERENCE_2, SMILING, YOURS, apply, backbone, denoise, face, person, probe, prompt, report, score

SIDE = 128  # pixels of the miniature's pictures


def _start(graph: Graph) -> Link:
    """The photo that a run begins with, in the backbone's size."""
    graph.add("Photo", "LoadImage", "Start", image=REFERENCE_2)
    size = {"upscale_method": "lanczos", "width": SIDE, "height": SIDE, "crop": "center"}
    graph.add("Photo in size", "ImageScale", "Start", image=("Photo", 0), **size)
    return ("Photo in size", 0)


def portrait() -> Graph:
    """Somebody else's picture becomes a portrait of the person."""
    graph = Graph(
        "## A portrait from another picture\n\n*Photo* gives pose and colours, *Reference* the person. *denoise* in "
        "*Schedule* decides how much of the photo may change.\n\nFrom another person's picture the miniature reached a "
        "likeness of 0.08, 0.23, 0.36 and 0.48 with a denoise of 0.5, 0.6, 0.8 and 1 in 4 steps: below 0.6 the person "
        f"hardly shows.\n\n{YOURS}"
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    photo = _start(graph)
    graph.add("Encode", "VAEEncode", "Start", pixels=photo, vae=("Backbone", 2))
    applied = apply(graph, prompt(graph, SMILING), identity)
    denoise(graph, (applied, 0), ("Encode", 0), "infusenet_img2img", probe(graph, "Reference", "live"), 0.8)
    report(graph)
    return graph


def head() -> Graph:
    """A face in one region of a photo, and the rest as it was."""
    graph = Graph(
        "## A face in a part of a photo\n\n*Face pose image* finds the face in any *Photo*. The person in *Reference* "
        "is painted there and nowhere else. Let *Prompt* describe the photo.\n\n*expand* in *Around it* sets how much "
        "of the head is painted: 26, 30, 34 and 40 pixels gave this person a likeness of 0.53, 0.62, 0.70 and 0.78. To "
        f"paint the mask by hand, connect *Photo*'s mask instead of *Face*.\n\n{YOURS}"
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    photo = _start(graph)
    mask = face(graph, photo, SIDE, "Masks", expand=40)
    graph.add("Encode", "VAEEncode", "Masks", pixels=photo, vae=("Backbone", 2))
    graph.add("Face alone", "SetLatentNoiseMask", "Masks", samples=("Encode", 0), mask=mask)
    applied = apply(graph, prompt(graph, "a photo of a smiling person"), identity, pose_image=("Face pose image", 0))
    denoise(graph, (applied, 0), ("Face alone", 0), "", probe(graph, "Reference", "live"))
    graph.nodes.pop("Picture")
    whole = {"destination": photo, "source": ("Decode", 0), "x": 0, "y": 0, "resize_source": False, "mask": mask}
    graph.add("Together", "ImageCompositeMasked", "Masks", **whole)
    graph.add("Picture", "SaveImage", "Picture", images=("Together", 0), filename_prefix="infusenet_inpainted")
    graph.add("Report", "InfuseNet_DriftReport", "Report", trace=("Probe", 1), samples=("Sampling", 0), run=0, step=0)
    graph.add("Before and after", "ImageBatch", "Compared", image1=photo, image2=("Together", 0))
    score(graph, ("Before and after", 0), section="Compared")
    return graph
