"""What the shipped workflows use and make: every node, and a picture each."""

import json
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[2] / "example_workflows" / "api"
SHIPPED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(TEMPLATES.glob("*.json"))}
TRIED_ELSEWHERE = ("miniature", "portrait", "probe_", "sweep_")  # test_server, test_probe_server, test_sweep_server
ALONE = [
    name
    for name, graph in SHIPPED.items()
    if "safetensors" not in json.dumps(graph) and not name.startswith(TRIED_ELSEWHERE)
]


def test_every_node_is_used_by_a_shipped_workflow(pack):
    used = {node["class_type"] for graph in SHIPPED.values() for node in graph.values()}
    assert set(pack.by_id) - used == set()


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    running = sibling("server").Server(host, tmp_path_factory.mktemp("templates"))
    yield running
    running.stop()


def run(server, name):
    """What a template's nodes show, by title."""
    graph = SHIPPED[name]
    said, outputs = server.run(graph)
    assert said == "success"
    return {graph[key]["_meta"]["title"]: output for key, output in outputs.items()}


@pytest.mark.parametrize("name", ALONE)
def test_it_runs_as_shipped_and_keeps_a_picture(server, name):
    shown = run(server, name)
    kept = [entry for output in shown.values() for entry in output.get("images", []) if entry["type"] == "output"]
    assert kept and all(server.picture(entry).std() > 10 for entry in kept)
    assert "Traceback" not in server.text()


def likeness(shown, title="Scores"):
    """The likeness of each picture of a score, by its number."""
    lines = shown[title]["text"][0].splitlines()
    numbered = [line.removeprefix("picture ").split(": ", 1) for line in lines if line.startswith("picture ")]
    return {int(number): float(value.split()[0]) for number, value in numbered}


def test_the_face_painted_into_a_photo_is_the_persons_and_the_photos_was_not(server):
    found = likeness(run(server, "inpaint_head"))
    assert found[2] > 0.5 > 0.2 > found[1]


def test_of_two_methods_the_one_that_carries_an_identity_shows_it(server):
    found = likeness(run(server, "two_methods"))
    assert found[1] > 0.5 > 0.2 > found[2]
