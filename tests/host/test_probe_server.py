"""The probe's templates on a real server: as shipped, cached, with two samplers; the picture is the unprobed one."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

TEMPLATES = Path(__file__).parents[2] / "example_workflows" / "api"
NAMES = sorted(path.stem for path in TEMPLATES.glob("probe_*.json"))


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    running = sibling("server").Server(host, tmp_path_factory.mktemp("probe"))
    yield running
    running.stop()


def load(name):
    return json.loads((TEMPLATES / f"{name}.json").read_text())


def numbered(graph, title):
    return next(key for key, node in graph.items() if node["_meta"]["title"] == title)


def saved(server, outputs):
    entries = [entry for out in outputs.values() for entry in out.get("images", ()) if entry["type"] == "output"]
    return server.picture(entries[-1])


def curves(outputs):
    """The reports' curves by node."""
    return {key: out["infusenet_drift"][0] for key, out in outputs.items() if "infusenet_drift" in out}


@pytest.mark.parametrize("name", NAMES)
def test_a_template_runs_and_reports(server, name):
    graph = load(name)
    said, outputs = server.run(graph)
    assert said == "success"
    (curve,) = curves(outputs).values()
    assert curve["points"][0][0] == 1 and "It peaked at step" in curve["words"]
    said, again = server.run(graph)
    assert said == "success" and list(curves(again).values()) == [curve]  # cached, and told again
    assert "Traceback" not in server.text()


@pytest.mark.exact
def test_the_picture_is_the_unprobed_one(server):
    graph = load("probe_schnell")
    _, outputs = server.run(graph)
    plain = copy.deepcopy(graph)
    plain[numbered(plain, "Guider")]["inputs"]["model"] = [numbered(plain, "Backbone"), 0]
    for title in ("Report", "Chart", "Faces", "Decode best", "Best step", "Probe", "Recognizer"):
        plain.pop(numbered(plain, title))
    plain[numbered(plain, "Picture")]["inputs"]["filename_prefix"] = "plain"
    said, without = server.run(plain)
    assert said == "success"
    assert np.array_equal(saved(server, outputs), saved(server, without))


def test_two_samplers_have_a_report_each(server):
    graph = load("probe_ksampler")
    sampler, report = numbered(graph, "Sampling"), numbered(graph, "Report")
    graph["90"] = copy.deepcopy(graph[sampler])
    graph["90"]["inputs"] |= {"steps": 3, "seed": 1}
    graph["91"] = copy.deepcopy(graph[report])
    graph["91"]["inputs"]["samples"] = ["90", 0]
    said, outputs = server.run(graph)
    assert said == "success"
    found = curves(outputs)
    assert (len(found[report]["points"]), len(found["91"]["points"])) == (8, 3)
    graph["90"]["inputs"]["steps"] = 2
    said, outputs = server.run(graph)
    again = curves(outputs)
    assert again[report] == found[report] and len(again["91"]["points"]) == 2


def test_a_slice_tells_how_many_steps_came_before(server):
    graph = load("probe_ksampler")
    key = numbered(graph, "Sampling")
    inputs = graph[key]["inputs"]
    inputs.pop("denoise")
    inputs["noise_seed"] = inputs.pop("seed")
    inputs |= {"add_noise": "enable", "start_at_step": 5, "end_at_step": 8, "return_with_leftover_noise": "disable"}
    graph[key]["class_type"] = "KSamplerAdvanced"
    said, outputs = server.run(graph)
    assert said == "success"
    (curve,) = curves(outputs).values()
    assert curve["offset"] == 5 and [point[0] for point in curve["points"]] == [1, 2, 3]


def test_a_refusal_is_one_message(server):
    graph = load("probe_dev_stop_at_peak")
    graph[numbered(graph, "Probe")]["inputs"]["when"] = "after the run"
    said, _ = server.run(graph)
    assert "when = live" in said


def test_a_strength_that_is_no_number_passes_the_host_and_is_refused_by_the_node(server):
    graph = load("probe_schnell")
    graph[numbered(graph, "Apply")]["inputs"]["strength"] = float("nan")
    said, _ = server.run(graph)
    assert "strength must be a number from 0 to 3, got nan" in said
