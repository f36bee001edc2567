"""The figures that help pages and templates tell of graphs in ComfyUI, measured again on drawn people.

    COMFYUI_PATH=path/to/ComfyUI python tests/host/figures.py denoise
    COMFYUI_PATH=path/to/ComfyUI python tests/host/figures.py tiles

"denoise": from a picture of somebody else, the likeness that a person reaches by how much noise a run begins with.
"tiles": what the tiles of the template portrait_tiled_upscale cost, with and without InfuseNet in them, and with the
face kept. The people are of no demo and no training; 12 of each.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(REPOSITORY)]
from server import Server  # noqa: E402

from infusenet.miniature.people import drawn_reference  # noqa: E402

PEOPLE = 12
DENOISE = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PROMPTS = (
    "a photo of a smiling person at the beach",
    "a photo of a person in a forest",
    "a photo of a person wearing a blue suit and glasses",
)


def graph_of(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A template's API form, and its node ids by title."""
    graph = json.loads((REPOSITORY / "example_workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    return graph, {node["_meta"]["title"]: key for key, node in graph.items()}


def draw(server: Any, name: str, number: int) -> str:
    """A drawn person in the host's input folder."""
    Image.fromarray(drawn_reference(number)).save(server.folder / "input" / f"{name}.png")
    return f"{name}.png"


def scores(server: Any, graph: dict[str, Any], node: str, count: int = 1) -> list[float]:
    """What Identity Score tells of each picture, in their order; NaN where no face was found."""
    said, outputs = server.run(graph)
    if said != "success":
        raise SystemExit(said)
    told = dict(re.findall(r"\bpicture (\d+): (-?\d\.\d+)", outputs[node]["text"][0]))
    return [float(told.get(str(number), "nan")) for number in range(1, count + 1)]


def denoise(server: Any) -> Iterator[str]:
    """A line for each backbone."""
    for backbone, steps in (("mini-dev", 28), ("mini-schnell", 4)):
        found = []
        for who in range(PEOPLE):
            graph, title = graph_of("miniature_ksampler")
            graph[title["Backbone"]]["inputs"]["backbone"] = backbone
            graph[title["Reference"]]["inputs"]["image"] = draw(server, "person", 800 + who)
            graph[title["Prompt"]]["inputs"]["text"] = PROMPTS[who % len(PROMPTS)]
            sampling = graph[title["Sampling"]]["inputs"]
            other = draw(server, "other", 900 + who)
            graph["90"] = {"class_type": "LoadImage", "inputs": {"image": other}}
            graph["91"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["90", 0], "vae": [title["Backbone"], 2]}}
            face = {"face_pack": "miniature", "device": "cpu"}
            graph["92"] = {"class_type": "InfuseNet_LoadFaceRecognizer", "inputs": face}
            measured = {"images": [title["Decode"], 0], "recognizer": ["92", 0], "reference": [title["Reference"], 0]}
            graph["93"] = {"class_type": "InfuseNet_Score", "inputs": {**measured, "show": "pictures"}}
            row = []
            for share in DENOISE:
                sampling.update(latent_image=["91", 0], seed=60 + who, steps=steps, denoise=share)
                row += scores(server, graph, "93")
            found.append(row)
        means = ", ".join(
            f"{share:g}: {mean:.2f}" for share, mean in zip(DENOISE, np.nanmean(found, axis=0), strict=True)
        )
        yield f"{backbone}, {steps} steps, likeness by denoise: {means}"


def tiles(server: Any) -> Iterator[str]:
    """A line with InfuseNet in the tiles, and one without."""
    for within in (True, False):
        found = []
        for who in range(PEOPLE):
            graph, title = graph_of("portrait_tiled_upscale")
            graph[title["Reference"]]["inputs"]["image"] = draw(server, "person", 700 + who)
            graph[title["Noise"]]["inputs"]["noise_seed"] = 100 + who
            if not within:
                graph[title["Refine tiles"]]["inputs"]["positive"] = [title["Guidance"], 0]
            found.append(scores(server, copy.deepcopy(graph), title["Scores"], 3))
        larger, tiled, kept = np.array(found).T
        cost, left = tiled - larger, kept - larger
        yield (
            f"{'with' if within else 'without'} InfuseNet in the tiles: larger {larger.mean():.3f}; tiles "
            f"{cost.mean():+.3f}; face kept {left.mean():+.3f}, the worst {left.min():+.3f}"
        )


def main() -> None:
    """Measure what is asked for."""
    ways = {"denoise": denoise, "tiles": tiles}
    if len(sys.argv) != 2 or sys.argv[1] not in ways:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(Path(os.environ["COMFYUI_PATH"]).expanduser(), Path(temporary) / "host")
        try:
            for line in ways[sys.argv[1]](server):
                print(line, flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
