"""Cosines against angles that are known beforehand."""

import math

import pytest
import torch

from infusenet.metrics import copy_paste_score, cosine_similarity, fuse_embeddings


def at(degrees: float, length: float = 1.0) -> list[float]:
    return [length * math.cos(math.radians(degrees)), length * math.sin(math.radians(degrees))]


def test_cosine_depends_on_the_angle_alone() -> None:
    got = cosine_similarity(torch.tensor([at(0), at(60, 7.0), at(90), at(180, 0.1)]), torch.tensor(at(0, 3.0)))
    assert got.tolist() == pytest.approx([1.0, 0.5, 0.0, -1.0], abs=1e-6)
    assert got.dtype == torch.float32


def test_undefined_is_nan() -> None:
    embeddings = torch.tensor([[0.0, 0.0], [math.nan, 1.0], [math.inf, 0.0], at(60)])
    got = cosine_similarity(embeddings, torch.tensor(at(0)))
    assert [math.isnan(value) for value in got.tolist()] == [True, True, True, False]
    assert math.isnan(cosine_similarity(torch.tensor([at(0)]), torch.zeros(2)).item())


def test_fusing_weighs_every_picture_alike() -> None:
    fused = fuse_embeddings(torch.tensor([at(10, 100.0), at(50, 0.01)]))
    assert fused.tolist() == pytest.approx(at(30), abs=1e-6)


def test_one_picture_is_its_own_unit_vector() -> None:
    assert fuse_embeddings(torch.tensor([[3.0, 4.0]])).tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("bad", [[at(0), at(180)], [[0.0, 0.0]], [[math.nan, 1.0]]])
def test_fusing_nothing_is_an_error(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="cancel out"):
        fuse_embeddings(torch.tensor(bad))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="one recognizer"):
        cosine_similarity(torch.rand(2, 512), torch.rand(256))
    with pytest.raises(ValueError, match="n >= 1"):
        fuse_embeddings(torch.rand(0, 4))


def test_copy_paste_is_the_share_of_the_angle_between_two_photos() -> None:
    """The reference at 0 degrees, another photo of the person at 60, pictures between and beside them."""
    degrees = torch.tensor([0.0, 15.0, 30.0, 60.0, -30.0, 150.0])
    to_reference, to_other = torch.cos(torch.deg2rad(degrees)), torch.cos(torch.deg2rad(degrees - 60))
    got = copy_paste_score(to_reference, to_other, math.cos(math.radians(60)))
    assert got.tolist() == pytest.approx([1.0, 0.5, 0.0, -1.0, 1.0, -1.0], abs=1e-3)
    assert got.dtype == torch.float32


def test_copy_paste_is_undefined_where_its_parts_are() -> None:
    got = copy_paste_score(torch.tensor([math.nan, 0.5, 1.0000001]), torch.tensor([0.5, math.nan, 0.5]), 0.5)
    assert [math.isnan(value) for value in got.tolist()] == [True, True, False]
    assert math.isnan(copy_paste_score(torch.tensor([0.5]), torch.tensor([0.5]), 1.0).item())  # one photo twice


def test_copy_paste_needs_as_many_of_each() -> None:
    with pytest.raises(ValueError, match="both photos"):
        copy_paste_score(torch.zeros(2), torch.zeros(3), 0.5)
