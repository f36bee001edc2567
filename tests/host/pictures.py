"""The templates' pictures, example_workflows/TITLE.jpg: what each of them makes, not its graph.

Run `python tests/host/pictures.py [NAME ...]` where COMFYUI_PATH names a ComfyUI, with its Python: it starts a server
of its own and runs the templates there. Those that take FLUX's weights are run on the miniature instead, in its size
and with words that it knows.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parent))
from server import REPOSITORY, Server

TEMPLATES = REPOSITORY / "example_workflows"
SIDE, GAP, RING, QUALITY = 512, 8, 168, 88  # pixels of a picture, between its parts, of the reference in it
HEAD = 44  # of a chart, which the page covers by a badge
PAPER, INK = "white", "#1b2733"
NO_FILES = ("diffusion_model", "text_encoder_1", "text_encoder_2", "vae")
OWN_WORDS = {
    "flux_schnell_4_steps": "a photo of a person in the snow",
    "flux_dev_28_steps": "a photo of a person in a city at night",
    "two_people": "a photo of a smiling person in a forest",
}


class Run:
    """What a graph made: pictures by the title of the node that shows them."""

    def __init__(self, server: Any, graph: dict[str, Any]) -> None:
        self.server, self.graph = server, graph
        said, outputs = server.run(graph)
        if said != "success":
            raise SystemExit(said)
        self.shown = {
            self.graph[key]["_meta"]["title"]: [Image.fromarray(server.picture(entry)) for entry in output["images"]]
            for key, output in outputs.items()
            if output.get("images")
        }

    def __getitem__(self, title: str) -> Image.Image:
        return self.shown[title][0]

    def again(self, graph: dict[str, Any]) -> Run:
        """What another graph makes."""
        return Run(self.server, graph)

    def given(self, title: str) -> Image.Image:
        """The picture that a Load Image is set to."""
        node = next(node for node in self.graph.values() if node["_meta"]["title"] == title)
        return Image.open(TEMPLATES / "input" / node["inputs"]["image"]).convert("RGB")


def runnable(name: str) -> dict[str, Any]:
    """A template's graph with what its picture shows; on the miniature where it takes a user's files."""
    graph = json.loads((TEMPLATES / "api" / f"{name}.json").read_text(encoding="utf-8"))
    titled = {node["_meta"]["title"]: key for key, node in graph.items()}
    if name == "portrait_tiled_upscale":
        graph["small"] = preview("Small", [titled["Decode"], 0])
    if name == "thing_or_style":  # no image encoder comes with the pack: what it would measure
        for title in ("Encoder", "Recognizer", "Score", "Sheet"):
            del graph[titled[title]]
        graph["all"] = preview("All", [titled["Decode"], 0])
    if name in OWN_WORDS:
        put_in_miniature(graph, OWN_WORDS[name])
    if name == "two_people":  # the first alone: no mask, no second Apply
        del graph[titled["Apply"]]["inputs"]["mask"]
        graph[titled["Guider"]]["inputs"]["conditioning"] = [titled["Apply"], 0]
    return graph


def put_in_miniature(graph: dict[str, Any], words: str) -> None:
    """Set a graph of FLUX's weights to the miniature's, its size and its words."""
    for node in graph.values():
        inputs = node["inputs"]
        if node["class_type"] == "InfuseNet_LoadBackbone":
            inputs.update(dict.fromkeys(NO_FILES, "none"), backbone=inputs["backbone"].replace("flux", "mini"))
        elif node["class_type"].startswith("InfuseNet_Load"):
            inputs.update({key: "miniature" for key in inputs if key not in ("weight_dtype", "device")})
        elif node["class_type"] == "CLIPTextEncode":
            inputs["text"] = words
        inputs.update({key: 128 for key in ("width", "height") if key in inputs})


def preview(title: str, images: list[Any]) -> dict[str, Any]:
    """A node that shows pictures."""
    return {"class_type": "PreviewImage", "inputs": {"images": images}, "_meta": {"title": title}}


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a picture that fills this size."""
    scale = max(width / picture.width, height / picture.height)
    whole = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    left, top = (whole.width - width) // 2, (whole.height - height) // 2
    return whole.crop((left, top, left + width, top + height))


