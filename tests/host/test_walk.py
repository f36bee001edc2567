"""A walk through every template that runs as shipped, in a real browser: opened, run, looked at, in light and dark.

It takes minutes, so it waits to be asked for: INFUSENET_WALK=1 pytest tests/host/test_walk.py. INFUSENET_SCREENSHOTS
names a folder for pictures of the page, which are to be looked at.
"""

import importlib.metadata
import json
import os
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

pytestmark = pytest.mark.skipif(not os.environ.get("INFUSENET_WALK"), reason="INFUSENET_WALK=1 asks for it")

FORMS = Path(__file__).parents[2] / "example_workflows" / "api"
FIRST = (1, 30)  # of the frontends whose Nodes 2.0 shows DOM widgets
CHARTS = ("InfuseNet_IdentityProbe", "InfuseNet_DriftReport")


def runs_as_shipped(form):
    """Whether a template needs no weights but the miniature's."""
    backbones = [
        node["inputs"].get("backbone") for node in form.values() if node["class_type"] == "InfuseNet_LoadBackbone"
    ]
    loaders = [node for node in form.values() if node["class_type"] in ("CheckpointLoaderSimple", "UNETLoader")]
    return not loaders and all(str(name).startswith("mini-") for name in backbones)


SHIPPED = [path.stem for path in sorted(FORMS.glob("*.json")) if runs_as_shipped(json.loads(path.read_text()))]
LISTEN = """
window.ended = 0; window.failed = [];
const {api} = await import('/scripts/api.js');
api.addEventListener('execution_success', () => window.ended++);
const said = ({detail}) => `${detail.node_type}: ${detail.exception_message}`;
api.addEventListener('execution_error', (event) => window.failed.push(said(event)));
"""
OPEN = """
const flow = await (await fetch('/api/workflow_templates/ComfyUI-InfuseNet/NAME.json')).json();
await app.loadGraphData(flow, true, true, 'NAME');
await new Promise((done) => setTimeout(done, 800));
"""
LOOK = """
const seen = [];
for (const node of app.graph.nodes.filter((node) => KINDS.includes(node.type))) {
    app.canvas.centerOnNode(node); // what is outside the window is not drawn
    app.canvas.setDirty(true, true);
    await new Promise((done) => setTimeout(done, 600));
    const chart = node.widgets.find((widget) => widget.name === 'infusenet_chart').element;
    const box = chart.getBoundingClientRect(), texts = [...chart.querySelectorAll('svg text')];
    const outside = (at) => at.left < box.left - 1 || at.right > box.right + 1 || at.bottom > box.bottom + 1;
    seen.push({curves: chart.querySelectorAll('path.now, path.item').length, height: box.height,
        outside: texts.filter((text) => outside(text.getBoundingClientRect())).map((text) => text.textContent)});
}
return seen;
"""


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes2"])
def page(request, sibling, host, tmp_path_factory):
    """ComfyUI's page, with one of its two renderers."""
    browsers = sibling("browser")
    if browsers.find() is None:
        pytest.skip("no Chromium on this machine")
    version = tuple(map(int, importlib.metadata.version("comfyui_frontend_package").split(".")[:2]))
    if request.param and version < FIRST:
        pytest.skip("this frontend's first Nodes 2.0 shows no DOM widget of anybody's")
    server = sibling("server").Server(host, tmp_path_factory.mktemp("walk"))
    browser = browsers.Browser(browsers.find())
    try:
        settings = json.dumps({"Comfy.VueNodes.Enabled": request.param, "Comfy.ColorPalette": "dark"}).encode()
        with urlopen(Request(f"{server.address}/settings", settings, {"Content-Type": "application/json"}), timeout=30):
            pass
        browser.open(server.address)
        browser.evaluate(LISTEN)
        browser.name = f"{'.'.join(map(str, version))}-{'nodes2' if request.param else 'classic'}"
        yield browser
    finally:
        browser.close()
        server.stop()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_template_is_opened_run_and_looked_at(page, name):
    page.evaluate(OPEN.replace("NAME", name))
    shoot(page, f"{name}-opened")
    ended = page.evaluate("const before = window.ended; await app.queuePrompt(0); return before")
    page.wait_for(f"window.failed.length || window.ended > {ended}", seconds=400)
    assert page.evaluate("return window.failed") == []
    page.evaluate("await new Promise((done) => setTimeout(done, 1500))")
    shoot(page, f"{name}-ran-dark")
    for chart in page.evaluate(LOOK.replace("KINDS", json.dumps(CHARTS))):
        assert chart["curves"] >= 1 and chart["outside"] == [], (name, chart)
    if os.environ.get("INFUSENET_SCREENSHOTS"):
        palette(page, "light")
        shoot(page, f"{name}-ran-light")
        palette(page, "dark")
    assert not [error for error in page.errors if "infusenet" in error.lower()]


def palette(page, name):
    page.evaluate(
        f"await app.extensionManager.setting.set('Comfy.ColorPalette', '{name}');"
        "await new Promise((done) => setTimeout(done, 800))"
    )


def shoot(page, name):
    if os.environ.get("INFUSENET_SCREENSHOTS"):
        page.screenshot(Path(os.environ["INFUSENET_SCREENSHOTS"]) / f"walk-{page.name}-{name}.png")
