"""Pictures of ComfyUI for README and the help pages, nodes/web/docs/pictures/*.jpg: what a page shows after a run.

    COMFYUI_PATH=path/to/ComfyUI python tests/host/screens.py [NAME ...]

with that ComfyUI's Python and a Chromium: a server of its own, the templates run from the page in Nodes 2.0. A NAME is
a node's id, or "comfyui": README's first picture, which is *See the likeness at every step* on the miniature's 28
steps. Without any, all are made.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from browser import Browser, find
from server import REPOSITORY, Server

DOCS = REPOSITORY / "nodes" / "web" / "docs"
PICTURES = DOCS / "pictures"
README = "comfyui"
WINDOW, MARGIN, QUALITY = (1920, 1130), 24, 84
WIDTH = 380  # of a node's picture: the help's panel is narrow
SETTINGS = {"Comfy.VueNodes.Enabled": True, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}
RUN = (  # templates that are run for the pictures of their nodes; each node is taken from the first that has it
    "why_not_like_me",
    "inpaint_head",
    "score",
    "best_of_eight",
    "sweep_steps",
    "probe_dev_stop_at_peak",
    "miniature_fastface",
)
OPEN = """
const flow = await (await fetch('/api/workflow_templates/ComfyUI-InfuseNet/NAME.json')).json();
await app.loadGraphData(flow, true, true, 'NAME');
await new Promise(done => setTimeout(done, 1500));
"""
MORE_STEPS = """
const backbone = app.graph._nodes.find(node => node.type === 'InfuseNet_LoadBackbone');
backbone.widgets.find(widget => widget.name === 'backbone').value = 'mini-dev';
"""
FRAME = """
const items = [...app.graph._nodes, ...app.graph._groups];
const boxes = items.map(({pos, size}) => [...pos, pos[0] + size[0], pos[1] + size[1]]);
const low = i => Math.min(...boxes.map(box => box[i])), high = i => Math.max(...boxes.map(box => box[i]));
const [left, top, right, bottom] = [low(0), low(1), high(2), high(3)], side = 76, bar = 92;
const scale = Math.min((innerWidth - side - MARGIN) / (right - left), (innerHeight - bar - MARGIN) / (bottom - top));
app.canvas.ds.scale = scale;
app.canvas.ds.offset[0] = side / scale - left;
app.canvas.ds.offset[1] = (bar + MARGIN) / scale - top;
app.canvas.setDirty(true, true);
await new Promise(done => setTimeout(done, 8000)); // until the page no longer says that a job is completed
""".replace("MARGIN", str(MARGIN))
ALONE = """
app.graph.clear();
const made = LiteGraph.createNode('KIND');
app.graph.add(made);
await new Promise(done => setTimeout(done, 800));
"""
NODE = """
const node = app.graph._nodes.find(node => node.type === 'KIND');
if (node.flags.collapsed) node.collapse();
app.canvas.links_render_mode = LiteGraph.HIDDEN_LINK;
node.pos = [100000 * node.id, 0]; // away from all others
const zoom = app.canvas.ds.scale = WIDTH / node.size[0];
app.canvas.ds.offset[0] = 500 / zoom - node.pos[0];
app.canvas.ds.offset[1] = 140 / zoom - node.pos[1];
app.canvas.setDirty(true, true);
await new Promise(done => setTimeout(done, 1200));
const {x, y, width, height} = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect();
return [x - 10, y - 4, width + 20, Math.min(height, innerHeight - y - 8) + 8];
""".replace("WIDTH", str(WIDTH - 20))


def readme(page: Browser, server: Any) -> None:
    """ComfyUI after a run with the probe."""
    run(page, server, "probe_schnell", MORE_STEPS)
    page.evaluate(FRAME)
    keep(page, README)


def run(page: Browser, server: Any, name: str, change: str = "") -> None:
    """Open a template, queue it from the page, and wait until it is done."""
    server.post("/history", {"clear": True})
    page.evaluate(OPEN.replace("NAME", name) + change + "await app.queuePrompt(0);")
    while not server.get("/history"):
        time.sleep(0.5)
    time.sleep(3)  # the page shows the pictures and the words


def keep(page: Browser, name: str, box: Sequence[float] | None = None) -> None:
    """Save what is seen, or a box of it, as NAME.jpg."""
    with tempfile.TemporaryDirectory() as folder:
        page.screenshot(Path(folder) / "page.png", box)
        PICTURES.mkdir(exist_ok=True)
        Image.open(Path(folder) / "page.png").convert("RGB").save(
            PICTURES / f"{name}.jpg", quality=QUALITY, optimize=True
        )
    print(PICTURES / f"{name}.jpg", (PICTURES / f"{name}.jpg").stat().st_size)


def nodes(page: Browser, server: Any, wanted: Sequence[str]) -> None:
    """Each of these nodes as it looks after a run; alone, if none of the templates that are run has it."""
    left = list(wanted)
    for name in RUN:
        graph = json.loads((REPOSITORY / "example_workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
        here = [kind for kind in left if any(node["class_type"] == kind for node in graph.values())]
        if here:
            run(page, server, name)
        for kind in here:
            keep(page, kind, page.evaluate(NODE.replace("KIND", kind)))
            left.remove(kind)
    for kind in left:
        page.evaluate(ALONE.replace("KIND", kind))
        keep(page, kind, page.evaluate(NODE.replace("KIND", kind)))


def main() -> None:
    """Write the pictures that are named, or all."""
    known = [README, *sorted(path.stem for path in DOCS.glob("InfuseNet_*.md"))]
    wanted = sys.argv[1:] or known
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(Path(os.environ["COMFYUI_PATH"]).expanduser(), Path(temporary) / "host")
        page = Browser(find() or sys.exit("no Chromium on this machine"), WINDOW)
        try:
            server.post("/settings", SETTINGS)
            page.open(server.address)
            if README in wanted:
                readme(page, server)
            nodes(page, server, [name for name in wanted if name != README])
        finally:
            page.close()
            server.stop()


if __name__ == "__main__":
    main()
