"""A portrait, then an upscale in tiles that leaves the face as it is: with the host's own nodes."""

from __future__ import annotations

from .graph import Graph, Link
from .parts import CONSENT, SEED, SMILING, apply, backbone, face, person, probe, prompt, sample, score

SIDE, TILE = 256, 144  # of the larger picture, and of its tiles, in pixels
OVERLAP = 2 * TILE - SIDE
CORNERS = [(0, 0), (SIDE - TILE, 0), (0, SIDE - TILE), (SIDE - TILE, SIDE - TILE)]  # x, y


def upscale() -> Graph:
    """Portrait, tiles, and the face kept."""
    graph = Graph(
        "## A portrait, then an upscale that keeps the face\n\nThe portrait is made twice as large and refined in "
        "four tiles. *Face pose image* finds the face, and *Keep the face* leaves it as it was.\n\n*Scores*: larger "
        "(1), tiles everywhere (2), face kept (3). On the miniature (12 drawn people) the tiles cost 0.027 of "
        "likeness; with the face kept, they cost nothing (+0.001, the worst -0.017).\n\nOn FLUX and real faces it is "
        f"untried: look at *Scores*. Crops and masks have the size of the larger picture. {CONSENT}"
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, SMILING)
    graph.add("Negative", "CLIPTextEncode", "Prompt and identity", clip=("Backbone", 1), text="")
    applied = apply(graph, positive, identity)
    sample(graph, (applied, 0), SIDE // 2, SIDE // 2, "infusenet_portrait", probe(graph, "Reference", "live"))
    graph.add("Report", "InfuseNet_DriftReport", "Report", trace=("Probe", 1), samples=("Sampling", 0), run=0, step=0)
    refined = _tiles(graph, applied)
    kept = _keep(graph, refined)
    graph.add("Upscaled", "SaveImage", "Picture", images=kept, filename_prefix="infusenet_upscaled")
    graph.add("Both", "ImageBatch", "Compared", image1=("Larger", 0), image2=refined)
    graph.add("All three", "ImageBatch", "Compared", image1=("Both", 0), image2=kept)
    score(graph, ("All three", 0), section="Compared")
    return graph


def _tiles(graph: Graph, applied: str) -> Link:
    """Crop, sample as a batch, put together with soft seams."""
    graph.add("Larger", "ImageScaleBy", "Tiles", image=("Decode", 0), upscale_method="lanczos", scale_by=2.0)
    for number, (x, y) in enumerate(CORNERS, start=1):
        graph.add(f"Crop {number}", "ImageCrop", "Tiles", image=("Larger", 0), width=TILE, height=TILE, x=x, y=y)
    graph.add("Upper", "ImageBatch", "Tiles", image1=("Crop 1", 0), image2=("Crop 2", 0))
    graph.add("Lower", "ImageBatch", "Tiles", image1=("Crop 3", 0), image2=("Crop 4", 0))
    graph.add("Batch of tiles", "ImageBatch", "Tiles", image1=("Upper", 0), image2=("Lower", 0))
    graph.add("Encode tiles", "VAEEncode", "Tiles", pixels=("Batch of tiles", 0), vae=("Backbone", 2))
    graph.add(
        "Refine tiles",
        "KSampler",
        "Tiles",
        model=("Backbone", 0),
        seed=SEED,
        steps=4,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=(applied, 0),
        negative=("Negative", 0),
        latent_image=("Encode tiles", 0),
        denoise=0.3,
    )
    graph.add("Decode tiles", "VAEDecode", "Tiles", samples=("Refine tiles", 0), vae=("Backbone", 2))
    graph.add("White", "SolidMask", "Tiles", value=1.0, width=TILE, height=TILE)
    whole: Link = ("Larger", 0)
    for number, (x, y) in enumerate(CORNERS, start=1):
        tile = graph.add(
            f"Tile {number}", "ImageFromBatch", "Together", image=("Decode tiles", 0), batch_index=number - 1, length=1
        )
        soft = {"left": OVERLAP if x else 0, "top": OVERLAP if y else 0, "right": 0, "bottom": 0}
        seam = graph.add(f"Seam {number}", "FeatherMask", "Together", mask=("White", 0), **soft)
        placed = graph.add(
            f"Place {number}",
            "ImageCompositeMasked",
            "Together",
            destination=whole,
            source=(tile, 0),
            x=x,
            y=y,
            resize_source=False,
            mask=(seam, 0),
        )
        whole = (placed, 0)
    return whole


def _keep(graph: Graph, refined: Link) -> Link:
    """The larger picture again, around eyes and mouth."""
    mask = face(graph, ("Larger", 0), SIDE, "Face kept", expand=36)
    graph.add(
        "Keep the face",
        "ImageCompositeMasked",
        "Face kept",
        destination=refined,
        source=("Larger", 0),
        x=0,
        y=0,
        resize_source=False,
        mask=mask,
    )
    return ("Keep the face", 0)
