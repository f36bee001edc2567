"""Finding faces with a detector whose answers are known, and opening face packs in every state."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infusenet.errors import FaceError, PictureError, SettingsError, WeightsError
from infusenet.faces import runtime
from infusenet.faces.backends import BACKENDS, find_pack
from infusenet.faces.detect import Face, FaceDetector, choose_face
from infusenet.faces.runtime import CPU, CUDA, providers_for

Scene = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def detector(pack: Path) -> FaceDetector:
    return FaceDetector.from_pack(pack)


def test_a_face_is_found_where_it_is(detector: FaceDetector, scene: Scene, kps_of: Any) -> None:
    (face,) = detector.detect(scene((64, 56, 32)))
    assert np.allclose(face.bbox, (32, 24, 96, 88), atol=0.5)
    assert np.allclose(face.kps, kps_of(64, 56, 32), atol=0.5)
    assert face.score == pytest.approx(1, abs=0.01)
    assert face.size == pytest.approx(64, abs=1)
    assert (face.bbox.dtype, face.kps.dtype) == (np.float32, np.float32)
    assert detector.provider == CPU


def test_an_empty_picture_has_no_face(detector: FaceDetector, scene: Scene) -> None:
    assert detector.detect(scene()) == []


def test_blue_is_not_taken_for_red(detector: FaceDetector, scene: Scene) -> None:
    assert detector.detect(np.ascontiguousarray(scene((64, 56, 32))[..., ::-1])) == []


def test_coordinates_are_the_pictures_own(detector: FaceDetector, scene: Scene) -> None:
    picture = np.kron(scene((64, 56, 32)), np.ones((3, 3, 1), np.uint8))
    (face,) = detector.detect(picture)
    assert np.allclose(face.bbox, (96, 72, 288, 264), atol=4)


def test_the_largest_face_comes_first(detector: FaceDetector, scene: Scene) -> None:
    faces = detector.detect(scene((24, 24, 12), (80, 80, 30), (24, 96, 18)))
    assert [round(face.size / 2) for face in faces] == [30, 18, 12]


def test_the_last_of_equal_faces_wins(detector: FaceDetector, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.array([[0, 0, 9, 9, 0.9], [50, 0, 59, 9, 0.8]], np.float32)
    monkeypatch.setattr(detector._model, "detect", lambda *args, **kwargs: (boxes, np.ones((2, 5, 2), np.float32)))
    assert detector.detect(scene())[0].bbox[0] == 50


def test_faces_without_finite_landmarks_do_not_count(
    detector: FaceDetector, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, points = np.ones((1, 5), np.float32), np.full((1, 5, 2), np.nan, np.float32)
    monkeypatch.setattr(detector._model, "detect", lambda *args, **kwargs: (boxes, points))
    assert detector.detect(scene()) == []


def tried_sizes(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[tuple[int, float]]:
    seen: list[tuple[int, float]] = []

    def fake(image: np.ndarray, input_size: tuple[int, int], det_thresh: float) -> Any:
        assert input_size[0] == input_size[1]
        seen.append((input_size[0], det_thresh))
        return np.zeros((0, 5), np.float32), np.zeros((0, 5, 2), np.float32)

    monkeypatch.setattr(detector._model, "detect", fake)
    assert detector.detect(np.zeros((64, 64, 3), np.uint8), **options) == []
    return seen


def test_sizes_and_threshold(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried_sizes(detector, monkeypatch) == [(128, 0.5), (256, 0.5)]
    assert tried_sizes(detector, monkeypatch, sizes=(320, 160, 640), threshold=0.2) == [
        (320, 0.2),
        (160, 0.2),
        (640, 0.2),
    ]
    small_first = tried_sizes(detector, monkeypatch, sizes=(320, 160, 640), small_first=True)
    assert [size for size, _ in small_first] == [160, 320, 640]


def test_the_first_size_that_finds_decides(detector: FaceDetector, scene: Scene) -> None:
    tiny = scene((64, 64, 32))[48:80, 48:80]  # the red cell is whole only where it is not enlarged beyond 8 pixels
    assert detector.detect(tiny, sizes=(32,))
    assert not detector.detect(scene(side=64), sizes=(64, 32))
    first = detector.detect(tiny, sizes=(32, 64))[0].size
    second = detector.detect(tiny, sizes=(64, 32))[0].size
    assert first == pytest.approx(2 * second, rel=0.1)  # at double scale the same green means half the size


def test_a_low_threshold_finds_faint_faces(detector: FaceDetector, scene: Scene) -> None:
    faint = scene((64, 64, 24), red=100)
    assert detector.detect(faint) == []
    assert len(detector.detect(faint, threshold=0.3)) == 1


def test_sizes_without_a_statement_in_the_file(tmp_path: Path, export_pack: Any) -> None:
    export_pack.detector(tmp_path / "det_10g.onnx")
    assert FaceDetector.from_pack(tmp_path).sizes == BACKENDS["insightface"].detector.sizes == (640, 320, 160)


def test_a_wrong_statement_is_an_error(tmp_path: Path, export_pack: Any) -> None:
    export_pack.detector(tmp_path / "det_10g.onnx", det_sizes="large")
    with pytest.raises(WeightsError, match="gives det_sizes as 'large'"):
        FaceDetector.from_pack(tmp_path).detect(np.zeros((64, 64, 3), np.uint8))


def test_odd_sizes_are_refused(detector: FaceDetector, scene: Scene) -> None:
    for sizes in ((100,), (0,), (640, -32)):
        with pytest.raises(SettingsError, match="multiples of 32"):
            detector.detect(scene(), sizes=sizes)


def test_gray_rgba_tiny_and_slivers(detector: FaceDetector, scene: Scene) -> None:
    rgb = scene((64, 56, 32))
    assert len(detector.detect(np.dstack([rgb, np.full((128, 128), 255, np.uint8)]))) == 1
    assert detector.detect(rgb[..., 2]) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []
    assert detector.detect(np.zeros((1, 4000, 3), np.uint8)) == []
    with pytest.raises(PictureError, match="Expected a picture"):
        detector.detect(rgb.astype(np.float32) / 255)


def faces(*sizes: int) -> list[Face]:
    """Faces of these sizes, from right to left."""
    made = [
        Face(np.array([-100 * n, 0, size - 100 * n, size], np.float32), np.zeros((5, 2), np.float32), 0.9)
        for n, size in enumerate(sizes)
    ]
    return sorted(made, key=lambda face: -face.area)


def test_choosing_a_face() -> None:
    several = faces(50, 90, 70)
    assert choose_face(several, "largest", "Picture 1", smallest=40).size == 90
    assert [choose_face(several, n, "Picture 1", smallest=40).size for n in range(3)] == [70, 90, 50]
    with pytest.raises(FaceError, match=r"Picture 3 shows 3 faces, so there is no face 3\..*use 0 to 2"):
        choose_face(several, 3, "Picture 3", smallest=40)
    with pytest.raises(FaceError, match=r"Picture 3 shows 1 face, .*starting at 0: use 0\.$"):
        choose_face(faces(50), 1, "Picture 3", smallest=40)
    with pytest.raises(FaceError, match="Picture 2: no face was found"):
        choose_face([], "largest", "Picture 2", smallest=40)
    with pytest.raises(FaceError, match="Picture 2: the face is only 32 pixels wide, and at least 40"):
        choose_face(faces(32), "largest", "Picture 2", smallest=40)
    for wrong in ("first", -1, True, 1.0):
        with pytest.raises(SettingsError, match="counted from the left"):
            choose_face(several, wrong, "Picture 1", smallest=40)  # type: ignore[arg-type]


def test_a_pack_may_be_nested_or_a_file(pack: Path, tmp_path: Path) -> None:
    shutil.copytree(pack, tmp_path / "antelopev2" / "antelopev2")
    shutil.copytree(pack, tmp_path / "other" / "inner")
    nested = tmp_path / "antelopev2" / "antelopev2"
    assert FaceDetector.from_pack(tmp_path / "antelopev2").path == nested / "scrfd_10g_bnkps.onnx"
    assert find_pack(tmp_path / "antelopev2", both=True)[1].path == nested / "glintr100.onnx"
    assert find_pack(tmp_path / "other", both=True)[1].path == tmp_path / "other" / "inner" / "glintr100.onnx"
    assert FaceDetector.from_pack(pack / "scrfd_10g_bnkps.onnx").path == pack / "scrfd_10g_bnkps.onnx"


@pytest.mark.parametrize(
    ("detector_name", "recognizer_name"), [("det_10g.onnx", "w600k_r50.onnx"), ("det_mini.onnx", "rec_mini.onnx")]
)
def test_other_packs_are_known_by_name(pack: Path, tmp_path: Path, detector_name: str, recognizer_name: str) -> None:
    shutil.copy(pack / "scrfd_10g_bnkps.onnx", tmp_path / detector_name)
    shutil.copy(pack / "glintr100.onnx", tmp_path / recognizer_name)
    (tmp_path / "2d106det.onnx").write_bytes(b"")
    assert FaceDetector.from_pack(tmp_path).path.name == detector_name
    assert find_pack(tmp_path, both=True)[1].path.name == recognizer_name


def test_missing_packs_name_what_was_searched(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no face pack .*absent.*antelopev2\.zip"):
        FaceDetector.from_pack(tmp_path / "absent")
    (tmp_path / "inner").mkdir()
    with pytest.raises(WeightsError) as caught:
        FaceDetector.from_pack(tmp_path)
    assert str(tmp_path / "inner") in str(caught.value) and "scrfd" in str(caught.value)
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(WeightsError, match="not an ONNX file"):
        FaceDetector.from_pack(tmp_path / "a.bin")


def test_damaged_and_swapped_networks(pack: Path, tmp_path: Path) -> None:
    whole = (pack / "scrfd_10g_bnkps.onnx").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"<!DOCTYPE html>"):
        (tmp_path / "det_10g.onnx").write_bytes(content)
        with pytest.raises(WeightsError, match=r"det_10g\.onnx cannot be opened") as caught:
            FaceDetector.from_pack(tmp_path)
        assert "\n" not in str(caught.value)
    shutil.copy(pack / "glintr100.onnx", tmp_path / "det_10g.onnx")
    with pytest.raises(WeightsError, match="not a face detection network; it seems to be for recognition"):
        FaceDetector.from_pack(tmp_path)


def test_providers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    import onnxruntime

    assert providers_for("cpu") == providers_for("mps") == [CPU]
    for wrong in ("gpu", "cuda:x"):
        with pytest.raises(SettingsError, match="Expected the device"):
            providers_for(wrong)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    assert providers_for("auto") == [CPU]
    assert not caplog.records
    assert providers_for("cuda") == [CPU]
    assert "no CUDA provider" in caplog.text
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(runtime, "sees_gpu", lambda: True)
    assert providers_for("auto") == providers_for("cuda") == [(CUDA, {"device_id": 0}), CPU]
    assert providers_for("cuda:1") == [(CUDA, {"device_id": 1}), CPU]
    monkeypatch.setattr(runtime, "sees_gpu", lambda: False)
    assert providers_for("auto") == [CPU]


def test_a_gpu_that_did_not_start_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "installed_runtimes", lambda: ["onnxruntime", "onnxruntime-gpu"])
    with caplog.at_level(logging.INFO):
        runtime.tell_provider(Path("glintr100.onnx"), [(CUDA, {}), CPU], CPU)
    assert "glintr100.onnx runs on CPUExecutionProvider" in caplog.text
    assert "both installed; keep only one" in caplog.text


def test_a_file_of_one_fixed_size_takes_smaller_ones_on_black(
    detector: FaceDetector, scene: Scene, kps_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector._model, "static_input_size", (128, 128), raising=False)
    assert detector.fixed_size == 128
    seen = []
    inner = detector._model.detect
    monkeypatch.setattr(
        detector._model, "detect", lambda image, **options: seen.append((image, options)) or inner(image, **options)
    )
    picture = np.kron(scene((64, 56, 32)), np.ones((2, 2, 1), np.uint8))  # 256 pixels
    (face,) = detector.detect(picture, sizes=(640, 256))  # both are the file's own size
    assert len(seen) == 1 and np.allclose(face.kps, kps_of(64, 56, 32) * 2, atol=1)
    detector.detect(picture, sizes=(64,), threshold=0.9)
    image, options = seen[-1]
    assert image.shape == (128, 128, 3) and options["input_size"] == (128, 128)
    assert image[:64, :64].any() and not image[64:].any() and not image[:, 64:].any()


def test_thresholds_are_the_detectors_own(detector: FaceDetector) -> None:
    assert (detector.backend, detector.confident, detector.faint) == ("insightface", 0.5, 0.3)
    assert detector.name.startswith("scrfd_10g_bnkps.onnx ") and len(detector.name.split()[1]) == 12
