"""Chromium, driven over its own debugging protocol: no package is needed but aiohttp, which ComfyUI has."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """A browser of this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Asked:
    """A request of the page: what it wanted, and the scripts that led to it."""

    url: str
    scripts: tuple[str, ...]


class Browser:
    """One page. `evaluate` runs an async function body in it and gives back what it returns."""

    def __init__(self, program: str, size: tuple[int, int] = (1700, 1000)) -> None:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
        flags += [f"--user-data-dir={self.folder.name}", f"--window-size={size[0]},{size[1]}", "about:blank"]
        self.process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = self._port(Path(self.folder.name) / "DevToolsActivePort")
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        self.address = pages[0]["webSocketDebuggerUrl"]
        self.errors: list[str] = []
        self.requests: list[Asked] = []
        self.failures: list[str] = []  # addresses that were answered by an error
        self.clicks = 0
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._listen(ready)), daemon=True).start()
        ready.wait(30)

    def _port(self, file: Path) -> int:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if file.is_file() and file.read_text():
                return int(file.read_text().split()[0])
            time.sleep(0.1)
        raise RuntimeError("the browser did not start")

    def __call__(self, *commands: tuple[str, dict[str, Any]], seconds: float = 120) -> list[Any]:
        """Send commands of the protocol, one after the other; their results."""
        return asyncio.run(asyncio.wait_for(self._talk(commands), seconds))

    async def _talk(self, commands: tuple[tuple[str, dict[str, Any]], ...]) -> list[Any]:
        import aiohttp

        results: list[Any] = []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.address, max_msg_size=0) as socket,
        ):
            for number, (method, arguments) in enumerate(commands, start=1):
                await socket.send_json({"id": number, "method": method, "params": arguments})
                while True:
                    message = json.loads((await socket.receive()).data)
                    if message.get("method") == "Runtime.exceptionThrown":
                        self.errors.append(str(message["params"]["exceptionDetails"].get("exception")))
                    if message.get("id") == number:
                        break
                if "error" in message:
                    raise RuntimeError(message["error"])
                results.append(message["result"])
        return results

    async def _listen(self, ready: threading.Event) -> None:
        """Note all requests until the page is gone, also those that the server's policy would forbid it to make."""
        import aiohttp

        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.address, max_msg_size=0) as socket,
        ):
            await socket.send_json({"id": 1, "method": "Page.setBypassCSP", "params": {"enabled": True}})
            await socket.send_json({"id": 2, "method": "Network.enable", "params": {}})
            async for message in socket:
                said = json.loads(message.data)
                if said.get("id") == 2:
                    ready.set()
                if said.get("method") == "Network.requestWillBeSent":
                    self.requests.append(_asked(said["params"]))
                elif said.get("method") == "Network.responseReceived" and said["params"]["response"]["status"] >= 400:
                    self.failures.append(said["params"]["response"]["url"])

    def open(self, address: str) -> None:
        """Go to a ComfyUI's page, without its first-run tutorial, and wait until our nodes are there."""
        settings = json.dumps({"Comfy.TutorialCompleted": True}).encode()
        with urlopen(Request(f"{address}/settings", settings, {"Content-Type": "application/json"}), timeout=30):
            pass
        self(("Page.enable", {}), ("Page.navigate", {"url": address}))
        self.wait_for("app.graph && app.extensionManager && LiteGraph.registered_node_types.InfuseNet_Apply")

    def evaluate(self, body: str, seconds: float = 120) -> Any:
        """Run the body of an async function in the page."""
        code = {"expression": f"(async()=>{{{body}}})()", "awaitPromise": True, "returnByValue": True}
        result = self(("Runtime.enable", {}), ("Runtime.evaluate", code), seconds=seconds)[1]
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 120) -> None:
        """Until an expression is true in the page."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.evaluate(f"try {{ return !!({expression}) }} catch {{ return false }}"):
                return
            time.sleep(0.3)
        raise RuntimeError(f"not in {seconds} s: {expression}")

    def click(self, found: str, seconds: float = 60) -> None:
        """A real click of the left button in the middle of what an expression of the page finds, once it is there."""
        self.wait_for(f"{found}?.offsetWidth", seconds)
        self.evaluate(f"{found}.scrollIntoView({{block: 'center'}}); await new Promise(done => setTimeout(done, 500))")
        left, top, width, height = self.evaluate(
            f"const box = {found}.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]"
        )
        button = {"x": left + width / 2, "y": top + height / 2, "button": "left", "clickCount": 1}
        kinds = ("mouseMoved", "mousePressed", "mouseReleased")
        self(*(("Input.dispatchMouseEvent", {"type": kind, **button}) for kind in kinds))
        self.clicks += 1

    def screenshot(self, path: Path, box: Sequence[float] | None = None) -> None:
        """Save what is seen, or a box of it: left, top, width, height."""
        clip = {"clip": {**dict(zip(("x", "y", "width", "height"), box, strict=True)), "scale": 1}} if box else {}
        result = self(("Page.captureScreenshot", {"format": "png", **clip}))[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(result["data"]))

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()


def _asked(event: dict[str, Any]) -> Asked:
    """A request as the protocol tells it."""
    scripts, stack = [event["initiator"].get("url", "")], event["initiator"].get("stack")
    while stack:
        scripts += [frame["url"] for frame in stack["callFrames"]]
        stack = stack.get("parent")
    return Asked(event["request"]["url"], tuple(filter(None, scripts)))
