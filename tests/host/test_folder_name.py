"""The name of the pack's own folder: what the host can serve to the page from it, asked of its web framework itself."""

import asyncio
import logging

import pytest

NAMES = ["ComfyUI-InfuseNet", "infusenet_2(1)", "pack@1", "ComfyUI InfuseNet", "päck", "my pack v1.2", "InfuseNet-1.0"]


def served(folder, name):
    """Whether aiohttp finds a static file below this name, asked as a browser asks."""
    from aiohttp import ClientSession, web
    from yarl import URL

    async def ask():
        app = web.Application()
        app.add_routes([web.static(f"/extensions/{name}", folder)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = URL.build(scheme="http", host="127.0.0.1", port=runner.addresses[0][1])
        async with (
            ClientSession() as session,
            session.get(address / "extensions" / name / "file.txt") as answer,
        ):
            status = answer.status
        await runner.cleanup()
        return status == 200

    return asyncio.run(ask())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_not_served_is_known(pack, tmp_path, name):
    (tmp_path / "file.txt").touch()
    lacking = pack.module("nodes.paths").not_served(name)
    assert served(tmp_path, name) or lacking == "the live chart and the help pages"
    assert (lacking is None) is (NAMES.index(name) < 3)
    assert (lacking == "the help pages") is (name == "InfuseNet-1.0")  # the page cuts at the first dot


def test_the_log_says_so_and_what_to_do(pack, caplog):
    paths = pack.module("nodes.paths")
    with caplog.at_level(logging.WARNING):
        paths.check_name("ComfyUI-InfuseNet")
        assert caplog.text == ""
        paths.check_name("my pack v1.2")
    assert "live chart" in caplog.text and "Rename it to ComfyUI-InfuseNet" in caplog.text
