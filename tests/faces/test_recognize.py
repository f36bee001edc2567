"""The measuring recognizer with a network whose embedding can be worked out by hand."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infusenet.errors import FaceError, SettingsError, WeightsError
from infusenet.faces.align import norm_crop
from infusenet.faces.recognize import BATCH, FaceRecognizer
from infusenet.faces.runtime import CPU

Scene = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def recognizer(pack: Path) -> FaceRecognizer:
    return FaceRecognizer.from_pack(pack)


def by_hand(crop_bgr: np.ndarray) -> np.ndarray:
    """The stand-in's embedding: RGB, (x - 127.5) / 127.5, averaged over 28 x 28 patches, of length 1."""
    x = (crop_bgr[..., ::-1].astype(np.float64) - 127.5) / 127.5
    patches = x.reshape(4, 28, 4, 28, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()
    return patches / np.linalg.norm(patches)


def crops(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, 28, 28, 1), np.uint8))


def test_embeddings_are_right_and_of_length_one(recognizer: FaceRecognizer) -> None:
    given = crops(5)
    got = recognizer.embed(given)
    assert got.dtype == np.float32
    assert np.allclose(got, [by_hand(crop) for crop in given], atol=1e-5)
    assert np.allclose(recognizer.embed(list(given)), got)


def test_many_crops_go_through_in_few_calls(recognizer: FaceRecognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    inner = recognizer._model.get_feat
    monkeypatch.setattr(recognizer._model, "get_feat", lambda batch: calls.append(len(batch)) or inner(batch))
    got = recognizer.embed(crops(BATCH + 6))
    assert calls == [BATCH, 6]
    assert np.allclose(got[-1], recognizer.embed(crops(BATCH + 6)[-1:])[0], atol=1e-6)


def test_no_crops(recognizer: FaceRecognizer) -> None:
    assert recognizer.embed(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 48)
    assert recognizer.embed([]).shape == (0, 48)


def test_a_face_without_direction_is_nan_not_zero(recognizer: FaceRecognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = np.zeros((2, 48), np.float32)
    raw[1] = 3
    monkeypatch.setattr(recognizer._model, "get_feat", lambda batch: raw)
    got = recognizer.embed(crops(2))
    assert np.isnan(got[0]).all()
    assert np.allclose(got[1], 48**-0.5)


def test_wrong_crops_are_refused(recognizer: FaceRecognizer) -> None:
    for wrong in (crops(1)[0], crops(1).astype(np.float32), np.zeros((1, 128, 128, 3), np.uint8)):
        with pytest.raises(SettingsError, match=r"uint8 \[n, 112, 112, 3\]"):
            recognizer.embed(wrong)


@pytest.mark.exact
def test_a_picture_is_cropped_to_bgr_and_embedded(recognizer: FaceRecognizer, scene: Scene, kps_of: Any) -> None:
    picture = scene((64, 56, 32))
    (face,) = recognizer.detect(picture)
    crop = recognizer.crop(picture, face.kps)
    assert np.array_equal(crop, norm_crop(np.ascontiguousarray(picture[..., ::-1]), face.kps))
    got = recognizer.embed_picture(picture)
    assert got.shape == (48,)
    assert np.allclose(got, by_hand(crop), atol=1e-5)
    assert not np.allclose(got, by_hand(crop[..., ::-1]), atol=1e-2)


@pytest.mark.exact
def test_another_face_can_be_asked_for(recognizer: FaceRecognizer, scene: Scene) -> None:
    picture = scene((32, 64, 20), (88, 64, 30))
    assert np.array_equal(recognizer.embed_picture(picture), recognizer.embed_picture(picture, face=1))
    assert not np.array_equal(recognizer.embed_picture(picture), recognizer.embed_picture(picture, face=0))
    with pytest.raises(FaceError, match="no face was found"):
        recognizer.embed_picture(scene())


def test_the_name_tells_file_hash_and_provider(recognizer: FaceRecognizer, pack: Path) -> None:
    digest = hashlib.sha256((pack / "glintr100.onnx").read_bytes()).hexdigest()
    assert recognizer.name == f"glintr100.onnx {digest[:12]} ({CPU})"
    assert recognizer.provider == CPU


def test_a_pack_without_a_recognizer(pack: Path, tmp_path: Path) -> None:
    shutil.copy(pack / "scrfd_10g_bnkps.onnx", tmp_path / "scrfd_10g_bnkps.onnx")
    with pytest.raises(WeightsError, match=r"No face recognizer .*glintr100\.onnx"):
        FaceRecognizer.from_pack(tmp_path)
    shutil.copy(pack / "scrfd_10g_bnkps.onnx", tmp_path / "glintr100.onnx")
    with pytest.raises(WeightsError, match="not a face recognition network; it seems to be for detection"):
        FaceRecognizer.from_pack(tmp_path)


def test_detection_options_are_passed_on(recognizer: FaceRecognizer, scene: Scene) -> None:
    faint = scene((64, 64, 24), red=100)
    assert recognizer.detect(faint) == []
    assert len(recognizer.detect(faint, threshold=0.3, small_first=True)) == 1
    assert recognizer.detect(faint, threshold=0.3, sizes=(32,)) == []
