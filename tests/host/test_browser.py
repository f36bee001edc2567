"""Every template in a real browser, in both renderers: nothing is missing, nothing overlaps, the shipped form is sent.

INFUSENET_SCREENSHOTS names a folder for pictures of the page.
"""

import importlib.metadata
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
    "clip_vision/clip_vision_h.safetensors",
]
NODES_2 = (1, 30)  # the first frontend whose Nodes 2.0 shows what a template holds
LOAD = """
const flow = await (await fetch('/api/workflow_templates/ComfyUI-InfuseNet/NAME.json')).json();
await app.loadGraphData(flow, true, true, 'NAME');
await new Promise(done => setTimeout(done, 800));
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
const whole = node => { // as it is drawn: in Nodes 2.0 an element of the page
    const element = document.querySelector(`[data-node-id="${node.id}"]`), zoom = app.canvas.ds.scale;
    const [width, height] = node.flags.collapsed ? [node._collapsed_width || 80, 0] : node.size;
    const box = element?.getBoundingClientRect();
    return [node.pos[0], node.pos[1] - 30, node.pos[0] + (box ? box.width / zoom : width),
        node.pos[1] + (box ? box.height / zoom - 30 : height)];
};
const meet = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
const overlapping = [], boxes = new Map(app.graph._nodes.map(node => [node, whole(node)]));
app.graph._nodes.forEach((one, i) => app.graph._nodes.slice(i + 1).forEach(other => {
    if (meet(boxes.get(one), boxes.get(other))) overlapping.push(`${one.title}, ${other.title}`);
}));
for (const node of app.graph._nodes) {
    const [left, top, right, bottom] = boxes.get(node);
    for (const {pos, size, title} of app.graph._groups) {
        const inside = left >= pos[0] && top >= pos[1] && right <= pos[0] + size[0] && bottom <= pos[1] + size[1];
        if (!inside && meet([left, top, right, bottom], [...pos, pos[0] + size[0], pos[1] + size[1]]))
            overlapping.push(`${node.title}, the frame ${title}`);
    }
}
return {missing, overlapping, prompt};
"""


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    """A ComfyUI with empty files of the documented names where weights would lie."""
    if sibling("browser").find() is None:
        pytest.skip("no Chromium on this machine")
    folder = tmp_path_factory.mktemp("browser")
    running = sibling("server").Server(host, folder)
    for name in FILES:
        (folder / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "models" / name).touch()
    yield running
    running.stop()


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes2"])
def page(request, sibling, server):
    """ComfyUI's page, with one of its two renderers."""
    version = tuple(map(int, importlib.metadata.version("comfyui_frontend_package").split(".")[:2]))
    if request.param and version < NODES_2:
        pytest.skip("this frontend's first Nodes 2.0 has other sizes than all later ones")
    server.post("/settings", {"Comfy.VueNodes.Enabled": request.param})
    browsers = sibling("browser")
    browser = browsers.Browser(browsers.find())
    browser.name = "nodes2" if request.param else "classic"
    try:
        browser.open(server.address)
        yield browser
    finally:
        browser.close()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_template_loads_without_a_missing_node_or_value(page, name):
    loaded = page.evaluate(LOAD.replace("NAME", name))
    assert loaded["missing"] == [] and loaded["overlapping"] == []
    shipped = json.loads((TEMPLATES / "api" / f"{name}.json").read_text())
    assert {key: node["inputs"] for key, node in shipped.items()} == {
        key: node["inputs"] for key, node in loaded["prompt"].items() if key in shipped
    }
    if os.environ.get("INFUSENET_SCREENSHOTS"):
        page.screenshot(Path(os.environ["INFUSENET_SCREENSHOTS"]) / f"{page.name}-{name}.png")
    assert not [error for error in page.errors if re.search("infusenet", error, re.IGNORECASE)]