def ringed(sheet: Image.Image, reference: Image.Image, place: int = 0) -> Image.Image:
    """The person whom it is about, in a ring at the lower left (the next one further to the right)."""
    shape = Image.new("L", (4 * RING, 4 * RING))
    ImageDraw.Draw(shape).ellipse((0, 0, 4 * RING - 1, 4 * RING - 1), fill=255)
    for side, picture in ((RING, Image.new("RGB", (1, 1), PAPER)), (RING - 12, reference)):
        corner = (14 + (RING - side) // 2 + place * (RING - 30), SIDE - 14 - (RING + side) // 2)
        sheet.paste(fitted(picture, side, side), corner, shape.resize((side, side), Image.Resampling.LANCZOS))
    return sheet


def scene(run: Run) -> Image.Image:
    """The picture, and the person in it."""
    return ringed(
        fitted(next(run[title] for title in PICTURES if title in run.shown), SIDE, SIDE), run.given("Reference")
    )


def changed(run: Run) -> Image.Image:
    """The photo's left half, the picture's right half, and the person."""
    sheet, middle = fitted(run.given("Photo"), SIDE, SIDE), SIDE // 2
    sheet.paste(fitted(run["Picture"], SIDE, SIDE).crop((middle, 0, SIDE, SIDE)), (middle, 0))
    ImageDraw.Draw(sheet).line((middle, 0, middle, SIDE), fill=PAPER, width=4)
    return ringed(sheet, run.given("Reference"))


def grid(run: Run) -> Image.Image:
    """Many pictures, and the person."""
    pictures = run.shown["All"]
    across = 2 if len(pictures) <= 4 else 3
    side = (SIDE - (across - 1) * GAP) // across
    sheet = Image.new("RGB", (SIDE, SIDE), PAPER)
    for place, picture in enumerate(pictures):
        down, right = divmod(place, across)
        sheet.paste(fitted(picture, side, side), (right * (side + GAP), down * (side + GAP)))
    if len(pictures) < across**2:
        best = run["Best"]
        sheet.paste(fitted(best, side, side), ((across - 1) * (side + GAP), (across - 1) * (side + GAP)))
        corner = (across - 1) * (side + GAP)
        ImageDraw.Draw(sheet).rectangle((corner, corner, SIDE - 1, SIDE - 1), outline="#d55e00", width=7)
    return sheet if len(pictures) < across**2 else ringed(sheet, run.given("Reference"))


def chart(run: Run) -> Image.Image:
    """The curve, without the small print below it, and what it is the curve of."""
    curve = run["Chart"]
    curve = curve.crop((0, 0, curve.width, round((0.81 if "Sheet" in run.shown else 0.89) * curve.height)))
    curve = curve.resize((SIDE, round(SIDE * curve.height / curve.width)), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (SIDE, SIDE), PAPER)
    sheet.paste(curve, (0, HEAD))
    top = HEAD + curve.height + GAP
    strip = trimmed(next(run[title] for title in ("Faces", "Sheet") if title in run.shown))
    height = round(SIDE * strip.height / strip.width)
    if height <= SIDE - top:
        sheet.paste(strip.resize((SIDE, height), Image.Resampling.LANCZOS), (0, (top + SIDE - height) // 2))
    else:
        width = round((SIDE - top) * strip.width / strip.height)
        sheet.paste(strip.resize((width, SIDE - top), Image.Resampling.LANCZOS), ((SIDE - width) // 2, top))
    return sheet


def table(run: Run) -> Image.Image:
    """The sheet of a score."""
    sheet, whole = trimmed(run["Sheet"]), Image.new("RGB", (SIDE, SIDE), PAPER)
    scale = min(SIDE / sheet.width, (SIDE - HEAD) / sheet.height)
    sheet = sheet.resize((round(sheet.width * scale), round(sheet.height * scale)), Image.Resampling.LANCZOS)
    whole.paste(sheet, ((SIDE - sheet.width) // 2, HEAD + (SIDE - HEAD - sheet.height) // 2))
    return whole


def asking(run: Run) -> Image.Image:
    """The picture with a question to it."""
    sheet = scene(run)
    mark = ImageDraw.Draw(sheet)
    mark.ellipse((SIDE - 182, SIDE - 182, SIDE - 14, SIDE - 14), fill=PAPER)
    mark.text((SIDE - 98, SIDE - 98), "?", fill=INK, anchor="mm", font=ImageFont.load_default(140))
    return sheet


def enlarged(run: Run) -> Image.Image:
    """The portrait's left half in its own pixels, and the larger one's right half."""
    small, middle = run["Small"].resize((SIDE, SIDE), Image.Resampling.NEAREST), SIDE // 2
    sheet = fitted(run["Upscaled"], SIDE, SIDE)
    sheet.paste(small.crop((0, 0, middle, SIDE)), (0, 0))
    ImageDraw.Draw(sheet).line((middle, 0, middle, SIDE), fill=PAPER, width=4)
    return ringed(sheet, run.given("Reference"))


def both(run: Run) -> Image.Image:
    """Two people, each in a half, and whom they are of. The miniature draws one face a picture: two runs."""
    sheet, middle = Image.new("RGB", (SIDE, SIDE), PAPER), SIDE // 2
    other = json.loads(json.dumps(run.graph))
    first, second = (next(n for n in other.values() if n["_meta"]["title"] == f"Reference{s}") for s in ("", " 2"))
    first["inputs"]["image"] = second["inputs"]["image"]
    sheet.paste(fitted(run["Picture"], middle - 2, SIDE), (0, 0))
    sheet.paste(fitted(run.again(other)["Picture"], middle - 2, SIDE), (middle + 2, 0))
    return ringed(ringed(sheet, run.given("Reference")), run.given("Reference 2"), 1)


def trimmed(picture: Image.Image) -> Image.Image:
    """Without the white around it."""
    rows, columns = (np.flatnonzero((np.asarray(picture) < 250).any(axis=(axis, 2))) for axis in (1, 0))
    return picture.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))


PICTURES = ("Picture", "Best", "Upscaled", "Best picture")
SHOWN: dict[str, Callable[[Run], Image.Image]] = {
    "best_of_eight": grid,
    "thing_or_style": grid,
    "score": table,
    "two_methods": table,
    "miniature_fastface": table,
    "two_people": both,
    "why_not_like_me": asking,
    "portrait_tiled_upscale": enlarged,
    "inpaint_head": changed,
    "img2img_portrait": changed,
    **dict.fromkeys(("probe_schnell", "probe_ksampler", "probe_dev_stop_at_peak", "sweep_steps"), chart),
}


def titles() -> dict[str, Path]:
    """The templates by their short names."""
    paths = sorted(TEMPLATES.glob("*.json"))
    return {json.loads(path.read_text(encoding="utf-8"))["extra"]["infusenet"]["template"]: path for path in paths}


def main() -> None:
    """Write one picture for each template."""
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(Path(os.environ["COMFYUI_PATH"]).expanduser(), Path(temporary) / "host")
        try:
            for name, path in titles().items():
                if not sys.argv[1:] or name in sys.argv[1:]:
                    picture = SHOWN.get(name, scene)(Run(server, runnable(name)))
                    picture.save(path.with_suffix(".jpg"), quality=QUALITY)
                    print(path.with_suffix(".jpg"), picture.size)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
