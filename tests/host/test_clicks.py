"""From an empty page to a kept picture, counted in real clicks: templates, this pack, a template, Run."""

import time

import pytest

from infusenet.weights.catalogue import FILES

MOST, MOST_WITH_WEIGHTS = 6, 8
PHOTO = 2  # choose file to upload, and the file in the system's dialog, which no test of a page can click
CLOSE = "document.querySelector('[role=dialog] button[aria-label=Close]')"
BUTTON = "document.querySelector('button[aria-label=\"{}\"]')"
WORDS = "[...document.querySelectorAll('*')].findLast(e => e.textContent.trim() === '{}' && e.offsetWidth)"
SCROLL = (  # the dialog shows the first dozen, in the order of the folder, and more as one scrolls
    "[...document.querySelectorAll('[role=dialog] *')].filter(e => e.scrollHeight > e.clientHeight + 50)"
    ".forEach(e => e.scrollTop = e.scrollHeight)"
)
RUN = "[...document.querySelectorAll('button')].find(e => e.textContent.trim() === 'Run' && e.offsetWidth)"


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    if sibling("browser").find() is None:
        pytest.skip("no Chromium on this machine")
    running = sibling("server").Server(host, tmp_path_factory.mktemp("clicks"))
    yield running
    running.stop()


def choose(page, title):
    """Scroll to a template of this pack, and click it."""
    page.click(BUTTON.format("Templates"))
    page.click(WORDS.format("ComfyUI-InfuseNet"))
    page.wait_for(f"({SCROLL}, {WORDS.format(title)})", seconds=60)
    page.click(WORDS.format(title))


def test_from_an_empty_page_to_a_kept_picture(sibling, server):
    browsers, saved = sibling("browser"), server.folder / "output"
    page = browsers.Browser(browsers.find())
    try:
        page.open(server.address)
        assert not list(saved.glob("*.png"))
        choose(page, "01 A person in a scene, 4 steps")
        page.wait_for("app.graph._nodes.some(node => node.type === 'InfuseNet_Apply')")
        page.click(RUN)
        end = time.monotonic() + 180
        while not list(saved.glob("infusenet_miniature*.png")) and time.monotonic() < end:
            time.sleep(0.5)
    finally:
        page.close()
    assert list(saved.glob("infusenet_miniature*.png")), "nothing was kept"
    assert page.clicks <= MOST


def test_with_real_weights_and_every_missing_file_shows_its_address(sibling, server):
    browsers = sibling("browser")
    page = browsers.Browser(browsers.find())
    try:
        page.open(server.address)
        page.evaluate(
            "window.said = ''; const post = window.fetch; window.fetch = async (...given) => {"
            "const answer = await post(...given);"
            "if (String(given[0]).endsWith('/prompt')) window.said += await answer.clone().text(); return answer}"
        )
        choose(page, "14 FLUX schnell, 4 steps")
        page.wait_for("app.graph._nodes.some(node => node.type === 'InfuseNet_Apply')")
        time.sleep(3)  # the dialog of missing models, where the host has one
        if page.evaluate(f"return Boolean({CLOSE})"):
            page.click(CLOSE)
        page.click(RUN)
        page.wait_for("window.said")
        said = page.evaluate("return window.said")
    finally:
        page.close()
    asked = (
        "flux1-schnell",
        "clip_l",
        "t5xxl_fp16",
        "ae.",
        "infusenet_sim_bf16",
        "sim_stage1/image_proj",
        "recognition_",
    )
    files = [file for name, file in FILES.items() if name.startswith(asked) or "antelopev2" in name]
    assert len(files) == 9 and [file.name for file in files if file.page not in said] == []
    assert page.clicks + PHOTO <= MOST_WITH_WEIGHTS
