"""From an empty page to a kept picture, counted in real clicks: templates, this pack, a template, Run."""

import time

import pytest

MOST = 6
BUTTON = "document.querySelector('button[aria-label=\"{}\"]')"
WORDS = "[...document.querySelectorAll('*')].findLast(e => e.textContent.trim() === '{}' && e.offsetWidth)"
RUN = "[...document.querySelectorAll('button')].find(e => e.textContent.trim() === 'Run' && e.offsetWidth)"


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    if sibling("browser").find() is None:
        pytest.skip("no Chromium on this machine")
    running = sibling("server").Server(host, tmp_path_factory.mktemp("clicks"))
    yield running
    running.stop()


def test_from_an_empty_page_to_a_kept_picture(sibling, server):
    browsers, saved = sibling("browser"), server.folder / "output"
    page = browsers.Browser(browsers.find())
    try:
        page.open(server.address)
        assert not list(saved.glob("*.png"))
        page.click(BUTTON.format("Templates"))
        page.click(WORDS.format("ComfyUI-InfuseNet"))
        page.click(WORDS.format("01 A person in a scene, 4 steps"))
        page.wait_for("app.graph._nodes.some(node => node.type === 'InfuseNet_Apply')")
        page.click(RUN)
        end = time.monotonic() + 180
        while not list(saved.glob("infusenet_miniature*.png")) and time.monotonic() < end:
            time.sleep(0.5)
    finally:
        page.close()
    assert list(saved.glob("infusenet_miniature*.png")), "nothing was kept"
    assert page.clicks <= MOST
