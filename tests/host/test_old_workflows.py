"""Workflows that were shipped before the house was rebuilt still open and run."""

import json
from pathlib import Path

import pytest

OLD = Path(__file__).parents[1] / "old"
RUN = [path.stem for path in sorted((OLD / "api").glob("*.json")) if "clip_l.safetensors" not in path.read_text()]


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    running = sibling("server").Server(host, tmp_path_factory.mktemp("old"))
    yield running
    running.stop()


@pytest.mark.parametrize("name", RUN)
def test_it_runs(server, name):
    graph = json.loads((OLD / "api" / f"{name}.json").read_text())
    said, outputs = server.run(graph)
    assert said == "success" and any(out.get("images") for out in outputs.values())
    assert "Traceback" not in server.text()


@pytest.mark.parametrize("path", sorted((OLD / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_every_socket_and_setting_of_it_is_still_there(server, path):
    """As the page opens it: nodes by id, inputs by name, links by type, choices among those offered."""
    known = server.get("/api/object_info")
    for node in json.loads(path.read_text())["nodes"]:
        if not node["type"].startswith("InfuseNet"):
            continue
        inputs = known[node["type"]]["input"]
        offered = {**inputs.get("required", {}), **inputs.get("optional", {})}
        for socket in node.get("inputs", []):
            assert socket["name"] in offered, (path.stem, node["type"], socket["name"])
        assert [one["name"] for one in node["outputs"]] == known[node["type"]]["output_name"][: len(node["outputs"])]
        assert [one["type"] for one in node["outputs"]] == known[node["type"]]["output"][: len(node["outputs"])]
