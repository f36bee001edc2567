"""The templates' pictures, example_workflows/NAME.jpg.

Run `python tests/host/pictures.py` where COMFYUI_PATH names a ComfyUI, with its Python: it starts a server of its own.
A miniature template shows its reference beside what it really made; one that needs weights which cannot be shipped
shows its graph, as a browser draws it.
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
SIDE, GAP = 384, 16
QUALITY = 88


def made(server: Any, name: str) -> Image.Image:
    """Reference and result of a template that runs as shipped."""
    said, outputs = server.run(json.loads((TEMPLATES / "api" / f"{name}.json").read_text()))
    if said != "success":
        raise SystemExit(f"{name}: {said}")
    saved = next(e for out in outputs.values() for e in out["images"] if e["type"] == "output")
    reference = Image.open(TEMPLATES / "input" / "infusenet_reference.png").convert("RGB")
    sheet = Image.new("RGB", (2 * SIDE + GAP, SIDE), "white")
    for place, picture in ((0, reference), (SIDE + GAP, Image.fromarray(server.picture(saved)))):
        sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (place, 0))
    return sheet


def drawn(page: Browser, name: str, folder: Path) -> Image.Image:
    """A template's graph in the browser."""
    page.evaluate(LOAD.replace("NAME", name))
    page.evaluate("await new Promise(done => setTimeout(done, 1500))")
    page.screenshot(folder / "page.png")
    picture = Image.open(folder / "page.png").convert("RGB")
    left, top = round(picture.width * 0.04), round(picture.height * 0.09)
    return picture.crop((left, top, picture.width, picture.height)).resize((1000, round(1000 * 0.57)))


def main() -> None:
    """Write one picture for each template."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        server = Server(Path(os.environ["COMFYUI_PATH"]).expanduser(), folder / "host")
        for file in FILES:
            (folder / "host" / "models" / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / "host" / "models" / file).touch()
        program = find()
        page = Browser(program) if program else None
        try:
            if page:
                page.open(server.address)
            for path in sorted((TEMPLATES / "api").glob("*.json")):
                name = path.stem
                if name.startswith("miniature"):
                    picture = made(server, name)
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
