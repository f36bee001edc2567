"""Attention manipulation inside InfuseNet's blocks, against diffusers' own processors around an attention matrix."""

import math

import pytest
import torch

from infusenet.adapters.infusenet.attention import ManipulatedAttnProcessor, manipulating
from infusenet.adapters.infusenet.model import InfuseNetModel
from infusenet.guidance.joint import attention_named
from infusenet.guidance.manipulation import ScalePower

SETTINGS = {"scale": attention_named("scale", 3), "soft mask": attention_named("soft mask")}
NEUTRAL = ScalePower(up=1, down=1, power=1)
DISPATCH = "diffusers.models.transformers.transformer_flux.dispatch_attention_fn"


@pytest.fixture(scope="module")
def folder(goldens):
    return goldens.model("infusenet_2x4")


@pytest.fixture(scope="module")
def network(folder):
    return InfuseNetModel.load(folder)


@pytest.fixture(scope="module")
def given(goldens):
    case = goldens("cases/dev_batch2")
    return {
        "hidden_states": case["step/latents"][1],
        "controlnet_cond": case["cn/controlnet_cond"],
        "encoder_hidden_states": case["in/id_tokens"],
        "pooled_projections": case["in/pooled"],
        "timestep": case["cn/timestep"][1],
        "img_ids": case["tr/img_ids"],
        "return_dict": False,
    }


def residuals(network, given):
    dtype = next(network.parameters()).dtype
    given = {
        key: value.to(dtype) if torch.is_tensor(value) and key != "img_ids" else value for key, value in given.items()
    }
    with torch.no_grad():
        double, single = network(**given)
    return torch.stack([*double, *single]).float()


def by_matrix(manipulation):
    """diffusers' dispatch, [B, tokens, heads, d], with the image's attention to eight identity tokens changed."""

    def attend(query, key, value, **_):
        query, key, value = (x.transpose(1, 2).double() for x in (query, key, value))
        probabilities = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
        out = probabilities @ value
        paid, identity = probabilities[:, :, 8:, :8], value[:, :, :8]
        out[:, :, 8:] += manipulation.gather(paid, identity, "down", 0) - paid @ identity
        return out.transpose(1, 2).float()

    return attend


@pytest.mark.parametrize("kind", SETTINGS)
def test_residuals_are_those_of_an_attention_matrix(network, given, kind, monkeypatch):
    plain = residuals(network, given)
    with manipulating(network, SETTINGS[kind], 0, 8):
        got = residuals(network, given)
    monkeypatch.setattr(DISPATCH, by_matrix(SETTINGS[kind]))
    want = residuals(network, given)
    scale = float(plain.square().mean().sqrt())
    assert float((want - plain).abs().max()) > 0.05 * scale
    assert float((got - want).abs().max()) < 1e-5 * scale


def test_in_bfloat16_they_are_as_near_as_that_allows(folder, given, monkeypatch):
    network = InfuseNetModel.load(folder, dtype=torch.bfloat16)
    with manipulating(network, SETTINGS["scale"], 0, 8):
        got = residuals(network, given)
    monkeypatch.setattr(DISPATCH, lambda *qkv, **_: by_matrix(SETTINGS["scale"])(*qkv).bfloat16())
    want = residuals(network, given)
    assert float((got - want).square().mean().sqrt()) < 2e-2 * float(want.square().mean().sqrt())


def test_our_processor_without_a_change_is_diffusers_own(network, given):
    plain, processors = residuals(network, given), network.attn_processors
    network.set_attn_processor(ManipulatedAttnProcessor(NEUTRAL, 0, 8))
    try:
        got = residuals(network, given)
    finally:
        network.set_attn_processor(processors)
    torch.testing.assert_close(got, plain, rtol=0, atol=1e-5 * float(plain.square().mean().sqrt()))


@pytest.mark.exact
@pytest.mark.parametrize("nothing", [None, NEUTRAL, ScalePower(steps=(1, 2))], ids=["none", "neutral", "at rest"])
def test_neutral_settings_leave_the_stock_processors_at_work(network, given, nothing):
    before = network.attn_processors
    with manipulating(network, nothing, 0, 8):
        assert network.attn_processors == before
        got = residuals(network, given)
    assert torch.equal(got, residuals(network, given))


def test_the_networks_own_processors_come_back(network):
    before = network.attn_processors
    with pytest.raises(RuntimeError, match="interrupted"), manipulating(network, SETTINGS["scale"], 0, 8):
        assert all(isinstance(each, ManipulatedAttnProcessor) for each in network.attn_processors.values())
        raise RuntimeError("interrupted")
    after = network.attn_processors
    assert before.keys() == after.keys() and all(after[name] is each for name, each in before.items())


def test_fused_projections_are_read_too(folder, given):
    network = InfuseNetModel.load(folder)
    with manipulating(network, SETTINGS["scale"], 0, 8):
        apart = residuals(network, given)
        network.fuse_qkv_projections()
        fused = residuals(network, given)
    torch.testing.assert_close(fused, apart, rtol=0, atol=1e-5 * float(apart.square().mean().sqrt()))


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_picture_does_not_depend_on_its_neighbour(network, given, kind):
    first = {key: value[:1] if torch.is_tensor(value) and key != "img_ids" else value for key, value in given.items()}
    with manipulating(network, SETTINGS[kind], 0, 8):
        both, alone = residuals(network, given), residuals(network, first)
    scale = float(both.square().mean().sqrt())
    assert float((both[:, :1] - alone).abs().max()) < 1e-5 * scale
