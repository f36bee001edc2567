"""A real server with this pack: it starts without a complaint, and the miniature's templates run as shipped."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
TEMPLATES = REPOSITORY / "example_workflows"
SHIPPED = sorted(path.stem for path in (TEMPLATES / "api").glob("*.json"))
RUNNABLE = [name for name in SHIPPED if name.startswith(("miniature", "portrait"))]
OURS = ("infusenet", "insightface", "onnx")


@pytest.fixture(scope="module")
def server(sibling, host, tmp_path_factory):
    """One for all tests here."""
    running = sibling("server").Server(host, tmp_path_factory.mktemp("server"), Path(__file__).with_name("held.py"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def generate(sibling, pack):
    """The templates' generator, which reads the library; here that goes by the pack's name."""
    table = "infusenet.weights.catalogue"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, table, pack.module(table))
        yield sibling("generate", TEMPLATES)


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
    listed = sorted(server.get("/workflow_templates")["ComfyUI-InfuseNet"])
    assert listed == sorted(path.stem for path in TEMPLATES.glob("*.json"))
    assert len(listed) == len(SHIPPED), "each once, and no old name beside a new one"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_template_is_served_by_its_title_and_by_its_short_name(server, generate, name):
    base = "/api/workflow_templates/ComfyUI-InfuseNet/"
    whole = server.get(f"{base}{quote(generate.TITLES[name])}.json")
    assert whole["nodes"] and server.get(f"{base}{name}.json") == whole
    assert server.get(f"{base}{quote(generate.TITLES[name])}.jpg").startswith(b"\xff\xd8")


def test_a_template_is_served_by_a_title_that_it_had_before(server):
    base = "/api/workflow_templates/ComfyUI-InfuseNet/"
    for title, name in {"18 FastFace, text and identity guided apart": "miniature_fastface"}.items():
        assert server.get(f"{base}{quote(title)}.json") == server.get(f"{base}{name}.json")


def test_the_templates_pictures_lie_in_the_input_folder(server):
    pictures = list((TEMPLATES / "input").glob("*.png"))
    assert len(pictures) == 2
    for picture in pictures:
        assert (server.folder / "input" / picture.name).read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_both_forms_of_a_template_are_as_stated(server, generate, name):
    """Written from this host's own /object_info; widget values by name, so that hosts agree."""
    if server.get("/system_stats")["system"]["comfyui_version"].startswith(generate.WRITTEN_FOR):
        for path, text in generate.texts_of(name, server.get("/object_info")).items():
            assert (TEMPLATES / path).read_text(encoding="utf-8") == text
    graph = generate.TEMPLATES[name]()
    assert json.loads((TEMPLATES / "api" / f"{name}.json").read_text()) == graph.api()
    shipped = json.loads((TEMPLATES / f"{generate.TITLES[name]}.json").read_text())
    made = graph.ui(server.get("/object_info"), name)
    assert [node["type"] for node in shipped["nodes"]] == [node["type"] for node in made["nodes"]]
    assert shipped["links"] == made["links"]
    ours = [node for node in shipped["nodes"] if node["type"].startswith("InfuseNet_")]
    same = {node["id"]: node for node in made["nodes"]}
    assert ours and all(node["widgets_values"] == same[node["id"]]["widgets_values"] for node in ours)


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_miniatures_templates_run_as_shipped(server, name):
    graph = json.loads((TEMPLATES / "api" / f"{name}.json").read_text())
    said, outputs = server.run(graph)
    assert said == "success"
    shown = [entry for output in outputs.values() for entry in output.get("images", [])]
    pictures = [server.picture(entry) for entry in shown if entry["type"] == "output"]
    sides = [128, 256] if name.startswith("portrait") else [128]
    assert sorted(picture.shape for picture in pictures) == [(side, side, 3) for side in sides]
    assert all(picture.std() > 10 for picture in pictures)
    assert complaints(server.text()) == []


@pytest.mark.exact
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


def test_a_template_whose_files_are_missing_is_refused_with_where_to_get_each(server):
    """Before anything is loaded, on each loader: page, size, licence and folder."""
    graph = json.loads((TEMPLATES / "api" / "flux_schnell_4_steps.json").read_text())
    refused = json.loads(server.run(graph)[0])["node_errors"].values()
    told = {entry["class_type"]: entry["errors"][0]["details"] for entry in refused}
    for node, words in {
        "LoadBackbone": ["FLUX.1-schnell/blob/main/flux1-schnell.safetensors into models/diffusion_models", "9.79 GB"],
        "LoadInfuseNet": [
            "infusenet: 'infusenet_sim_bf16.safetensors' is missing",
            "infusenet_sim_bf16.safetensors (5.9 GB; CC BY-NC 4.0: no commercial use)",
            "https://huggingface.co/ByteDance/InfiniteYou/blob/main/infu_flux_v1.0/sim_stage1/",
            "into models/infinite_you.",
        ],
        "LoadIdentityEncoder": [
            "image_proj_model.bin (338 MB;",
            "into models/infinite_you/sim_stage1.",
            "https://github.com/xinntao/facexlib/releases/tag/v0.1.0 into models/infinite_you.",
            "into models/insightface/models/antelopev2.",
        ],
    }.items():
        assert [word for word in words if word not in told[f"InfuseNet_{node}"]] == []


def test_an_error_reaches_the_user_in_one_message(server):
    Image.new("RGB", (64, 64)).save(server.folder / "input" / "black.png")
    graph = json.loads((TEMPLATES / "api" / "miniature.json").read_text())
    next(node for node in graph.values() if node["class_type"] == "LoadImage")["inputs"]["image"] = "black.png"
    said, _ = server.run(graph)
    assert "no face" in said
    shutil.rmtree(server.folder / "output", ignore_errors=True)
    (server.folder / "output").mkdir()


def variation(server: Any, index: int, people: list[np.ndarray]) -> dict[str, Any]:
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


def saved_picture(server: Any, graph: dict[str, Any]) -> np.ndarray:
    said, outputs = server.run(graph)
    assert said == "success"
    return server.picture(next(e for out in outputs.values() for e in out["images"] if e["type"] == "output"))


@pytest.mark.slow
@pytest.mark.exact
def test_fifty_runs_keep_the_memory_and_equal_fresh_processes(server, sibling, pack, host, tmp_path):
    people = drawn_people(pack, 7)
    pictures, memory = [], []
    for index in range(50):
        pictures.append(saved_picture(server, variation(server, index, people)))
        memory.append(server.get("/tests/held") / 1e6)
    grown = (memory[-1] - memory[10]) / (len(memory) - 11)
    print(
        f"memory: {memory[0]:.0f} MB after the first run, {memory[10]:.0f} after the 11th, {memory[-1]:.0f} at the end"
    )
    assert grown < 0.15  # a picture kept is 0.2 MB
    for index in (0, 13, 49):
        fresh = sibling("server").Server(host, tmp_path / str(index))
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
