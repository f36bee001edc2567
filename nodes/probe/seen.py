"""What was seen in a step, for the chart's pointer: its faces, or its whole pictures, side by side in one JPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from ...infusenet.probe.gallery import Seen
    from .run import Run

RUNS: WeakValueDictionary[str, Run] = WeakValueDictionary()
"""Runs by name, for as long as a record holds them."""

ADDRESS = "/infusenet/seen/{run}/{step}"
FINISHED = "finished"  # instead of a step's number
MOST = 8  # pictures of a batch that are shown
SIDE = 96  # pixels of a face
GAP = 4
_NOTHING = (128, 128, 128)


def serve(server: Any) -> None:
    """Answer the page: `?whole` asks for whole pictures, `item=2` for one of the batch. What is not kept is 404."""
    if server is None:
        return
    from aiohttp import web

    @server.routes.get(ADDRESS)
    async def seen(request: Any) -> Any:
        run = RUNS.get(request.match_info["run"])
        found = None if run is None else find(run, request.match_info["step"])
        item = request.query.get("item", "")
        only = int(item) if item.isdecimal() and len(item) < 6 else None
        picture = None if found is None else strip(found, whole="whole" in request.query, only=only)
        if picture is None:
            return web.Response(status=404)
        return web.Response(body=picture, content_type="image/jpeg", headers={"Cache-Control": "no-store"})


def find(run: Run, step: str) -> Seen | None:
    """What is kept of a step, by its number as the chart has it, or of the finished pictures."""
    from ...infusenet.probe.gallery import Seen

    if step == FINISHED:
        return run.recorder.gallery.finished
    if not step.isdecimal() or len(step) > 9:
        return None
    number, gallery = int(step), run.recorder.gallery
    if run.goes_on is not None:  # a further piece that is being sampled
        if number <= run.steps_before:
            return find(run.goes_on, step)
        number -= run.steps_before
    return Seen(gallery.get(number), gallery.pictures(number))


def strip(seen: Seen, *, whole: bool = False, only: int | None = None) -> bytes | None:
    """A JPEG of what was seen, a picture of the batch beside the other (or `only` one, from 0); None: of nothing."""
    from PIL import Image

    shown: Sequence[Any] = seen.pictures if whole else seen.faces
    shown = shown if only is None else shown[only : only + 1]
    if all(one is None for one in shown[:MOST]):
        return None
    tiles = [_tile(one) for one in shown[:MOST]]
    size = next(tile.size for tile in tiles if tile is not None)
    sheet = Image.new("RGB", (len(tiles) * (size[0] + GAP) - GAP, size[1]), _NOTHING)
    for place, tile in enumerate(tiles):
        if tile is not None:
            sheet.paste(tile, (place * (size[0] + GAP), 0))
    content = io.BytesIO()
    sheet.save(content, format="JPEG", quality=85)
    return content.getvalue()


def _tile(one: Any) -> Any:
    from PIL import Image

    if one is None:
        return None
    if isinstance(one, bytes):
        return Image.open(io.BytesIO(one)).convert("RGB")
    face = Image.fromarray(one)
    return face.resize((SIDE, round(SIDE * face.height / face.width)), Image.Resampling.LANCZOS)
