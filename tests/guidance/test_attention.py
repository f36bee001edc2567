"""Attention to identity tokens: the original's recorded maps, and what ours promises beside them."""

import math

import pytest
import torch

from infusenet.errors import SettingsError
from infusenet.guidance import attention
from infusenet.guidance.attention import match_moments, scale_power, soft_mask


def test_the_recorded_maps(fastface, attention_case, manipulation, deviation_of):
    golden = fastface(f"attention/{attention_case}")
    if "attn/transformed" not in golden:
        assert golden.meta["case"]["am"] is None or golden.meta["case"]["part"] == "mid"
        return
    case, raw = golden.meta["case"], fastface(golden.meta["raw"])["attn/raw"]
    half, mask = case["dtype"] == "float16", "attn/quantile" in golden
    settings = manipulation(case)
    for entry, step in enumerate(golden["attn/steps"].tolist()):
        got, want = settings.map(raw[step], case["part"], step), golden["attn/transformed"][entry]
        assert got.dtype == want.dtype and settings.acts(step)
        assert deviation_of(got, want) <= (3e-2 if half else 2e-3 if mask else 1e-4)
        if mask:
            moved = float((got.double() - want.double()).norm() / want.double().norm())
            assert moved <= (4e-3 if half else 1.5e-4)


def test_the_recorded_moments(fastface, deviation_of):
    """The map after AdaIN against the map before any change, and what was gathered after it, both as recorded."""
    golden = fastface("attention/am2_down")
    raw = fastface(golden.meta["raw"])["attn/raw"][:4]
    assert deviation_of(match_moments(golden["attn/transformed"], raw), golden["attn/blended"]) < 1e-4
    before = golden["attn/value_before_adain"]
    values = torch.linalg.lstsq(golden["attn/blended"], before).solution  # A' has full rank: V is what gave this
    torch.testing.assert_close(golden["attn/blended"] @ values, before, rtol=1e-3, atol=1e-4)
    got = match_moments(before, raw @ values)
    assert deviation_of(got, golden["attn/value"]) < 2e-3


# -- independent expectations ----------------------------------------------------------------------------------------


def soft(batch=2, tokens=4, queries=35):
    noise = torch.randn(batch, 3, queries, tokens, generator=torch.Generator().manual_seed(1))
    return (2 * noise).softmax(-1)


def test_power_then_scale_then_cap():
    attention = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 3, 1)
    got = scale_power(attention, 2, power=2, cap=1.5).flatten()
    assert got.tolist() == [0, 0.125, 1.5]
    assert scale_power(attention, 100).max() == 10  # the published cap


def by_hand(column, sharpness, quantile, scale, inverted):
    """One token of one head, by the formulas, in numpy's own words."""
    import numpy as np

    x = 1 - column if inverted else column
    edge = max(np.quantile(x, quantile), 1e-6)
    n = (x - x.min()) / (x.max() - x.min())
    y = 1 / (1 + np.exp(-sharpness * (n - edge)))
    z = np.minimum(scale * (y - y.min()) / (y.max() - y.min()), 10)
    return z.max() - z if inverted else z


def test_the_mask_by_hand():
    attention = soft()[:1, :1].double()
    got = soft_mask(attention, 7.5, 0.65, 1.55, invert=(0, 2))
    for token in range(4):
        want = by_hand(attention[0, 0, :, token].numpy(), 7.5, 0.65, 1.55, token in (0, 2))
        torch.testing.assert_close(got[0, 0, :, token], torch.from_numpy(want))


def test_a_picture_does_not_change_with_its_neighbours():
    attention = soft()
    attention[0] *= 0.3  # so that the other one spans more
    alone = soft_mask(attention[:1], 5, 0.65, 1.55)
    torch.testing.assert_close(soft_mask(attention, 5, 0.65, 1.55)[:1], alone)
    assert not torch.allclose(soft_mask(attention, 5, 0.65, 1.55, across="batch")[:1], alone, atol=1e-3)
    torch.testing.assert_close(soft_mask(attention[:1], 5, 0.65, 1.55, across="batch"), alone)


def test_the_threshold_is_rounded_only_on_request():
    attention = soft()
    exact, rounded = (soft_mask(attention, 50, 0.65, 1, round_quantile=flag) for flag in (False, True))
    assert 0 < (exact - rounded).abs().max() < 2e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("across", ["picture", "batch"])
