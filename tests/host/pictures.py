"""The templates' pictures, example_workflows/NAME.jpg.

Run `python tests/host/pictures.py [NAME ...]` where COMFYUI_PATH names a ComfyUI, with its Python: it starts a server
of its own. A miniature template shows its reference beside what it really made, a sweep its chart above its sheet, a
score its sheet; others show their graph, as a browser draws it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from browser import Browser, find
from server import REPOSITORY, Server
from test_browser import FILES, LOAD

TEMPLATES = REPOSITORY / "example_workflows"
RUN = ("miniature", "score", "sweep")  # templates that show what they made
SIDE, GAP = 384, 16
QUALITY = 88
WINDOW, MARGIN, WIDTH = (2800, 1600), 100, 1280  # of the page, around the graph, of a graph's picture
SHOW = """
const settings = app.extensionManager?.setting;
await settings?.set('Comfy.Minimap.Visible', false);
await settings?.set('LiteGraph.Canvas.MinFontSizeForLOD', 0);
const [margin, pageWidth, pageHeight] = [%d, innerWidth, innerHeight]; // less than the window
const boxes = [...app.graph._nodes, ...app.graph._groups].map(item => {
    const [x, y] = item.pos, [w, h] = item.size;
    return [x, y - 30, x + w, y + h];
});
const low = i => Math.min(...boxes.map(b => b[i])), high = i => Math.max(...boxes.map(b => b[i]));
const [left, top, right, bottom] = [low(0), low(1), high(2), high(3)];
const area = app.canvas.canvas.getBoundingClientRect();
const scale = Math.min(1, (pageWidth - 2 * margin) / (right - left), (pageHeight - 2 * margin) / (bottom - top));
app.canvas.ds.scale = scale;
app.canvas.ds.offset[0] = (margin - area.x) / scale - left;
app.canvas.ds.offset[1] = (margin - area.y) / scale - top;
app.canvas.setDirty(true, true);
await new Promise(done => setTimeout(done, 2500));
const rim = margin / 5;
return [margin - rim, margin - rim, (right - left) * scale + 2 * rim, (bottom - top) * scale + 2 * rim];
"""


def made(server: Any, name: str) -> Image.Image:
    """Reference and result of a template that runs as shipped."""
    graph = json.loads((TEMPLATES / "api" / f"{name}.json").read_text())
    said, outputs = server.run(graph)
    if said != "success":
        raise SystemExit(f"{name}: {said}")
    saved = next(e for out in outputs.values() for e in out["images"] if e["type"] == "output")
    file = next(node["inputs"]["image"] for node in graph.values() if node["class_type"] == "LoadImage")
    reference = Image.open(TEMPLATES / "input" / file).convert("RGB")
    sheet = Image.new("RGB", (2 * SIDE + GAP, SIDE), "white")
    for place, picture in ((0, reference), (SIDE + GAP, Image.fromarray(server.picture(saved)))):
        sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (place, 0))
    return sheet


def swept(server: Any, name: str) -> Image.Image:
    """Chart, if there is one, and sheet of a sweep or a score."""
    graph = json.loads((TEMPLATES / "api" / f"{name}.json").read_text())
    said, outputs = server.run(graph)
    if said != "success":
        raise SystemExit(f"{name}: {said}")
    node = {entry["_meta"]["title"]: key for key, entry in graph.items()}
    parts = [
        Image.fromarray(server.picture(outputs[node[title]]["images"][0]))
        for title in ("Chart", "Sheet")
        if title in node
    ]
    width = max(part.width for part in parts)
    picture = Image.new("RGB", (width, sum(part.height for part in parts) + GAP), "white")
    top = 0
    for part in parts:
        picture.paste(part, ((width - part.width) // 2, top))
        top += part.height + GAP
    return picture


def drawn(page: Browser, name: str, folder: Path) -> Image.Image:
    """A template's graph in the browser, and nothing around it."""
    page.evaluate(LOAD.replace("NAME", name))
    left, top, width, height = page.evaluate(SHOW % MARGIN)
    page.screenshot(folder / "page.png", (left, top, width, height))
    picture = Image.open(folder / "page.png").convert("RGB")
    return picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS)


def main() -> None:
    """Write one picture for each template."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        server = Server(Path(os.environ["COMFYUI_PATH"]).expanduser(), folder / "host")
        for file in FILES:
            (folder / "host" / "models" / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / "host" / "models" / file).touch()
        program = find()
        page = Browser(program, WINDOW) if program else None
        try:
            if page:
                page.open(server.address)
            names = sys.argv[1:] or sorted(path.stem for path in (TEMPLATES / "api").glob("*.json"))
            for name in sorted(names, key=lambda name: name.startswith(RUN)):  # runs leave notices on the page
                if name.startswith("miniature"):
                    picture = made(server, name)
                elif name.startswith(("score", "sweep")):
                    picture = swept(server, name)
                elif page:
                    picture = drawn(page, name, folder)
                else:
                    print(f"{name}: skipped, no Chromium here")
                    continue
                picture.save(TEMPLATES / f"{name}.jpg", quality=QUALITY)
                print(TEMPLATES / f"{name}.jpg", picture.size)
        finally:
            if page:
                page.close()
            server.stop()


if __name__ == "__main__":
    main()
