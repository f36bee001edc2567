"""Nodes that have another id than they had: saved workflows that know the old one find the new one."""

from __future__ import annotations

from typing import Any

from comfy_api import latest
from comfy_api.latest import io

RENAMED: dict[str, str] = {}
"""Old id -> new id. Inputs and outputs keep their ids and their order; no node was renamed so far."""


async def register_renames(nodes: list[type[io.ComfyNode]]) -> None:
    """Tell the host. One that has no place for it, as 0.3.64, shows an old id as a missing node.

    A prompt by the API, unlike a workflow in the page, must name every input of a renamed node: the host asks for it.
    """
    replace = getattr(io, "NodeReplace", None)
    if replace is None or not RENAMED:
        return
    schemas = {one.GET_SCHEMA().node_id: one.GET_SCHEMA() for one in nodes}
    place: Any = latest.ComfyAPI().node_replacement
    for old, new in RENAMED.items():
        inputs = schemas[new].inputs
        await place.register(
            replace(
                new_node_id=new,
                old_node_id=old,
                old_widget_ids=[one.id for one in inputs if isinstance(one, io.WidgetInput)],
                input_mapping=[{"new_id": one.id, "old_id": one.id} for one in inputs],
                output_mapping=[{"new_idx": i, "old_idx": i} for i in range(len(schemas[new].outputs))],
            )
        )
