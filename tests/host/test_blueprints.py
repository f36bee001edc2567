"""The subgraph blueprints: listed by a host that knows them, opened in its page, and run with what they are given."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLUEPRINTS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "subgraphs").glob("*"))
}
OPEN = """
await app.loadGraphData(FORM, true, true, 'blueprint');
await new Promise(done => setTimeout(done, 1500));
const [node] = app.graph._nodes;
const shown = (node.widgets || []).map(widget => widget.name);
return {shown, prompt: (await app.graphToPrompt()).output};
"""
GIVEN = {  # what stands outside, by the type that a blueprint asks for
    "IMAGE": ["photo", 0],
    "MODEL": ["backbone", 0],
    "CONDITIONING": ["text", 0],
    "VAE": ["backbone", 2],
    "LATENT": ["size", 0],
}
NO_FILES = dict.fromkeys(("diffusion_model", "text_encoder_1", "text_encoder_2", "vae"), "none")
OUTSIDE = {
    "photo": {"class_type": "LoadImage", "inputs": {"image": "infusenet_reference.png"}},
    "backbone": {
        "class_type": "InfuseNet_LoadBackbone",
        "inputs": {"backbone": "mini-schnell", "weight_dtype": "default", **NO_FILES},
    },
    "text": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["backbone", 1], "text": "a photo of a person"}},
    "size": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
}


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    running = sibling("server").Server(host, tmp_path_factory.mktemp("blueprints"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def page(sibling, host, server):
    if not (host / "app" / "subgraph_manager.py").is_file():
        pytest.skip("this host knows no blueprints of packs")
    browsers = sibling("browser")
    if browsers.find() is None:
        pytest.skip("no Chromium on this machine")
    running = browsers.Browser(browsers.find())
    try:
        running.open(server.address)
        yield running
    finally:
        running.close()


def test_they_are_as_stated(server, sibling, pack, monkeypatch):
    table = "infusenet.weights.catalogue"  # which the generator reads; here the library goes by the pack's name
    monkeypatch.setitem(sys.modules, table, pack.module(table))
    generate = sibling("generate", ROOT / "example_workflows")
    assert set(generate.blueprints.BLUEPRINTS) == set(BLUEPRINTS)
    if server.get("/system_stats")["system"]["comfyui_version"].startswith(generate.WRITTEN_FOR):
        for name, shipped in BLUEPRINTS.items():
            [text] = generate.texts_of(name, server.get("/object_info")).values()
            assert json.loads(text) == shipped


def test_the_host_lists_them(page, server):
    listed = [
        one["name"] for one in server.get("/global_subgraphs").values() if "InfuseNet" in one["info"]["node_pack"]
    ]
    assert sorted(listed) == sorted(BLUEPRINTS)


def joined(prompt, subgraph):
    """The prompt of an opened blueprint, with what it is given and something that shows its pictures."""
    inner = {node["id"]: node for node in subgraph["nodes"]}
    for link in subgraph["links"]:
        if link["origin_id"] == -10:
            target = inner[link["target_id"]]["inputs"][link["target_slot"]]["name"]
            prompt[f"1:{link['target_id']}"]["inputs"][target] = GIVEN[link["type"]]
        if link["target_id"] == -20 and link["type"] == "IMAGE":
            images = [f"1:{link['origin_id']}", link["origin_slot"]]
            prompt[f"shown {link['id']}"] = {"class_type": "PreviewImage", "inputs": {"images": images}}
    return {**prompt, **OUTSIDE}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_it_opens_with_its_settings_and_runs(page, server, name):
    form = BLUEPRINTS[name]
    [subgraph], [node] = form["definitions"]["subgraphs"], form["nodes"]
    opened = page.evaluate(OPEN.replace("FORM", json.dumps(form)))
    assert opened["shown"] == [widget for _, widget in node["properties"]["proxyWidgets"]]
    assert len(opened["prompt"]) == len(subgraph["nodes"])
    said, outputs = server.run(joined(opened["prompt"], subgraph))
    shown = [out["images"] for key, out in outputs.items() if key.startswith("shown")]
    assert said == "success" and len(shown) == sum(one["type"] == "IMAGE" for one in subgraph["outputs"])
    assert all(server.picture(entry).std() > 5 for entries in shown for entry in entries)
