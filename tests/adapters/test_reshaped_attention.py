"""A cross-attention layer with an IP-Adapter, reshaped: the original's recorded outputs, and whose the state is."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from diffusers.models.attention_processor import Attention, IPAdapterAttnProcessor2_0
from torch import nn

from infusenet.adapters.ip_adapter.attention import Clock, ReshapedAttention, reshaped
from infusenet.errors import SettingsError
from infusenet.guidance.manipulation import ScalePower, SoftMask, part_of

IP_SCALE = 0.8


class Tree(nn.Module):
    """A layer at its place in a UNet's tree of names."""

    def __init__(self, weights, part, dtype=torch.float32):
        super().__init__()
        attn = Attention(query_dim=32, cross_attention_dim=24, heads=4, dim_head=8)
        attn.set_processor(IPAdapterAttnProcessor2_0(32, 24, num_tokens=[4], scale=[IP_SCALE]))
        state = {key[len(part) + 1 :]: weights[key].float() for key in weights if key.startswith(f"{part}/")}
        attn.load_state_dict(state)
        self.__dict__["attn"] = attn.to(dtype).eval()  # no child of this one: its name is its place
        *place, last = weights.meta["names"][part].split(".")
        home = self
        for name in place:
            home.add_module(name, nn.Module())
            home = getattr(home, name)
        home.add_module(last, attn)

    def run(self, inputs, step, gain=1.0):
        dtype = self.attn.to_q.weight.dtype
        hidden, text, tokens = inputs["in/hidden"][step] * gain, inputs["in/text"], inputs["in/id_tokens"]
        with torch.no_grad():
            return self.attn(hidden.to(dtype), encoder_hidden_states=(text.to(dtype), [tokens.to(dtype)]))


@pytest.fixture
def down(fastface):
    return Tree(fastface("attention/weights"), "down"), fastface("attention/inputs_batch1")


def test_the_recorded_layers(fastface, attention_case, manipulation, deviation_of):
    golden = fastface(f"attention/{attention_case}")
    case = golden.meta["case"]
    half = case["dtype"] == "float16"
    tree = Tree(fastface("attention/weights"), case["part"], getattr(torch, case["dtype"]))
    inputs, clock = fastface(golden.meta["inputs"]), Clock()
    settings = manipulation(case)
    got = []
    for clock.step in range(case["steps"]):
        if settings is None or case["part"] == "mid":  # of which no layer is touched
            got.append(tree.run(inputs, clock.step, case["gain"]))
        else:
            with reshaped(tree, settings, clock):
                got.append(tree.run(inputs, clock.step, case["gain"]))
    mask = isinstance(settings, SoftMask)
    got, want = torch.stack(got), golden["out/hidden"]
    assert got.dtype == want.dtype
    golden.check("out/hidden", got, 3e-2 if half else 2e-3 if mask else 1e-4)
    if mask:
        moved = float((got.double() - want.double()).norm() / want.double().norm())
        assert moved <= (4e-3 if half else 1.5e-4)


def test_parts_by_name():
    names = {
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2": "down",
        "up_blocks.0.attentions.1.transformer_blocks.0.attn2": "up",
        "mid_block.attentions.0.transformer_blocks.0.attn2": None,
        "up_blocks.0.attentions.1.transformer_blocks.0.attn1": None,
    }
    assert {name: part_of(name) for name in names} == names


def test_after_a_run_the_layer_is_the_stock_one(down):
    tree, inputs = down
    before, stock = tree.run(inputs, 0), tree.attn.processor
    with pytest.raises(RuntimeError, match="interrupted"), reshaped(tree, SoftMask(), Clock()):
        assert isinstance(tree.attn.processor, ReshapedAttention)
        assert not torch.equal(tree.run(inputs, 0), before)
        raise RuntimeError("interrupted")
    assert tree.attn.processor is stock and torch.equal(tree.run(inputs, 0), before)
    assert [*dict(tree.attn.named_modules())].count("processor") == 1


def test_what_one_run_did_the_next_does_not_inherit(fastface):
    tree, inputs = Tree(fastface("attention/weights"), "up"), fastface("attention/inputs_batch1")
    with reshaped(tree, ScalePower(), Clock()):
        want = tree.run(inputs, 0)
    with reshaped(tree, SoftMask(), clock := Clock()):
        for clock.step in range(6):  # beyond the schedule's four: the last value goes on
            last = tree.run(inputs, 3)
    with reshaped(tree, SoftMask(), Clock(step=3)):
        assert torch.equal(tree.run(inputs, 3), last)
    with reshaped(tree, ScalePower(), Clock()):
        assert torch.equal(tree.run(inputs, 0), want)


def test_the_step_is_the_runs_and_nothing_counts(down):
    tree, inputs = down
    clock = Clock()
    with reshaped(tree, SoftMask(), clock):
        first = [tree.run(inputs, 0) for _ in range(6)]
        clock.step = 1
        second = tree.run(inputs, 0)
    assert all(torch.equal(one, first[0]) for one in first) and not torch.equal(second, first[0])


def test_a_resting_step_and_a_strength_of_nought_are_the_stock_layer(down):
    tree, inputs = down
    plain = tree.run(inputs, 0)
    with reshaped(tree, ScalePower(steps=(1,)), Clock()):
        assert torch.equal(tree.run(inputs, 0), plain)
    tree.attn.processor.scale = [0.0]
    silent = tree.run(inputs, 0)
    with reshaped(tree, ScalePower(), Clock()):
        torch.testing.assert_close(tree.run(inputs, 0), silent)


def test_without_an_adapter_it_is_refused(down):
    tree, inputs = down
    with reshaped(tree, ScalePower(), Clock()), pytest.raises(SettingsError, match="regional masks"):
        tree.attn(inputs["in/hidden"][0], encoder_hidden_states=(inputs["in/text"], [inputs["in/id_tokens"]]),
                  ip_adapter_masks=[torch.ones(1, 1, 5, 7)])  # fmt: skip
    with pytest.raises(SettingsError, match="No IP-Adapter"), reshaped(nn.Module(), ScalePower(), Clock()):
        pass
    with pytest.raises(SettingsError, match="between 0 and 3"), reshaped(tree, ScalePower(tokens=[4]), Clock()):
        tree.run(inputs, 0)
    with pytest.raises(SettingsError, match="one finite number"):
        SoftMask(sharpness=[])
    with pytest.raises(FrozenInstanceError):
        SoftMask().blend = 1
