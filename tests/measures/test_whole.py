"""A measure of whole pictures: a name, a rule, a function. The probe, its words and its record take it as any other."""

from typing import Any

import numpy as np
import pytest
import torch

from infusenet.errors import PictureError, SettingsError
from infusenet.measures import (
    LEAST_IMPOSTORS,
    Baseline,
    PictureMeasure,
    PromptMeasure,
    Reference,
    Rule,
    as_measure,
    impostors,
)
from infusenet.measures.blank import blank_crops

RULE = Rule("mean colour 1", {"input": "all pixels"}, "picture")


def mean_colour(pictures: Any) -> torch.Tensor:
    return torch.stack([torch.from_numpy(picture.reshape(-1, 3).mean(0)) for picture in pictures]).float()


@pytest.fixture
def measure() -> PictureMeasure:
    return PictureMeasure("mean colour", RULE, mean_colour, batch_size=3)


def plain(*colour: int, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def cosine(one: Any, other: Any) -> float:
    one, other = np.asarray(one, float), np.asarray(other, float)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


RED, GREEN, BOTH = (200, 0, 0), (0, 100, 0), (80, 80, 0)


def test_pictures_are_compared_whole(measure: PictureMeasure) -> None:
    reference = measure.reference([plain(*RED)], source="a photo")
    assert (reference.info.pictures, reference.info.source, reference.info.turned) == (1, "a photo", 0)
    readings = measure.read([plain(*RED), plain(*GREEN), plain(*BOTH, size=(7, 9)), None], reference)
    assert [one.similarity for one in readings[:3]] == pytest.approx([1, 0, 2**-0.5], abs=1e-6)
    assert all(one.seen and one.alignment is None and one.score is None and one.place is None for one in readings[:3])
    assert not readings[3].seen and readings[3].reason == "the picture is not finite" and readings[0].reason is None
    assert readings[0].crop is not None and readings[0].crop.shape == (112, 112, 3)
    assert readings[0].crop[50, 50].tolist() == [0, 0, 200], "reversed, as all crops are"


def test_an_embedding_of_nothing_is_undefined_not_zero(measure: PictureMeasure) -> None:
    reference = measure.reference([plain(*RED)])
    (black,) = measure.read([plain(0, 0, 0)], reference)
    assert black.seen and black.similarity is None and black.reason == "the picture could not be encoded"
    with pytest.raises(PictureError, match="cannot encode the reference"):
        measure.reference([plain(0, 0, 0)])
    with pytest.raises(PictureError, match="there is none"):
        measure.reference([])


def test_the_blank_line_and_other_pictures(measure: PictureMeasure) -> None:
    reference = measure.reference([plain(*RED)])
    want = [cosine(crop.reshape(-1, 3).mean(0), RED) for crop in blank_crops(224)]
    assert reference.blank == Baseline(pytest.approx(np.mean(want)), pytest.approx(np.std(want, ddof=1)), 16)
    others = [plain(*GREEN), plain(*BOTH)] * 3
    line = measure.impostors(reference, others)
    values = [0, 2**-0.5] * 3
    assert line == Baseline(pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)), 6)
    assert measure.impostors(reference, others[: LEAST_IMPOSTORS - 1]) is None
    assert impostors(measure, [reference], [*others[:4], plain(0, 0, 0)]) == (None, 4), "black has no direction"


def test_other_pictures_of_several_references_are_embedded_once() -> None:
    counted: list[int] = []

    def embed(pictures: Any) -> torch.Tensor:
        counted.append(len(pictures))
        return mean_colour(pictures)

    measure = PictureMeasure("mean colour", RULE, embed)
    references = [measure.reference([plain(*colour)]) for colour in (RED, GREEN)]
    counted.clear()
    line, count = impostors(measure, references, [plain(*BOTH)] * 5)
    assert sum(counted) == 5 and count == 5 and line is not None
    assert (line.mean, line.count) == (pytest.approx(2**-0.5), 10)


def test_pictures_are_embedded_some_at_a_time(measure: PictureMeasure) -> None:
    sizes: list[int] = []
    measure._embed = lambda pictures: sizes.append(len(pictures)) or mean_colour(pictures)
    measure.embed([plain(*RED)] * 7)
    assert sizes == [3, 3, 1]


def test_a_run_is_read_item_by_item_and_nothing_is_remembered(measure: PictureMeasure) -> None:
    references = [measure.reference([plain(*colour)]) for colour in (RED, GREEN)]
    reader = as_measure(measure).reader(references, fallback=np.zeros((5, 2)))
    readings = reader.read([plain(*RED), plain(*RED), None], [0, 1, 2])
    assert [one.similarity for one in readings] == [pytest.approx(1), pytest.approx(0), None]
    assert not reader.can_back_fill(0) and reader.back_fill([plain(*RED)], [0])[0].similarity is None
    reader.restore(reader.remembered())


def test_the_short_way(measure: PictureMeasure) -> None:
    reference = Reference.from_pictures(measure, [plain(*RED)])
    assert reference.similarities(measure, [plain(*RED), plain(*GREEN)]) == [pytest.approx(1), pytest.approx(0)]
    assert reference.baseline(measure, [plain(*GREEN)] * 5) is not None


def test_a_prompt_measure_has_no_lines() -> None:
    rule = Rule("words 1", {}, "prompt")
    measure = PromptMeasure("words", rule, mean_colour, lambda prompts: (torch.tensor([[1.0, 0, 0]]), "cut"))
    reference = measure.reference("red", source="the prompt")
    assert reference.blank is None and reference.info.source == "the prompt; cut"
    assert measure.read([plain(*BOTH)], reference)[0].similarity == pytest.approx(2**-0.5)
    assert impostors(measure, [reference], [plain(*BOTH)] * 9) == (None, 0)


def test_what_is_refused() -> None:
    with pytest.raises(SettingsError, match="subject"):
        PictureMeasure("x", Rule("x"), mean_colour)
    with pytest.raises(SettingsError, match="batch_size"):
        PictureMeasure("x", RULE, mean_colour, batch_size=0)
