"""The live chart in a real browser: it grows while sampling, is there after a reload, on cached runs and in subgraphs.

INFUSENET_SCREENSHOTS names a folder for pictures of the page.
"""

import importlib.metadata
import json
import os
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[2] / "example_workflows"
FIRST = (1, 30)
LOAD = "await app.loadGraphData(FLOW, true, true, 'probe');"
RUN = "window.grown = []; await app.queuePrompt(0); return true"
WATCH = """
window.grown = [];
const {api} = await import('/scripts/api.js');
const kind = (detail) => (detail.point ? 'point' : detail.end ? 'end' : 'start');
api.addEventListener('infusenet.probe', ({detail}) => window.grown.push(kind(detail)));
window.ended = 0;
api.addEventListener('execution_success', () => window.ended++);
window.failed = [];
api.addEventListener('execution_error', ({detail}) => window.failed.push(detail.exception_message));
"""
DRAWN = """
const boxes = [...document.querySelectorAll('svg[role=img]')].filter((svg) => svg.getBoundingClientRect().width > 50);
return boxes.map((svg) => ({
    points: svg.querySelectorAll('circle > title').length,
    lines: svg.querySelectorAll('path[fill=none]').length,
    words: svg.nextElementSibling?.textContent ?? '',
}));
"""


@pytest.fixture(scope="module")
def site(sibling, host, tmp_path_factory):
    """A server."""
    if sibling("browser").find() is None:
        pytest.skip("no Chromium on this machine")
    running = sibling("server").Server(host, tmp_path_factory.mktemp("chart"))
    yield running
    running.stop()


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def page(request, sibling, site):
    """ComfyUI's page, with one of its two renderers."""
    from urllib.request import Request, urlopen

    version = tuple(map(int, importlib.metadata.version("comfyui_frontend_package").split(".")[:2]))
    if request.param and version < FIRST:
        pytest.skip("this frontend's first Nodes 2.0 shows no DOM widget of anybody's")

    settings = json.dumps({"Comfy.VueNodes.Enabled": request.param}).encode()
    with urlopen(Request(f"{site.address}/settings", settings, {"Content-Type": "application/json"}), timeout=30):
        pass
    browsers = sibling("browser")
    browser = browsers.Browser(browsers.find())
    browser.renderer = request.node.callspec.id
    try:
        browser.open(site.address)
        yield browser
    finally:
        browser.close()


def picture(page, name):
    if os.environ.get("INFUSENET_SCREENSHOTS"):
        folder = Path(os.environ["INFUSENET_SCREENSHOTS"])
        page.screenshot(folder / f"chart-{folder.name}-{page.renderer}-{name}.png")


def show_charts(page):
    """Bring both nodes into view."""
    page.evaluate(
        """
        const nodes = app.graph._nodes.filter((node) => /IdentityProbe|DriftReport/.test(node.type));
        nodes.forEach((node, place) => { node.pos = [60 + place * 480, 120]; });
        for (const node of app.graph._nodes) if (!nodes.includes(node)) node.pos = [node.pos[0], node.pos[1] + 3000];
        app.graph._groups?.splice(0);
        app.canvas.ds.scale = 1; app.canvas.ds.offset = [0, 0]; app.graph.setDirtyCanvas(true, true);
        await new Promise((done) => setTimeout(done, 1000));
        """
    )


def run(page, count):
    page.evaluate(RUN)
    page.wait_for(f"window.failed.length || window.ended >= {count}")
    assert page.evaluate("return window.failed") == []
    page.evaluate("await new Promise((done) => setTimeout(done, 800))")


@pytest.mark.slow
def test_the_chart_grows_survives_a_reload_and_keeps_earlier_runs(page, site):
    flow = json.loads((TEMPLATES / "probe_schnell.json").read_text())
    page.evaluate(WATCH + LOAD.replace("FLOW", json.dumps(flow)))
    show_charts(page)
    run(page, 1)
    start, *points, end = page.evaluate("return window.grown")  # a point that was dropped is told again
    assert (start, end) == ("start", "end") and set(points) == {"point"} and len(points) >= 4
    drawn = page.evaluate(DRAWN)
    picture(page, "first")
    assert [chart["points"] for chart in drawn] == [4, 4]
    assert any("It peaked at step" in chart["words"] for chart in drawn)
    page.evaluate("app.graph._nodes.find((n) => n.type === 'RandomNoise').widgets[0].value = 99")
    run(page, 2)
    picture(page, "second")
    assert [chart["lines"] for chart in page.evaluate(DRAWN)] == [2, 2]
    run(page, 3)  # everything is cached
    assert page.evaluate("return window.grown") == []
    assert [chart["points"] for chart in page.evaluate(DRAWN)] == [4, 4]
    page.evaluate("await new Promise((done) => setTimeout(done, 2500))")
    page.open(site.address)
    page.wait_for("app.graph._nodes.some((node) => node.type === 'InfuseNet_IdentityProbe')")
    page.evaluate("await new Promise((done) => setTimeout(done, 1500))")
    show_charts(page)
    picture(page, "reloaded")
    assert [(chart["points"], chart["lines"]) for chart in page.evaluate(DRAWN)] == [(4, 2), (4, 2)]
    assert not [error for error in page.errors if "infusenet" in error.lower()]
