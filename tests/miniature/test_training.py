"""The parts of training that can be held to something independent, at sizes a CPU does in seconds."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("diffusers")

from infusenet.faces.align import norm_crop
from infusenet.miniature import WEIGHTS, faces, networks
from infusenet.miniature.train import bank, detector, generation, loop, perception


@pytest.fixture(scope="module")
def drawn() -> bank.Bank:
    return bank.draw(*bank.draw_parameters(6, 5, views=2), torch.device("cpu"))


def test_the_shipped_weights_stay_small() -> None:
    assert sum(f.stat().st_size for f in WEIGHTS.rglob("*") if f.is_file()) <= 35_000_000


def test_batched_alignment_is_norm_crop(drawn: bank.Bank) -> None:
    images, points = drawn.images[:, 1], drawn.landmarks[:, 1]
    mine = bank.align(images.float(), points)
    for k in range(len(images)):
        theirs = norm_crop(images[k].permute(1, 2, 0).numpy(), points[k].numpy()).astype(np.float32)
        difference = np.abs(mine[k].permute(1, 2, 0).numpy() - theirs)[2:-2, 2:-2]
        assert np.mean(difference) < 1.5  # grey levels: OpenCV's interpolation has 5 bits


def test_token_weights_follow_the_face() -> None:
    weights = bank.token_weights(torch.tensor([[32.0, 32.0, 96.0, 96.0]]), extra=2.0).view(8, 8)
    assert weights[3, 3] == 3.0
    assert weights[0, 0] == 1.0
    assert 1.0 < weights[1, 3] < 3.0  # the grown box reaches into the next row


def test_folding_the_latent_format_moves_no_picture(drawn: bank.Bank) -> None:
    torch.manual_seed(0)
    vae = networks.autoencoder().eval()
    pictures = drawn.images[:, 0]
    with torch.no_grad():
        before = vae.decode(vae.encode(pictures.float() / 127.5 - 1).latent_dist.mode()).sample
        perception.fold_latent_format(vae, pictures)
        after = vae.decode(vae.encode(pictures.float() / 127.5 - 1).latent_dist.mode()).sample
        latents = perception.encode(vae, pictures)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    assert abs(float(latents.mean())) < 1e-3
    assert abs(float(latents.std()) - 1) < 1e-3


def test_packing_is_diffusers() -> None:
    from diffusers import FluxPipeline

    latents = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(generation.pack(latents), FluxPipeline._pack_latents(latents, 2, 16, 16, 16))
    assert torch.equal(generation.unpack(generation.pack(latents)), latents)


def test_composed_landmarks_lie_on_the_composed_face(drawn: bank.Bank) -> None:
    """Where a face was moved to, the picture shows what it showed at the old place."""
    torch.manual_seed(3)
    grey = torch.zeros(1, 3, networks.SIZE, networks.SIZE, dtype=torch.uint8)
    picture, boxes, points, shown = detector._composed(drawn, grey, 24)
    inside = ((points > 8) & (points < networks.SIZE - 8)).all(2).all(1) & shown
    assert int(inside.sum()) >= 6
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    assert bool(((points >= low - 2) & (points <= high + 2))[inside].all())
    crops = bank.align(picture, points)[inside]
    originals = bank.align(drawn.images.flatten(0, 1).float() / 255, drawn.landmarks.flatten(0, 1))
    centre = (slice(None), slice(None), slice(40, 96), slice(30, 82))
    nearest = (crops[centre][:, None] - originals[centre][None]).abs().mean((2, 3, 4)).min(1).values
    assert float(nearest.median()) < 0.08


def test_only_the_own_stride_says_yes() -> None:
    """A large face must be answered by the coarse stride alone; every other cell, near it or not, must say no."""
    box, points = torch.tensor([[20.0, 20.0, 110.0, 110.0]]), torch.full((1, 5, 2), 64.0)

    def loss(logits: dict[int, float]) -> float:
        levels = []
        for stride in networks.STRIDES:
            side = networks.SIZE // stride
            score = torch.full((1, networks.ANCHORS, side, side), logits[stride])
            levels.append((score, torch.ones(1, networks.ANCHORS, 4, side, side), torch.zeros(1, 2, 10, side, side)))
        return float(detector._detection_loss(levels, box, points, torch.tensor([True]))[0])

    assert loss({8: -6.0, 16: 3.0, 32: -6.0}) > 2 * loss({8: -6.0, 16: -6.0, 32: -6.0})


def test_circle_pulls_harder_what_is_further_off() -> None:
    cosine = torch.tensor([[0.3, 0.2, -0.5]], requires_grad=True)
    own, margin = torch.tensor([[0]]), torch.tensor(0.25)
    logits = perception.circle(cosine, own, margin)
    expected = [(1.25 - 0.3) * (0.3 - 0.75), (0.2 + 0.25) * (0.2 - 0.25), 0.0]  # by the paper's formulas
    torch.testing.assert_close(logits, torch.tensor([expected]))
    pull = torch.autograd.grad(logits.sum(), cosine)[0]
    torch.testing.assert_close(pull, torch.tensor([[1.25 - 0.3, 0.2 + 0.25, 0.0]]))  # the weights themselves are fixed


def test_margins_make_the_own_cosine_smaller_and_no_other() -> None:
    cosine, own = torch.tensor([[0.5, 0.2], [-0.8, 0.1]]), torch.tensor([[0], [0]])
    arc = perception.arc_margin(cosine, own, torch.tensor(0.35))
    cos = perception.cos_margin(cosine, own, torch.tensor(0.3))
    assert arc[0, 0] == pytest.approx(np.cos(np.arccos(0.5) + 0.35), abs=1e-6)
    assert arc[1, 0] == pytest.approx(-0.8 - 0.35, abs=1e-6)
    torch.testing.assert_close(cos[:, 0], cosine[:, 0] - 0.3)
    assert torch.equal(arc[:, 1], cosine[:, 1]) and torch.equal(cos[:, 1], cosine[:, 1])


class Line(nn.Module):
    """y = w x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))


def test_a_stopped_stage_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    plan = loop.Plan(steps=200, batch=1, lr=0.05, ema=0.0)

    def go(deadline: float) -> Line:
        line = Line()
        run = loop.Run(tmp_path, torch.device("cpu"), deadline)
        loop.train(run, "line", plan, [line], lambda: ((line.w - 2.0) ** 2).sum()[None])
        return line

    with pytest.raises(loop.OutOfTimeError, match="step 1 of 200"):
        go(time.monotonic() - 1)
    assert (tmp_path / "line.state.pt").exists()
    assert float(go(time.monotonic() + 60).w.detach()) == pytest.approx(2.0, abs=0.05)
    assert not (tmp_path / "line.state.pt").exists()


def test_rates_warm_up_and_fall() -> None:
    plan = loop.Plan(steps=100, batch=1, lr=1.0, warmup=0.1, floor=0.02)
    assert loop.rate(plan, 0) == pytest.approx(0.1)
    assert loop.rate(plan, 9) == pytest.approx(0.98, abs=0.02)
    assert loop.rate(plan, 99) == pytest.approx(0.02, abs=0.001)


def test_faces_landmarks_feed_the_same_template() -> None:
    assert bank._template(torch.device("cpu")).shape == (5,)
    assert faces.SIZE == networks.SIZE
