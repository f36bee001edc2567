"""Identity Sweep on a real server: the template runs as shipped; cancelled anywhere, the next run is as before."""

import copy
import csv
import io
import json
import time
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest

TEMPLATE = Path(__file__).parents[2] / "example_workflows" / "api" / "sweep_steps.json"
PATIENCE = 60  # seconds


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    running = sibling("server").Server(host, tmp_path_factory.mktemp("sweep"))
    yield running
    running.stop()


@pytest.fixture
def graph():
    return json.loads(TEMPLATE.read_text())


def numbered(graph, title):
    return next(key for key, node in graph.items() if node["_meta"]["title"] == title)


def sweep_of(graph, **changes):
    """The graph with other settings of its sweep."""
    changed = copy.deepcopy(graph)
    changed[numbered(changed, "Sweep")]["inputs"] |= changes
    return changed


def post(server, path, body=None):
    data = json.dumps(body or {}).encode()
    with urlopen(Request(server.address + path, data, {"Content-Type": "application/json"}), timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def wait_for(what):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    pytest.fail("it did not come")


def rows(graph, outputs):
    (text,) = outputs[numbered(graph, "Sweep")]["csv"]
    table = list(csv.DictReader(io.StringIO(text)))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in table]


def best_picture(server, graph, outputs):
    return server.picture(outputs[numbered(graph, "Best picture")]["images"][0])


def test_the_template_runs_as_shipped(server, graph):
    said, outputs = server.run(graph)
    assert said == "success"
    table = rows(graph, outputs)
    assert [row["value"] for row in table] == ["1", "2", "4", "8"] and all(row["similarity"] for row in table)
    assert outputs[numbered(graph, "Sweep")]["text"][0].startswith("Best steps: ")
    assert best_picture(server, graph, outputs).shape == (128, 128, 3)
    chart = server.picture(outputs[numbered(graph, "Chart")]["images"][0])
    assert chart.shape == (420, 700, 3)
    assert "Traceback" not in server.text()


def test_a_bad_value_is_one_message_in_which_it_is_named(server, graph):
    said, _ = server.run(sweep_of(graph, values="1, 2, vier"))
    assert "'vier' is not a number" in said and len(said.splitlines()) == 1


@pytest.mark.exact
@pytest.mark.parametrize("runs", [0, 1, 5])
def test_cancelled_anywhere_it_ends_at_once_and_leaves_nothing(server, graph, runs):
    """During the first run, or after some: then the shipped sweep gives what it gave before, bit for bit."""
    said, before = server.run(sweep_of(graph, seed=runs))
    assert said == "success"
    long = sweep_of(graph, axis="seed", values=f"{1000 * runs}:{1000 * runs + 99}:1", steps=40)
    length = len(server.text())
    prompt = post(server, "/prompt", {"prompt": long})["prompt_id"]
    bar = "100%|" if runs else "0/40 ["  # of a finished run; of one that has just begun
    wait_for(lambda: server.text()[length:].count(bar) >= max(runs, 1))
    post(server, "/interrupt")
    asked = time.monotonic()
    history = wait_for(lambda: server.get(f"/history/{prompt}").get(prompt))
    assert time.monotonic() - asked < 10
    kinds = [kind for kind, _ in history["status"]["messages"]]
    assert "execution_interrupted" in kinds and "execution_error" not in kinds
    assert runs <= server.text()[length:].count("100%|") < 50
    said, again = server.run(sweep_of(graph, seed=runs, values="1,2,4,8"))  # written otherwise: it runs anew
    assert said == "success"
    assert rows(graph, again) == rows(graph, before)
    pictures = [best_picture(server, graph, outputs) for outputs in (before, again)]
    assert np.array_equal(*pictures)
    assert "Traceback" not in server.text()[length:]
