"""Records live and die properly on a real server: cancelled and failed runs, lists, twins, changed graphs, caches."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
TEMPLATE = HERE.parents[1] / "example_workflows" / "api" / "probe_schnell.json"
STEPS = 8
ODD, REBATCH, PART = "80", "81", "82"


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    running = sibling("server").Server(host, tmp_path_factory.mktemp("records"), HERE / "odd_nodes.py")
    yield running
    running.stop()


@pytest.fixture
def listening(sibling, server):
    """`listening(on_message)`: what the server tells its client, as a context."""
    return lambda on_message=None: sibling("listener").Listener(server.address, "somebody", on_message)


def node(graph, title):
    return next(key for key, entry in graph.items() if entry["_meta"]["title"] == title)


def change(graph, title, **inputs):
    graph[node(graph, title)]["inputs"] |= inputs


def probing(seed, when="live", behaviour="works", steps=STEPS):
    """The template with a sampler that behaves as told, and no more pictures than needed."""
    graph = json.loads(TEMPLATE.read_text())
    for title in ("Chart", "Faces", "Decode best", "Best step", "What was read"):
        graph.pop(node(graph, title))
    graph[ODD] = {"class_type": "OddSampler", "inputs": {"behaviour": behaviour}, "_meta": {"title": "Odd"}}
    change(graph, "Sampling", sampler=[ODD, 0])
    change(graph, "Schedule", steps=steps)
    change(graph, "Noise", noise_seed=seed)
    change(graph, "Probe", when=when)
    return graph


def double(graph, *titles):
    """Copies of nodes; those among them that read one another read the copies."""
    ids = {node(graph, title): f"9{place}" for place, title in enumerate(titles)}
    for old, new in ids.items():
        twin = copy.deepcopy(graph[old])
        twin["_meta"]["title"] += " 2"
        for name, value in twin["inputs"].items():
            if isinstance(value, list):
                twin["inputs"][name] = [ids.get(value[0], value[0]), value[1]]
        graph[new] = twin
    return graph


def curves(outputs):
    """All curves that were reported, by the report's id."""
    return {key: out["infusenet_drift"] for key, out in outputs.items() if "infusenet_drift" in out}


def picture(server, outputs):
    (entry,) = [entry for out in outputs.values() for entry in out.get("images", ()) if entry["type"] == "output"]
    return server.picture(entry)


def unprobed(server, seed):
    """The picture that comes without a probe."""
    graph = probing(seed)
    change(graph, "Guider", model=[node(graph, "Backbone"), 0])
    for title in ("Report", "Probe", "Recognizer"):
        graph.pop(node(graph, title))
    said, outputs = server.run(graph)
    assert said == "success"
    return picture(server, outputs)


def ends(messages):
    """What the probes told when their runs ended."""
    return [data for kind, data in messages if kind == "infusenet.probe" and data.get("end")]


@pytest.mark.exact
@pytest.mark.parametrize("when", ["live", "after the run"])
def test_cancelled_at_step_3_of_8_a_partial_record_is_marked_and_the_next_run_is_clean(server, listening, when):
    seed = 100 + len(when)
    cancelled = []

    def cancel(kind, data):
        if kind == "tests.waiting":
            cancelled.append(server.post("/interrupt", {}))

    with listening(cancel) as client:
        said, outputs = server.run(probing(seed, when, "waits"), client.client)
        assert (said, curves(outputs)) == ("interrupted", {})
        (told,) = client.wait_for(ends)
    assert cancelled and told["status"] == "interrupted" and told["final"] is None
    steps = [point[0] for point in told["points"]]
    assert steps in ([1, 2, 3], [1, 2, 3, 4])  # 0.3.64 notices at the end of a step
    assert "cancelled" in told["words"]
    said, outputs = server.run(probing(seed, when))
    assert said == "success"
    ((curve,),) = curves(outputs).values()
    assert curve["status"] == "complete" and [point[0] for point in curve["points"]] == [*range(1, STEPS + 1)]
    assert np.array_equal(picture(server, outputs), unprobed(server, seed))


def test_a_custom_sampler_that_fails_is_told_by_its_own_words_and_the_next_run_is_clean(server, listening):
    with listening() as client:
        said, outputs = server.run(probing(110, behaviour="fails"), client.client)
        (told,) = client.wait_for(ends)
    assert said.strip() == "the custom sampler has failed" and curves(outputs) == {}
    assert told["status"] == "failed" and [point[0] for point in told["points"]] == [1, 2, 3]
    assert "the custom sampler has failed" in told["words"]
    said, outputs = server.run(probing(110))
    ((curve,),) = curves(outputs).values()
    assert (said, curve["status"], len(curve["points"])) == ("success", "complete", STEPS)


