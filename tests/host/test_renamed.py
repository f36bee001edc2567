"""A node that is renamed one day is carried over by the host's own node replacement, where it has one."""

import asyncio
from types import SimpleNamespace

import pytest


def test_a_made_up_rename_is_carried_over(pack, monkeypatch):
    from comfy_api.latest import io

    if not hasattr(io, "NodeReplace"):
        pytest.skip("this ComfyUI has no node replacement")
    import server
    from app.node_replace_manager import NodeReplaceManager

    import nodes

    manager, renamed = NodeReplaceManager(), pack.module("nodes.renamed")
    monkeypatch.setattr(server.PromptServer, "instance", SimpleNamespace(node_replace_manager=manager), raising=False)
    monkeypatch.setitem(renamed.RENAMED, "InfuseNet_OldSigmas", "InfuseNet_Sigmas")
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "InfuseNet_Sigmas", pack.by_id["InfuseNet_Sigmas"])
    asyncio.run(renamed.register_renames(list(pack.by_id.values())))
    inputs = {one.id: ["2", 0] for one in pack.by_id["InfuseNet_Sigmas"].GET_SCHEMA().inputs} | {"steps": 7}
    prompt = {
        "1": {"class_type": "InfuseNet_OldSigmas", "inputs": inputs, "_meta": {"title": "Schedule"}},
        "3": {"class_type": "Other", "inputs": {"sigmas": ["1", 0]}, "_meta": {"title": "Other"}},
    }
    manager.apply_replacements(prompt)
    assert prompt["1"]["class_type"] == "InfuseNet_Sigmas" and prompt["1"]["inputs"] == inputs
    assert prompt["3"]["inputs"] == {"sigmas": ["1", 0]}
    (told,) = manager.as_dict()["InfuseNet_OldSigmas"]
    assert "steps" in told["old_widget_ids"], "a workflow holds its values by place"


def test_no_node_was_renamed_to_one_that_is_not_there(pack):
    renamed = pack.module("nodes.renamed")
    assert set(renamed.RENAMED.values()) <= set(pack.by_id) and not set(renamed.RENAMED) & set(pack.by_id)
