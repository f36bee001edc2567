"""Agreement: cosines within one group, remembered for that group alone."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from infusenet.measures import PictureMeasure, Rule
from infusenet.measures.agreement import Agreement, embedding
from infusenet.measures.base import Reading

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
ROWS = {name: torch.tensor([row]) for name, row in {"a": (1.0, 0.0), "b": (3.0, 4.0), "c": (0.0, 2.0)}.items()}


def never() -> Any:
    raise AssertionError("it is remembered")


def test_every_pair_is_known_to_its_later_one() -> None:
    group = Agreement()
    assert group.of("g", "a", ROWS["a"], {}) == {}
    assert group.of("g", "b", ROWS["b"], {"a": never}) == {"a": pytest.approx(0.6)}
    assert group.of("g", "c", ROWS["c"], {"a": never, "b": never}) == {"a": pytest.approx(0), "b": pytest.approx(0.8)}


def test_what_is_not_remembered_is_read() -> None:
    group = Agreement()
    assert group.of("g", "b", ROWS["b"], {"a": lambda: ROWS["a"]}) == {"a": pytest.approx(0.6)}
    assert group.of("g", "c", ROWS["c"], {"a": never}) == {"a": pytest.approx(0)}


def test_another_group_is_another_memory() -> None:
    group = Agreement()
    group.of("g", "a", ROWS["a"], {})
    group.of("h", "b", ROWS["b"], {})
    assert group.of("g", "c", ROWS["c"], {"a": lambda: ROWS["b"]}) == {"a": pytest.approx(0.8)}


def test_what_shows_nothing_agrees_with_nothing() -> None:
    group = Agreement()
    group.of("g", "a", None, {})
    assert group.of("g", "b", ROWS["b"], {"a": never, "z": lambda: ROWS["b"] * 0}) == {"a": None, "z": None}
    assert group.of("g", "c", None, {"b": never}) == {"b": None}


def means(pictures: Any) -> torch.Tensor:
    return torch.stack([torch.tensor([float(picture.mean()), 1.0]) for picture in pictures])


def test_an_embedding_is_of_the_whole_picture_or_of_the_aligned_face() -> None:
    whole = PictureMeasure("mean", Rule("mean 1", subject="picture"), means)
    row = embedding(whole, PICTURE, Reading(True, 0.5))
    assert row is not None and row.tolist() == [[pytest.approx(PICTURE.mean()), 1]]
    assert embedding(whole, PICTURE, Reading(False)) is None
    crop, faces = PICTURE[:8, :8] // 2, SimpleNamespace(rule=Rule("face 1"), embed=means)
    row = embedding(faces, PICTURE, Reading(True, 0.5, crop=crop))
    assert row is not None and row.tolist() == [[pytest.approx(crop.mean()), 1]]
    assert embedding(faces, PICTURE, Reading(True)) is None


def test_a_measure_that_does_not_embed_agrees_with_nothing() -> None:
    assert embedding(SimpleNamespace(rule=Rule("edges 1", subject="picture")), PICTURE, Reading(True, 0.5)) is None
