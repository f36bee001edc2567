"""Every template in a real browser: nothing is missing, no nodes overlap, and what would be sent is the shipped form.

INFUSENET_SCREENSHOTS names a folder for pictures of the page.
"""

import json
import os
import re
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[2] / "example_workflows"
SHIPPED = sorted(path.stem for path in (TEMPLATES / "api").glob("*.json"))
FILES = [
    "diffusion_models/flux1-dev.safetensors",
    "diffusion_models/flux1-schnell.safetensors",
    "text_encoders/clip_l.safetensors",
    "text_encoders/t5xxl_fp16.safetensors",
    "vae/ae.safetensors",
    "infinite_you/infusenet_sim_bf16.safetensors",
    "infinite_you/sim_stage1/image_proj_model.bin",
    "infinite_you/recognition_arcface_ir_se50.pth",
    "insightface/models/antelopev2/scrfd_10g_bnkps.onnx",
]
LOAD = """
const flow = await (await fetch('/api/workflow_templates/ComfyUI-InfuseNet/NAME.json')).json();
await app.loadGraphData(flow, true, true, 'NAME');
await new Promise(done => setTimeout(done, 500));
const missing = [];
for (const node of app.graph._nodes) {
    if (node.has_errors || !LiteGraph.registered_node_types[node.type]) missing.push(node.type);
    for (const widget of node.widgets || []) {
        const listed = widget.options?.values;
        const values = typeof listed === 'function' ? listed() : listed;
        if (Array.isArray(values) && !values.includes(widget.value))
            missing.push(`${node.type}.${widget.name} = ${widget.value}`);
    }
}
const prompt = (await app.graphToPrompt()).output;
const box = node => [node.pos[0], node.pos[1] - 30, node.pos[0] + node.size[0], node.pos[1] + node.size[1]];
const meet = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
const overlapping = [];
app.graph._nodes.forEach((one, i) => app.graph._nodes.slice(i + 1).forEach(other => {
    if (meet(box(one), box(other))) overlapping.push(`${one.title}, ${other.title}`);
}));
return {missing, overlapping, nodes: app.graph._nodes.length, prompt};
"""


@pytest.fixture(scope="module")
def page(sibling, host, tmp_path_factory):
    """ComfyUI's page, with empty files of the documented names where weights would lie."""
    browsers = sibling("browser")
    program = browsers.find()
    if program is None:
        pytest.skip("no Chromium on this machine")
    folder = tmp_path_factory.mktemp("browser")
    server = sibling("server").Server(host, folder)
    for name in FILES:
        (folder / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "models" / name).touch()
    browser = browsers.Browser(program)
    try:
        browser.open(server.address)
        yield browser
    finally:
        browser.close()
        server.stop()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_template_loads_without_a_missing_node_or_value(page, name):
    loaded = page.evaluate(LOAD.replace("NAME", name))
    assert loaded["missing"] == [] and loaded["overlapping"] == []
    shipped = json.loads((TEMPLATES / "api" / f"{name}.json").read_text())
    assert {key: node["inputs"] for key, node in shipped.items()} == {
        key: node["inputs"] for key, node in loaded["prompt"].items() if key in shipped
    }
    if os.environ.get("INFUSENET_SCREENSHOTS"):
        page.screenshot(Path(os.environ["INFUSENET_SCREENSHOTS"]) / f"{name}.png")
    assert not [error for error in page.errors if re.search("infusenet", error, re.IGNORECASE)]
