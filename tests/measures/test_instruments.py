"""Instruments: loaded where a metric asks for them, and named in the record."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infusenet import miniature
from infusenet.errors import WeightsError
from infusenet.measures.instruments import Instruments
from infusenet.measures.vision import clip_text
from infusenet.metrics import METRICS, Subject
from infusenet.miniature.people import drawn_again, drawn_reference
from infusenet.weights.fingerprint import fingerprint

PICTURE = drawn_reference(3)


def measured(instruments: Instruments, name: str, picture: Any = PICTURE, prompt: str = "a person") -> Any:
    """A metric's value and reason."""
    resources = instruments.resources([name], "drawn:3", [drawn_reference(3)], prompt)
    return METRICS[name].reading(Subject(picture, resources))


def test_clip_tells_the_fit_to_the_prompt_where_it_is_given(clip_folder: Path) -> None:
    instruments, measure = Instruments(prompt_fit=clip_folder), clip_text(clip_folder)
    expected = measure.read([PICTURE], measure.reference(["a hat"]))[0].similarity
    assert measured(instruments, "prompt_fit", prompt="a hat") == (pytest.approx(expected), None)
    assert instruments.notes(["prompt_fit"]) == {"prompt_fit_with": f"{measure.name}; {measure.rule}"}


def test_a_second_recognizer_has_an_opinion_of_its_own() -> None:
    first, second = (Instruments(second=path) for path in (miniature.FACE_PACK, miniature.JUDGING_RECOGNIZER))
    own = [measured(one, "second_similarity", drawn_again(3))[0] for one in (first, second)]
    others = [measured(one, "second_similarity", drawn_reference(4))[0] for one in (first, second)]
    assert own[0] != own[1] and min(own) > max(others)
    assert second.notes(["second_similarity"])["second_similarity_with"].startswith("rec_judge.onnx ")


def test_a_picture_is_recognised_among_others_or_not() -> None:
    crowd = {f"drawn:{number}": (lambda number=number: [drawn_reference(number)]) for number in range(5)}
    crowd["nobody"] = lambda: [np.full((128, 128, 3), 127, np.uint8)]
    instruments = Instruments(second=miniature.JUDGING_RECOGNIZER, crowd=crowd)
    assert [measured(instruments, "rank_1", drawn_again(number))[0] for number in range(5)] == [0, 0, 0, 1, 0]
    assert measured(instruments, "rank_1", np.full((128, 128, 3), 127, np.uint8)) == (0.0, None), "no face: a failure"
    assert instruments.notes(["rank_1"])["rank_1_with"].endswith("; among 6 people")
    twin = Instruments(second=miniature.JUDGING_RECOGNIZER, crowd={"twin": crowd["drawn:3"]})
    assert measured(twin, "rank_1", drawn_again(3)) == (0.0, None), "a tie is no success"
    alone = Instruments(second=miniature.JUDGING_RECOGNIZER, crowd={"drawn:3": crowd["drawn:3"]})
    assert measured(alone, "rank_1") == (None, "there is no nearest")


def test_a_reference_that_the_second_detector_misses_is_no_failure() -> None:
    instruments, blank = Instruments(second=miniature.JUDGING_RECOGNIZER), np.full((128, 128, 3), 127, np.uint8)
    resources = instruments.resources(["second_similarity"], "nobody", [blank], "a person")
    value, reason = METRICS["second_similarity"].reading(Subject(PICTURE, resources))
    assert value is None and "No face found in reference picture 1 of 1" in str(reason)


def test_only_what_is_asked_for_is_loaded(tmp_path: Path) -> None:
    instruments = Instruments(*[tmp_path / "nothing"] * 3)
    assert instruments.resources(["face_sharpness"], "x", [], "") == dict.fromkeys(
        ("lpips", "second", "nearest", "prompt_fit")
    )
    assert instruments.notes(["trajectory", "agreement", "latent_distance"]) == {}
    instruments.check(["face_sharpness"])
    for name in ("lpips", "face_lpips", "prompt_fit"):
        with pytest.raises(WeightsError):
            instruments.check([name])


def test_a_metrics_weights() -> None:
    instruments = Instruments(second=miniature.JUDGING_RECOGNIZER, prompt_fit=miniature.JUDGE)
    assert instruments.weights("second_similarity") == miniature.JUDGING_RECOGNIZER
    assert instruments.weights("lpips") is instruments.weights("agreement") is instruments.weights("sharpness") is None
    told = instruments.notes(["prompt_fit"])["prompt_fit_with"]
    assert told == f"judge.safetensors {fingerprint(miniature.JUDGE)[:16]}: share of what is asked for"


def test_lpips_is_one_network_for_both_of_its_metrics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded = []
    monkeypatch.setattr("infusenet.metrics.perceptual.lpips_network", lambda *args, **_: loaded.append(args) or "net")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9")
    path = tmp_path / "vgg.pth"
    path.write_bytes(b"weights")
    instruments, names = Instruments(lpips=path), ["lpips", "face_lpips"]
    assert instruments.resources(names, "x", [], "")["lpips"] == "net"
    what = f"lpips {fingerprint(path)[:16]}: package 9"
    assert instruments.notes(names) == {
        "lpips_with": f"{what}, middle squares at 512 pixels",
        "face_lpips_with": f"{what}, aligned faces",
    }
    assert loaded == [(path,)]
