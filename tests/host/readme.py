"""README's first picture, nodes/web/docs/pictures/comfyui.jpg: ComfyUI after a run with the probe.

    COMFYUI_PATH=path/to/ComfyUI python tests/host/readme.py

with that ComfyUI's Python and a Chromium: a server of its own, the template *See the likeness at every step* on the
miniature's 28 steps, run from the page, and what the page shows then.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from browser import Browser, find
from server import REPOSITORY, Server

PICTURE = REPOSITORY / "nodes" / "web" / "docs" / "pictures" / "comfyui.jpg"
WINDOW, MARGIN, QUALITY = (1920, 1130), 24, 84
SETTINGS = {"Comfy.VueNodes.Enabled": True, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}
OPEN = """
const flow = await (await fetch('/api/workflow_templates/ComfyUI-InfuseNet/probe_schnell.json')).json();
await app.loadGraphData(flow, true, true, 'See the likeness at every step');
await new Promise(done => setTimeout(done, 1500));
const backbone = app.graph._nodes.find(node => node.type === 'InfuseNet_LoadBackbone');
backbone.widgets.find(widget => widget.name === 'backbone').value = 'mini-dev';
await app.queuePrompt(0);
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


def main() -> None:
    """Run the template in the page and keep what is seen."""
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(Path(os.environ["COMFYUI_PATH"]).expanduser(), Path(temporary) / "host")
        page = Browser(find() or sys.exit("no Chromium on this machine"), WINDOW)
        try:
            server.post("/settings", SETTINGS)
            page.open(server.address)
            page.evaluate(OPEN)
            while not server.get("/history"):
                time.sleep(1)
            page.evaluate(FRAME)
            seen = Path(temporary) / "page.png"
            page.screenshot(seen)
            PICTURE.parent.mkdir(exist_ok=True)
            Image.open(seen).convert("RGB").save(PICTURE, quality=QUALITY, optimize=True)
            print(PICTURE, PICTURE.stat().st_size)
        finally:
            page.close()
            server.stop()


if __name__ == "__main__":
    main()
