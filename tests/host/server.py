"""A real ComfyUI server in a folder of its own, for the tests."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
STARTED, DONE = 180, 180  # seconds


class Server:
    """A ComfyUI in a folder of its own, with this pack (and the test's own nodes, files) alone as custom nodes."""

    def __init__(self, host: Path, folder: Path, *nodes: Path) -> None:
        for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
            (folder / name).mkdir(parents=True)
        (folder / "custom_nodes" / "ComfyUI-InfuseNet").symlink_to(REPOSITORY, target_is_directory=True)
        for file in nodes:
            shutil.copy(file, folder / "custom_nodes")
        self.folder, self.log_file = folder, folder / "log.txt"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        flags = ["--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(folder)]
        flags += ["--database-url", f"sqlite:///{folder}/user/comfy.db", "--use-pytorch-cross-attention"]
        flags += ["--disable-auto-launch", "--disable-api-nodes"]
        path = os.pathsep.join(filter(None, [stand_ins(host, folder), os.environ.get("PYTHONPATH", "")]))
        self.log = self.log_file.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "main.py", *flags],
            cwd=host,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path},
        )
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        end = time.monotonic() + STARTED
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except (URLError, OSError):
                time.sleep(0.3)
        self.stop()
        pytest.fail(f"the server did not start:\n{self.text()[-3000:]}")

    def get(self, path: str) -> Any:
        """GET: bytes, or what JSON holds."""
        with urlopen(self.address + path, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body

    def post(self, path: str, data: Any) -> Any:
        """POST JSON: what JSON comes back, or None."""
        request = Request(self.address + path, json.dumps(data).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def run(self, graph: dict[str, Any], client: str | None = None) -> tuple[str, dict[str, Any]]:
        """POST /prompt: ("success", "interrupted" or the error's text, outputs); `client` is told of its progress."""
        try:
            identifier = self.post("/prompt", {"prompt": graph, "client_id": client})["prompt_id"]
        except HTTPError as error:
            return error.read().decode(), {}
        end = time.monotonic() + DONE
        while time.monotonic() < end:
            history = self.get(f"/history/{identifier}").get(identifier)
            if history:
                told = dict(history["status"]["messages"])
                if "execution_error" in told:
                    return told["execution_error"]["exception_message"], history["outputs"]
                return "interrupted" if "execution_interrupted" in told else "success", history["outputs"]
            time.sleep(0.05)
        return "it did not end", {}

    def picture(self, entry: dict[str, str]) -> np.ndarray:
        """A saved picture, RGB uint8 [H, W, 3]."""
        query = f"/view?filename={entry['filename']}&subfolder={entry['subfolder']}&type={entry['type']}"
        return np.asarray(Image.open(io.BytesIO(self.get(query))).convert("RGB"))

    def text(self) -> str:
        """All that it has said, without colours."""
        return re.sub(r"\x1b\[\d*m", "", self.log_file.read_text(errors="replace"))

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def stand_ins(host: Path, folder: Path) -> str:
    """A folder for PYTHONPATH, with an empty package of the host's own templates where the installed one is too new."""
    wanted = re.search(r"comfyui-workflow-templates==(\S+)", (host / "requirements.txt").read_text())
    try:
        installed = importlib.metadata.version("comfyui-workflow-templates")
    except importlib.metadata.PackageNotFoundError:
        installed = ""
    if wanted is None or not wanted[1].startswith("0.1.") or installed.startswith("0.1."):
        return ""
    package = folder / "stand_ins" / "comfyui_workflow_templates"
    (package / "templates").mkdir(parents=True)
    (package / "__init__.py").touch()
    return str(package.parent)