@pytest.mark.exact
def test_of_a_list_each_picture_has_its_own_record(server):
    graph = probing(120, "after the run", steps=4)
    change(graph, "Size", batch_size=3)
    graph[REBATCH] = {
        "class_type": "RebatchLatents",
        "inputs": {"latents": [node(graph, "Size"), 0], "batch_size": 1},
        "_meta": {"title": "List"},
    }
    change(graph, "Sampling", latent_image=[REBATCH, 0])
    said, outputs = server.run(graph)
    assert said == "success"
    (found,) = curves(outputs).values()
    assert len(found) == 3 and len({curve["run"] for curve in found}) == 3
    for index, curve in enumerate(found):
        assert "latest" not in curve["words"]
        alone = probing(120, "after the run", steps=4)
        change(alone, "Size", batch_size=3)
        alone[PART] = {
            "class_type": "LatentFromBatch",
            "inputs": {"samples": [node(alone, "Size"), 0], "batch_index": index, "length": 1},
            "_meta": {"title": "One"},
        }
        change(alone, "Sampling", latent_image=[PART, 0])
        said, outputs = server.run(alone)
        ((want,),) = curves(outputs).values()
        assert said == "success" and curve["points"] == want["points"] and len(want["points"]) == 4


@pytest.mark.exact
def test_two_identical_probes_have_a_record_each(server):
    graph = double(probing(130, "after the run", steps=4), "Probe", "Guider", "Sampling", "Report")
    said, outputs = server.run(graph)
    assert said == "success"
    (first,), (second,) = curves(outputs).values()
    assert {first["probe"], second["probe"]} == {node(graph, "Probe"), node(graph, "Probe 2")}
    assert {first["sampler"], second["sampler"]} == {node(graph, "Sampling"), node(graph, "Sampling 2")}
    assert first["run"] != second["run"] and first["points"] == second["points"]
    change(graph, "Noise", noise_seed=131)  # both anew
    said, outputs = server.run(graph)
    (third,), (fourth,) = curves(outputs).values()
    assert third["points"] == fourth["points"] != first["points"]


def test_a_report_that_runs_again_finds_the_record_of_a_cached_sampler(server, listening):
    graph = probing(140)
    said, outputs = server.run(graph)
    ((first,),) = curves(outputs).values()
    change(graph, "Report", vae=[node(graph, "Backbone"), 2])
    with listening() as client:
        said, outputs = server.run(graph, client.client)
        ran = {data["node"] for kind, data in client.messages if kind == "executing"}
        assert ends(client.messages) == []
    ((again,),) = curves(outputs).values()
    assert said == "success" and node(graph, "Report") in ran and node(graph, "Sampling") not in ran
    assert (again["run"], again["points"]) == (first["run"], first["points"])


def test_nodes_may_be_deleted_and_others_take_their_place(server):
    graph = double(probing(150), "Sampling", "Report", "Schedule")
    change(graph, "Schedule 2", steps=5)
    said, outputs = server.run(graph)
    assert said == "success" and sorted(len(curve["points"]) for (curve,) in curves(outputs).values()) == [5, STEPS]
    gone = graph.pop(node(graph, "Sampling"))
    for title in ("Report", "Decode", "Picture"):
        graph.pop(node(graph, title))
    said, outputs = server.run(graph)
    ((curve,),) = curves(outputs).values()
    assert said == "success" and len(curve["points"]) == 5 and "latest" not in curve["words"]
    graph["70"] = gone  # another node, with the deleted one's inputs
    change(graph, "Report 2", samples=["70", 0])
    said, outputs = server.run(graph)
    ((curve,),) = curves(outputs).values()
    assert said == "success" and (curve["sampler"], len(curve["points"])) == ("70", STEPS)
    graph["71"] = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}}
    graph["71"]["_meta"] = {"title": "Elsewhere"}
    report = graph[node(graph, "Report 2")]["inputs"]
    del report["samples"]
    report["image"] = ["71", 0]
    said, outputs = server.run(graph)
    ((curve,),) = curves(outputs).values()
    assert said == "success" and "latest run" in curve["words"]
    assert "Traceback" not in "".join(server.text().split("the custom sampler has failed")[-1:])