@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_a_constant_map_is_only_scaled(dtype, across, level):
    attention = torch.full((2, 3, 5, 4), level, dtype=dtype)
    for quantile in (None, 0.65):
        got = soft_mask(attention, 5, quantile, 1.55, across=across)
        torch.testing.assert_close(got, (attention.float() * 1.55).to(dtype))
    assert torch.isfinite(soft_mask(soft(), 0, 0.65, 1.55)).all()  # an edge without slope


def test_one_constant_column_leaves_the_others_alone():
    attention = soft()
    attention[:, :, :, 1] = 0.25
    got = soft_mask(attention, 5, 0.65, 1.55)
    assert torch.isfinite(got).all() and (got[..., 1] == 0.25 * 1.55).all()
    assert torch.equal(got[..., 2:], soft_mask(attention[..., 2:], 5, 0.65, 1.55, invert=()))


def test_moments_come_near():
    values, like = soft() * 3 + 1, soft(tokens=4) * 0.1
    got = match_moments(values, like, 0)
    torch.testing.assert_close(got.mean(-1), like.mean(-1))
    torch.testing.assert_close(got.std(-1), like.std(-1), rtol=1e-3, atol=1e-6)
    assert torch.equal(match_moments(values, like, 1), values)
    assert torch.equal(match_moments(values, values.new_tensor(0.5).expand_as(values), 0), torch.full_like(values, 0.5))
    torch.testing.assert_close(match_moments(values, like, dim=(-2, -1), weight=0).mean((-2, -1)), like.mean((-2, -1)))


def test_moments_of_what_does_not_vary():
    flat = torch.full((1, 1, 5, 4), 0.25)
    torch.testing.assert_close(match_moments(flat, flat), flat)
    torch.testing.assert_close(match_moments(flat[..., :1], flat[..., :1] * 2, 0), flat[..., :1] * 2)
    assert match_moments(flat.half(), flat.half()).dtype == torch.float16


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attention": torch.zeros(4, 35, 4)}, r"\[B, heads, queries, tokens\], got \(4, 35, 4\)"),
        ({"quantile": 1.5}, "quantile between 0 and 1"),
        ({"sharpness": -1}, "0 or more as sharpness"),
        ({"scale": math.nan}, "0 or more as scale"),
        ({"across": "images"}, 'across="picture" or across="batch", got \'images\''),
        ({"invert": (4,)}, r"between 0 and 3, got \[4\]"),
    ],
)
def test_what_cannot_be_meant_is_told(changed, message):
    given = {"attention": soft(), "sharpness": 5, "quantile": 0.65, "scale": 1.55} | changed
    with pytest.raises(SettingsError, match=message):
        soft_mask(**given)


def test_the_smaller_ones_check_too():
    with pytest.raises(SettingsError, match="0 or more as power"):
        scale_power(soft(), 1, power=-1)
    with pytest.raises(SettingsError, match="the same shape"):
        match_moments(soft(), soft(batch=1))
    with pytest.raises(SettingsError, match="between 0 and 1, got 2"):
        match_moments(soft(), soft(), 2)


@pytest.mark.parametrize("tied", [False, True], ids=["all different", "tied"])
@pytest.mark.parametrize("queries", [1, 2, 35, 501])
@pytest.mark.parametrize("quantile", [0.0, 0.333, 0.6, 0.65, 1.0])
def test_the_threshold_is_torchs_quantile(quantile, queries, tied):
    values = torch.rand(2, 3, queries, 4, generator=torch.Generator().manual_seed(queries)) + 0.1
    values = (5 * values).floor() / 5 + 0.1 if tied else values
    want = values.quantile(quantile, dim=-2, keepdim=True)
    torch.testing.assert_close(attention._threshold(values, quantile, False), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_the_moments_of_products_follow_from_the_weights(offset, weight):
    generator = torch.Generator().manual_seed(11)
    changed, like = torch.rand(2, 2, 3, 40, 8, generator=generator).unbind()
    values = torch.randn(2, 3, 8, 32, generator=generator) + offset
    weights, shift = attention.match_products(changed, like, values, weight)
    got = weights @ values + (0 if shift is None else shift)
    want = match_moments(changed @ values, like @ values, weight)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    assert (shift is None) == (weight == 1)
