"""Attention manipulation through the logsumexp, against an attention matrix."""

import math

import pytest
import torch

from infusenet.errors import SettingsError
from infusenet.guidance import joint
from infusenet.guidance.attention import soft_mask
from infusenet.guidance.joint import SoftMaskOfShare, attention_named, attention_with_logsumexp, manipulated_attention
from infusenet.guidance.manipulation import ScalePower, SoftMask

IDENTITY, IMAGE = 8, 300  # more queries than one chunk of the fallback holds
SETTINGS = {
    "scale": attention_named("scale"),
    "soft mask": attention_named("soft mask"),
    "soft mask, as published": SoftMask(),
    "soft mask, unblended": SoftMask(blend=None),
}
STEP = 1  # the second, so that schedules are at their later values


@pytest.fixture(params=[1, 6], ids=["diffuse", "peaked"])
def qkv(request):
    """Peaked ones attend to a few tokens alone; image queries look at the identity often enough to be changed."""
    generator = torch.Generator().manual_seed(7)
    query, key, value = (torch.randn(2, 3, IDENTITY + IMAGE, 16, generator=generator) for _ in range(3))
    key[:, :, :IDENTITY] += query[:, :, IDENTITY:].mean(2, keepdim=True) + 1
    return query * request.param, key, value


def by_matrix(query, key, value, kind):
    """The same with every probability written out, and FastFace's formulas beside them."""
    probabilities = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
    out = probabilities @ value
    paid, theirs = probabilities[:, :, IDENTITY:, :IDENTITY], value[:, :, :IDENTITY]
    if kind == "scale":
        given = (1.55 * paid**1.3).clamp(max=10) @ theirs
    elif kind == "soft mask, unblended":
        given = soft_mask(paid, 5.0, 0.65, 1.55, invert=(0,)) @ theirs
    else:
        published = "published" in kind
        largest = 1 if published else paid.amax((1, 2), keepdim=True)
        mask = moved(largest * soft_mask(paid / largest, 5.0, 0.65, 1.55, invert=(0,) if published else ()), paid)
        given = moved(mask @ theirs, paid @ theirs)
    out[:, :, IDENTITY:] += given - paid @ theirs
    return out


def moved(new, old):
    """FastFace's AdaIN, at .7."""
    scaled = (new - new.mean(-1, keepdim=True)) * (old.std(-1, keepdim=True) / (new.std(-1, keepdim=True) + 1e-6))
    return 0.7 * new + 0.3 * (scaled + old.mean(-1, keepdim=True))


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_logsumexp_gives_what_the_matrix_gives(qkv, kind):
    got, want = manipulated_attention(*qkv, IDENTITY, SETTINGS[kind], STEP), by_matrix(*qkv, kind)
    plain = torch.nn.functional.scaled_dot_product_attention(*qkv)
    assert float((want - plain).abs().max()) > 0.1  # it matters here
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * float(want.abs().max()))
    torch.testing.assert_close(got[:, :, :IDENTITY], plain[:, :, :IDENTITY], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", SETTINGS)
def test_in_half_the_bits_it_is_as_near_as_these_allow(qkv, kind):
    half = [x.bfloat16() for x in qkv]
    got, want = (
        manipulated_attention(*half, IDENTITY, SETTINGS[kind], STEP),
        by_matrix(*(x.float() for x in half), kind),
    )
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, rtol=2e-2, atol=2e-2)


def test_without_a_kernel_that_tells_it_the_logsumexp_is_computed(qkv, monkeypatch):
    out, told = attention_with_logsumexp(*qkv)
    monkeypatch.setattr(joint, "_kernel", lambda *qkv: (torch.nn.functional.scaled_dot_product_attention(*qkv), None))
    same, computed = attention_with_logsumexp(*qkv)
    torch.testing.assert_close(computed, told, rtol=0, atol=1e-5)
    torch.testing.assert_close(same, out, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "shape", [(2, 3, 308, 1), (2, 3, 320)], ids=["a last axis, as cuDNN's", "padded, as CUTLASS's"]
)
def test_the_shapes_of_other_kernels_are_read(qkv, shape, monkeypatch):
    out, told = attention_with_logsumexp(*qkv)
    theirs = torch.full(shape, torch.inf)
    theirs.view(2, 3, -1)[..., :308] = told
    monkeypatch.setattr(joint, "_kernel", lambda *_: (out, theirs))
    assert torch.equal(attention_with_logsumexp(*qkv)[1], told)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_picture_does_not_depend_on_its_neighbour(qkv, kind):
    both = manipulated_attention(*qkv, IDENTITY, SETTINGS[kind], STEP)
    alone = torch.cat(
        [manipulated_attention(*(x[i : i + 1] for x in qkv), IDENTITY, SETTINGS[kind], STEP) for i in (0, 1)]
    )
    torch.testing.assert_close(both, alone, rtol=0, atol=2e-6)


def test_a_schedule_is_followed(qkv):
    first, second = (manipulated_attention(*qkv, IDENTITY, SoftMask(), step) for step in (0, 1))
    assert float((first - second).abs().max()) > 0.01


def test_the_quantile_moves_the_edge_even_of_a_small_share():
    """Of two tokens' shares as on FLUX, some thousandths of the whole, as of the same map in an adapter of its own."""
    whole = torch.rand(1, 3, IMAGE, 2, generator=torch.Generator().manual_seed(3)).square()
    settings = {"blend": None, "sharpness": (50.0,), "down": (1.0,), "inverted": False}

    def kept(quantile, scale):
        """How much of the map is above half of its largest value."""
        given = SoftMaskOfShare(quantile=quantile, **settings).map(scale * whole, "down", 0)
        return float((given > given.amax() / 2).float().mean())

    assert kept(0.3, 0.004) == pytest.approx(0.7, abs=0.03)
    assert kept(0.9, 0.004) == pytest.approx(0.1, abs=0.03)
    assert kept(0.65, 0.004) == pytest.approx(kept(0.65, 1.0), abs=0.01)
    nothing = SoftMaskOfShare(**settings).map(torch.zeros(1, 1, 4, 2), "down", 0)
    assert torch.equal(nothing, torch.zeros(1, 1, 4, 2))


def test_only_power_1_and_scale_1_change_nothing():
    assert ScalePower(up=1, down=1, power=1).neutral
    assert not ScalePower(up=1, down=1).neutral
    assert not ScalePower(up=1, down=1.2, power=1).neutral
    assert not ScalePower(up=1, down=1, power=1, blend=0.7).neutral
    assert not SoftMask(up=1, down=1).neutral
    assert attention_named("none", 3) is None


@pytest.mark.parametrize("wrong", [("hard mask", 1), ("scale", -1), ("soft mask", float("nan"))], ids=str)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(SettingsError):
        attention_named(*wrong)
