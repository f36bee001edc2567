"""A real server with this pack: it starts without a complaint, and the miniature's templates run as shipped."""

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
TEMPLATES = REPOSITORY / "example_workflows"
SHIPPED = sorted(path.stem for path in (TEMPLATES / "api").glob("*.json"))
RUNNABLE = [name for name in SHIPPED if name.startswith("miniature")]
TRAINED = (REPOSITORY / "infusenet" / "miniature" / "weights" / "TRAINED").is_file()
OURS = ("infusenet", "insightface", "onnx")
STARTED, DONE = 180, 180  # seconds


class Server:
    """A ComfyUI in a folder of its own, with this pack alone among its custom nodes."""

    def __init__(self, host: Path, folder: Path) -> None:
        for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
            (folder / name).mkdir(parents=True)
        (folder / "custom_nodes" / "ComfyUI-InfuseNet").symlink_to(REPOSITORY, target_is_directory=True)
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
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
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

    def run(self, graph: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """POST /prompt: ("success" or the error's text, outputs)."""
        body = json.dumps({"prompt": graph}).encode()
        request = Request(self.address + "/prompt", body, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=30) as answer:
                identifier = json.load(answer)["prompt_id"]
        except HTTPError as error:
            return error.read().decode(), {}
        end = time.monotonic() + DONE
        while time.monotonic() < end:
            history = self.get(f"/history/{identifier}").get(identifier)
            if history:
                failed = [m for kind, m in history["status"]["messages"] if kind == "execution_error"]
                return (failed[0]["exception_message"] if failed else "success"), history["outputs"]
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


@pytest.fixture(scope="module")
def server(host, tmp_path_factory):
    """One for all tests here."""
    running = Server(host, tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


def complaints(text: str) -> list[str]:
    """Lines of ours, or about ours, that warn; what importing the pack took is none."""
    lines = [line for line in text.splitlines() if "seconds:" not in line]
    bad = re.compile(r"warn|error|traceback|failed|exception", re.IGNORECASE)
    return [line for line in lines if bad.search(line) and any(name in line.lower() for name in OURS)]


def test_it_starts_without_a_complaint_and_lists_the_nodes(server, pack):
    info = server.get("/object_info")
    assert set(pack.by_id) <= set(info)
    for name in pack.by_id:
        inputs = {**info[name]["input"].get("required", {}), **info[name]["input"].get("optional", {})}
        assert all(spec[1].get("tooltip") for spec in inputs.values())
    assert complaints(server.text()) == []
    assert "Traceback" not in server.text()


def test_help_pages_and_templates_are_served(server, pack):
    for name in pack.by_id:
        assert server.get(f"/extensions/ComfyUI-InfuseNet/docs/{name}.md").startswith(b"# ")
    assert sorted(server.get("/workflow_templates")["ComfyUI-InfuseNet"]) == SHIPPED
    assert server.get(f"/api/workflow_templates/ComfyUI-InfuseNet/{SHIPPED[0]}.json")["nodes"]


def test_the_templates_pictures_lie_in_the_input_folder(server):
    pictures = list((TEMPLATES / "input").glob("*.png"))
    assert len(pictures) == 2
    for picture in pictures:
        assert (server.folder / "input" / picture.name).read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_both_forms_of_a_template_are_as_stated(server, name):
    """Written by graphs.py from this host's own /object_info; widget values by name, so that hosts agree."""
    graphs = _graphs()
    graph = graphs.TEMPLATES[name]()
    assert json.loads((TEMPLATES / "api" / f"{name}.json").read_text()) == graph.api()
    shipped = json.loads((TEMPLATES / f"{name}.json").read_text())
    made = graph.ui(server.get("/object_info"))
    assert [node["type"] for node in shipped["nodes"]] == [node["type"] for node in made["nodes"]]
    assert shipped["links"] == made["links"]
    ours = [node for node in shipped["nodes"] if node["type"].startswith("InfuseNet_")]
    same = {node["id"]: node for node in made["nodes"]}
    assert ours and all(node["widgets_values"] == same[node["id"]]["widgets_values"] for node in ours)


def _graphs() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("infusenet_graphs", Path(__file__).with_name("graphs.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not TRAINED, reason="the miniature's weights are not trained yet: no face would be found")
@pytest.mark.parametrize("name", RUNNABLE)
def test_the_miniatures_templates_run_as_shipped(server, name):
    graph = json.loads((TEMPLATES / "api" / f"{name}.json").read_text())
    said, outputs = server.run(graph)
    assert said == "success"
    saved = [entry for output in outputs.values() for entry in output["images"] if entry["type"] == "output"]
    assert len(saved) == 1
    picture = server.picture(saved[0])
    assert picture.shape == (128, 128, 3) and picture.std() > 10
    assert complaints(server.text()) == []


@pytest.mark.skipif(not TRAINED, reason="the miniature's weights are not trained yet: no face would be found")
def test_the_same_seed_gives_the_same_picture_and_a_second_run_loads_nothing(server):
    graph = json.loads((TEMPLATES / "api" / "miniature.json").read_text())
    noise = next(node for node in graph.values() if node["class_type"] == "RandomNoise")["inputs"]
    pictures = []
    for seed in (1, 2, 1):
        noise["noise_seed"] = seed
        before = len(server.text())
        said, outputs = server.run(graph)
        assert said == "success"
        entry = next(e for output in outputs.values() for e in output["images"] if e["type"] == "output")
        pictures.append(server.picture(entry))
    assert np.array_equal(pictures[0], pictures[2]) and not np.array_equal(pictures[0], pictures[1])
    assert "InfuseNetModel" not in server.text()[before:]


def test_an_error_reaches_the_user_in_one_message(server):
    Image.new("RGB", (64, 64)).save(server.folder / "input" / "black.png")
    graph = json.loads((TEMPLATES / "api" / "miniature.json").read_text())
    next(node for node in graph.values() if node["class_type"] == "LoadImage")["inputs"]["image"] = "black.png"
    said, _ = server.run(graph)
    assert "no face" in said
    shutil.rmtree(server.folder / "output", ignore_errors=True)
    (server.folder / "output").mkdir()


def variation(server: Server, index: int, people: list[np.ndarray]) -> dict[str, Any]:
    """The miniature's graph with another seed, size, person and prompt."""
    name = f"person_{index % len(people)}.png"
    Image.fromarray(people[index % len(people)]).save(server.folder / "input" / name)
    graph = json.loads((TEMPLATES / "api" / "miniature.json").read_text())
    by_class = {node["class_type"]: node["inputs"] for node in graph.values()}
    by_class["LoadImage"]["image"] = name
    by_class["RandomNoise"]["noise_seed"] = index
    by_class["CLIPTextEncode"]["text"] = ["a portrait of a person", "a person in the snow"][index % 2]
    sizes = [(128, 128), (160, 128), (128, 96), (96, 160)]
    by_class["EmptySD3LatentImage"].update(zip(("width", "height"), sizes[index % 4], strict=True))
    return graph


def saved_picture(server: Server, graph: dict[str, Any]) -> np.ndarray:
    said, outputs = server.run(graph)
    assert said == "success"
    return server.picture(next(e for out in outputs.values() for e in out["images"] if e["type"] == "output"))


@pytest.mark.slow
@pytest.mark.skipif(not TRAINED, reason="the miniature's weights are not trained yet: no face would be found")
def test_fifty_runs_keep_the_memory_and_equal_fresh_processes(server, pack, host, tmp_path):
    import psutil

    process = psutil.Process(server.process.pid)
    people = drawn_people(pack, 7)
    pictures, memory = [], []
    for index in range(50):
        pictures.append(saved_picture(server, variation(server, index, people)))
        memory.append(process.memory_info().rss / 1e6)
    grown = (memory[-1] - memory[10]) / (len(memory) - 11)
    print(
        f"memory: {memory[0]:.0f} MB after the first run, {memory[10]:.0f} after the 11th, {memory[-1]:.0f} at the end"
    )
    assert grown < 1
    for index in (0, 13, 49):
        fresh = Server(host, tmp_path / str(index))
        try:
            assert np.array_equal(saved_picture(fresh, variation(fresh, index, people)), pictures[index])
        finally:
            fresh.stop()


def drawn_people(pack: Any, count: int) -> list[np.ndarray]:
    """Reference photos of drawn persons, RGB uint8."""
    import torch

    faces = pack.module("infusenet.miniature.faces")
    scenes = pack.module("infusenet.miniature.scenes")
    generator = torch.Generator().manual_seed(8_000_000)
    identity = faces.sample_identities(count, generator)
    drawn = faces.to_uint8(faces.render(identity, scenes.sample_scenes(count, generator, plain=True)).images)
    return [picture.permute(1, 2, 0).numpy() for picture in drawn]
