"""Finding weights: nothing but looking."""

import os
from pathlib import Path

import pytest

from infusenet import miniature
from infusenet.errors import WeightsError
from infusenet.generate import files_for
from infusenet.weights import catalogue


@pytest.fixture
def comfy(tmp_path):
    """A ComfyUI checkout with dummy files of the true names."""
    for name in (
        "comfy/sd.py",
        "models/infinite_you/sim_stage1/image_proj_model.bin",
        "models/infinite_you/infusenet_aes_bf16.safetensors",
        "models/infinite_you/infusenet_sim_bf16.safetensors",
        "models/insightface/models/antelopev2/antelopev2/scrfd_10g_bnkps.onnx",
        "models/facexlib/recognition_arcface_ir_se50.pth",
        "models/diffusers/FLUX.1-schnell/model_index.json",
    ):
        path = tmp_path / "ComfyUI" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "ComfyUI"


def test_all_kinds_are_found(comfy):
    folders = catalogue.search_folders([comfy], {})
    found = {
        key: [str(path.relative_to(comfy / "models")) for path in paths]
        for key, paths in catalogue.find_all(folders).items()
    }
    assert found == {
        "flux-dev": [],
        "flux-schnell": ["diffusers/FLUX.1-schnell"],
        "infusenet": [
            "infinite_you/infusenet_sim_bf16.safetensors",
            "infinite_you/infusenet_aes_bf16.safetensors",
        ],
        "image-proj": ["infinite_you/sim_stage1/image_proj_model.bin"],
        "arcface": ["facexlib/recognition_arcface_ir_se50.pth"],
        "face-pack": ["insightface/models/antelopev2/antelopev2"],
        "buffalo": [],
        "auraface": [],
        "opencv-zoo": [],
    }


def test_order_of_folders(tmp_path):
    named = os.pathsep.join(["one", "two"])
    assert catalogue.search_folders([tmp_path], {"INFUSENET_MODELS": named}) == [
        tmp_path,
        Path("one"),
        Path("two"),
        Path("models"),
    ]


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "image_proj_model.bin").touch()
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert catalogue.find("image-proj", [tmp_path]) == tmp_path / "image_proj_model.bin"


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(WeightsError, match="--arcface"):
        catalogue.find("arcface", [tmp_path])


def test_a_backbone_takes_what_is_found(comfy, tmp_path):
    files = files_for("flux-schnell", catalogue.search_folders([comfy], {}), arcface=tmp_path / "mine.pth")
    assert files.expected == "flux-schnell"
    assert files.parts["infusenet"].name == "infusenet_sim_bf16.safetensors"
    assert files.parts["arcface"] == tmp_path / "mine.pth"


def test_a_miniature_takes_its_own():
    for backbone in ("mini-dev", miniature.BACKBONES["mini-schnell"]):
        assert files_for(backbone, ()).face_pack == miniature.FACE_PACK


def test_names_tell_no_folder():
    files = files_for(miniature.BACKBONES["mini-dev"], ())
    assert all("/" not in name and "\\" not in name for name in files.names().values())


def test_the_command_lists_them(comfy, command):
    done = command("models", comfy)
    assert done.returncode == 0, done.stderr
    assert "infusenet_sim_bf16.safetensors" in done.stdout
    assert "not found; looked for FLUX.1-dev/model_index.json" in done.stdout
    for licence in ("CC BY-NC 4.0", "Apache-2.0", "non-commercial research only", "terms unstated"):
        assert licence in done.stdout
