"""The self-test of recognizers, by recognizers with known faults."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infusenet import miniature
from infusenet.errors import WeightsError
from infusenet.faces import FaceRecognizer
from infusenet.faces.selftest import check_recognizer, sample


def patches(crops: np.ndarray) -> np.ndarray:
    small = crops.reshape(len(crops), 14, 8, 14, 8, 3).mean((2, 4)).reshape(len(crops), -1) / 127.5 - 1
    return (small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def offset(amount: float) -> Callable[[np.ndarray], np.ndarray]:
    """Everything drawn to one point, as by a wrong normalisation."""

    def embed(crops: np.ndarray) -> np.ndarray:
        raw = np.concatenate([patches(crops), np.full((len(crops), 1), amount)], axis=1)
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)

    return embed


def test_the_crops_are_always_the_same() -> None:
    assert np.array_equal(sample(), sample())
    assert sample().shape == (7, 112, 112, 3)
    assert sample(224).shape == (7, 224, 224, 3)


def test_a_good_one_passes_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        FaceRecognizer.from_pack(miniature.FACE_PACK)
        assert check_recognizer(patches, "toy") == []
    assert not caplog.records


def test_one_that_tells_nothing_apart_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"rec\.onnx cannot tell a face from noise"):
        check_recognizer(offset(100), "rec.onnx")
    with pytest.raises(WeightsError, match=r"rec\.onnx gives no embedding"):
        check_recognizer(lambda crops: np.full((len(crops), 8), np.nan, np.float32), "rec.onnx")


def test_one_that_takes_noise_for_a_face_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    (told,) = check_recognizer(offset(2), "rec.onnx")
    assert "mistakes noise or plain grey for a face" in told and "published name" in told
    assert told in caplog.text


def test_one_to_which_a_mirrored_face_is_another_is_warned_of() -> None:
    spread = np.random.default_rng(0).normal(size=(7, 64)).astype(np.float32)
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    (told,) = check_recognizer(lambda crops: spread, "rec.onnx")
    assert "mirrored" in told


def test_a_network_normalised_twice_is_refused(tmp_path: Path) -> None:
    recognizer = FaceRecognizer.from_pack(miniature.FACE_PACK)
    recognizer._model.input_std = 127.5 * 127.5
    recognizer._model.input_mean = 127.5
    with pytest.raises(WeightsError, match="cannot tell a face from noise"):
        check_recognizer(recognizer.embed, "rec_mini.onnx")
