"""Short names for the templates, which the host knows by their titles alone.

ComfyUI lists example_workflows/*.json by file name, and the page opens `?template=NAME&source=FOLDER` only if the name
is made of letters, digits, dots, dashes and underscores. So the files bear titles, and each also answers to the short
name of its form in example_workflows/api. The names that were shipped before there were titles are such short names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "example_workflows"
FORMER = {"18 FastFace, text and identity guided apart": "miniature_fastface"}
"""Titles that were shipped before, and the short names of what they are now: a page that is open lists them still."""


def titled(name: str, folder: Path = FOLDER) -> Path | None:
    """The template of a short name; None if there is none."""
    for path in sorted(folder.glob("*.json")):
        extra = json.loads(path.read_text(encoding="utf-8")).get("extra", {})
        if extra.get("infusenet", {}).get("template") == name:
            return path
    return None


def serve_short_names(server: Any) -> None:
    """Answer /workflow_templates/FOLDER/NAME.json for every short name, and for every former title.

    Args:
        server: the host's PromptServer, before it has taken up the routes; None is no server to answer.
    """
    if server is None:
        return
    from aiohttp import web

    def answer(name: str) -> Any:
        async def send(_: Any) -> Any:
            path = titled(name)
            return web.FileResponse(path) if path else web.Response(status=404)

        return send

    for path in sorted((FOLDER / "api").glob("*.json")):
        server.routes.get(f"/workflow_templates/{ROOT.name}/{path.stem}.json")(answer(path.stem))
    for title, name in FORMER.items():
        server.routes.get(f"/workflow_templates/{ROOT.name}/{title}.json")(answer(name))
