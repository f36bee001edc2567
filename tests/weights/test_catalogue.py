"""Finding weights: nothing but looking."""

import os
import re
from pathlib import Path

import pytest

from infusenet import miniature
from infusenet.errors import WeightsError
from infusenet.generate import files_for
from infusenet.weights import catalogue
from infusenet.weights.entries import SDXL_ENTRIES

HELP = Path(__file__).parents[2] / "nodes" / "web" / "docs"
ROW = re.compile(r"^ *- \[(\S+)\]\((\S+)\),(?: (\S+ \S+),)? into `(\S+)`: (.+)$", re.MULTILINE)
LOADED = {  # by the help page that has them
    "LoadBackbone": ["flux1-dev", "flux1-schnell", "clip_l", "t5xxl_fp16", "ae"],
    "LoadInfuseNet": [f"infusenet_{kind}_{size}" for kind in ("sim", "aes") for size in ("bf16", "fp8e4m3fn")],
    "LoadIdentityEncoder": ["image_proj_model", "image_proj_model", "recognition_arcface_ir_se50", "scrfd_10g_bnkps"],
    "LoadFaceRecognizer": [
        *["scrfd_10g_bnkps", "glintr100"] * 2,
        *["face_detection_yunet_2023mar", "face_recognition_sface_2021dec"],
    ],
    "IdentityProbe": ["taef1_decoder"],
    "LoadIPAdapter": ["ip-adapter-faceid-plusv2_sdxl", "ip-adapter-faceid_sdxl"],
}


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
        **{entry.key: [] for entry in SDXL_ENTRIES},
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
    for file in catalogue.FILES.values():
        assert f"  {file.path}, {file.size}\n  {file.address}\n  licence: {file.licence}\n" in done.stdout


def test_every_file_says_where_it_comes_from_and_where_it_belongs():
    for name, file in catalogue.FILES.items():
        assert file.name == name and file.path.is_relative_to(f"models/{file.folder}")
        assert re.fullmatch(r"https://(huggingface\.co|github\.com)/\S+", file.address) and file.address.endswith(
            file.path.name
        )
        assert file.page.startswith("https://") and "/resolve/" not in file.page
        assert file.licence and re.fullmatch(r"\d+(\.\d+)? (kB|MB|GB)", file.size)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("infusenet_sim_bf16.safetensors", ["infusenet_sim_bf16.safetensors"]),
        ("sim_stage1/infusenet_sim_bf16.safetensors", ["infusenet_sim_bf16.safetensors"]),
        ("checkpoints/flux1-dev.safetensors", ["flux1-dev.safetensors"]),
        ("aes_stage2\\image_proj_model.bin", ["sim_stage1/image_proj_model.bin", "aes_stage2/image_proj_model.bin"]),
        ("antelopev2", ["models/antelopev2/scrfd_10g_bnkps.onnx", "models/antelopev2/glintr100.onnx"]),
        ("opencv_zoo", ["face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx"]),
        ("mine.safetensors", []),
        ("", []),
    ],
)
def test_files_are_known_by_their_name_or_by_their_folders(name, files):
    assert [file.name for file in catalogue.files_of(name)] == files
    told = catalogue.advice(name)
    assert bool(told) == bool(files)
    assert all(file.page in told and str(file.path.parent) in told for file in catalogue.files_of(name))


def test_advice_names_a_file_once():
    told = catalogue.advice("ae.safetensors", "vae")
    assert told == (
        " Download ae.safetensors (335 MB; Apache-2.0) from "
        "https://huggingface.co/black-forest-labs/FLUX.1-schnell/blob/main/ae.safetensors into models/vae."
    )


@pytest.mark.parametrize("page", LOADED)
def test_the_files_on_a_help_page_are_the_catalogues(page):
    rows = ROW.findall((HELP / f"InfuseNet_{page}.md").read_text(encoding="utf-8"))
    assert [name.rpartition(".")[0] for name, *_ in rows] == LOADED[page]
    stated = {(f.path.name, f.page, f.size, str(f.path.parent), f.licence) for f in catalogue.FILES.values()}
    assert set(rows) <= stated


def test_every_file_is_on_a_help_page():
    told = "".join(page.read_text(encoding="utf-8") for page in HELP.glob("*.md"))
    assert [name for name, file in catalogue.FILES.items() if f"]({file.page})" not in told] == []
