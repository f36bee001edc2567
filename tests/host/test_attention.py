"""Attention manipulation inside InfuseNet in the host: against the stock attention, a matrix, and the library."""

import math
from types import SimpleNamespace

import pytest
import torch

KINDS = ("scale", "soft mask")
SIZE = 16  # latents a side


def noise(batch):
    return torch.randn(batch, 16, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def evaluated(pack, parts, monkeypatch):
    """`evaluated(positive, ...)`: every control of one evaluation, with what InfuseNet itself was given."""
    import comfy.samplers

    kind, controls, given = pack.module("nodes.infusenet.adapter").InfuseNetControl, [], []
    original = kind.get_control

    def get_control(self, *args):
        control = original(self, *args)
        controls.append(torch.stack([*control["input"], *control["output"]]))
        return control

    def look(predict, start, sigmas, extra_args=None, callback=None, disable=None):
        predict(start, sigmas[0].expand(len(start)) * 0.7, **extra_args)
        return start

    def call(positive, negative=None, batch=1, cfg=1.0):
        controls.clear()
        given.clear()
        guider = comfy.samplers.CFGGuider(parts.model)
        guider.set_conds(positive, negative or parts.empty)
        guider.set_cfg(cfg)
        x = noise(batch)
        guider.sample(x, torch.zeros_like(x), comfy.samplers.KSAMPLER(look), torch.linspace(1, 0, 3), seed=3)
        return list(controls)

    monkeypatch.setattr(kind, "get_control", get_control)
    hook = parts.infusenet.control_model.register_forward_pre_hook(
        lambda _m, _a, named: given.append(named), with_kwargs=True
    )
    yield SimpleNamespace(call=call, given=given)
    hook.remove()


def assert_near(got, want):
    """Equal up to float32's rounding: within 1e-5 of the largest value (about 12 here), and of the whole."""
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * float(want.abs().max()))
    assert float((got - want).norm()) <= 1e-5 * float(want.norm())


def by_matrix(manipulation):
    """The host's attention, [B, heads, tokens, d], with what the image pays to eight identity tokens changed."""

    def attend(query, key, value, heads, **_):
        query, key, value = (x.double() for x in (query, key, value))
        probabilities = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
        out = probabilities @ value
        paid, identity = probabilities[:, :, 8:, :8], value[:, :, :8]
        out[:, :, 8:] += manipulation.gather(paid, identity, "down", 0) - paid @ identity
        return out.transpose(1, 2).flatten(2).float()

    return attend


@pytest.mark.parametrize("kind", KINDS)
def test_the_host_attends_as_with_a_matrix(pack, applied, evaluated, monkeypatch, kind):
    """The stock blocks around an attention matrix give the same residuals."""
    (plain,) = evaluated.call(applied()[0])
    (got,) = evaluated.call(applied(attention=kind, attention_scale=3.0)[0])
    manipulation = pack.module("infusenet.guidance.joint").attention_named(kind, 3.0)
    monkeypatch.setattr("comfy.ldm.flux.math.optimized_attention", by_matrix(manipulation))
    (want,) = evaluated.call(applied()[0])
    assert float((got - plain).abs().max()) > 0.05 * float(plain.square().mean().sqrt())
    assert_near(got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_the_host_and_the_library_are_one(pack, applied, evaluated, parts, kind):
    pytest.importorskip("diffusers", reason="the library's own network needs diffusers, which a ComfyUI does not")
    (got,) = evaluated.call(applied(attention=kind)[0])
    (given,) = evaluated.given
    library = pack.module("infusenet.adapters.infusenet.model").InfuseNetModel
    network = library.load(pack.module("infusenet.miniature").PARTS["infusenet"])
    pack_latents = pack.module("infusenet.sampling").pack_latents
    places = torch.cartesian_prod(torch.arange(SIZE // 2), torch.arange(SIZE // 2)).float()
    manipulation = pack.module("infusenet.guidance.joint").attention_named(kind)
    with (
        torch.inference_mode(),
        pack.module("infusenet.adapters.infusenet.attention").manipulating(network, manipulation, 0, 8),
    ):
        residuals = network(
            hidden_states=pack_latents(given["x"]),
            controlnet_cond=pack_latents(given["hint"]),
            encoder_hidden_states=given["context"],
            pooled_projections=given["y"],
            timestep=given["timesteps"],
            img_ids=torch.cat([torch.zeros(len(places), 1), places], dim=1),
            return_dict=False,
        )
    index = pack.module("infusenet.flux.blocks").residual_index
    flux = len(parts.model.model.diffusion_model.double_blocks), len(parts.model.model.diffusion_model.single_blocks)
    want = [
        some[index(block, blocks, len(some))]
        for some, blocks in zip(residuals, flux, strict=True)
        for block in range(blocks)
    ]
    assert_near(got, torch.stack(want))


@pytest.mark.exact
def test_neutral_settings_are_the_stock_attention(pack, applied, evaluated, parts, monkeypatch):
    (plain,) = evaluated.call(applied()[0])
    module = pack.module("nodes.infusenet.apply")
    nothing = pack.module("infusenet.guidance.manipulation").ScalePower(up=1, down=1, power=1)
    monkeypatch.setattr(module, "attention_named", lambda *_, **__: nothing)
    (neutral,) = evaluated.call(applied(attention="scale")[0])
    assert torch.equal(neutral, plain)


def test_nothing_of_the_network_stays_changed(pack, applied, evaluated, parts, monkeypatch):
    """After a run, and after one that broke off within the blocks."""
    blocks = [*parts.infusenet.control_model.double_blocks, *parts.infusenet.control_model.single_blocks]
    (plain,) = evaluated.call(applied()[0])
    evaluated.call(applied(attention="scale")[0])
    assert not any(block._forward_pre_hooks for block in blocks)
    with monkeypatch.context() as patch:
        patch.setattr(pack.module("nodes.infusenet.attention"), "manipulated_attention", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluated.call(applied(attention="scale")[0])
    assert not any(block._forward_pre_hooks for block in blocks)
    (again,) = evaluated.call(applied()[0])
    assert torch.equal(again, plain)


def test_a_host_that_does_not_ask_is_told(applied, evaluated, monkeypatch):
    """Rather than making the picture without what was asked for."""
    from comfy.ldm.modules.attention import attention_pytorch

    stock = attention_pytorch.__wrapped__
    monkeypatch.setattr("comfy.ldm.flux.math.optimized_attention", lambda *args, **named: stock(*args, **named))
    with pytest.raises(Exception, match="InfuseNet's attention cannot be changed"):
        evaluated.call(applied(attention="scale")[0])


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_both_sides_are_each_by_themselves(applied, evaluated, parts, kind):
    """A person a picture, the negative in the same batch: every part as it is alone."""
    both = applied(tokens=parts.tokens[:2], attention=kind, negative=parts.empty, on_negative=True)
    (batched,) = evaluated.call(*both, batch=2, cfg=3.0)
    assert batched.shape[1] == 4
    (positive,) = evaluated.call(both[0], batch=2)
    (negative,) = evaluated.call(both[1], batch=2)
    first = batched[:, :2], batched[:, 2:]
    halves = (
        first if float((first[0] - positive).abs().max()) < float((first[1] - positive).abs().max()) else first[::-1]
    )
    assert_near(halves[0], positive)
    assert_near(halves[1], negative)


def test_two_people_with_masks_have_settings_of_their_own(applied, evaluated, parts):
    left = torch.zeros(1, SIZE * 8, SIZE * 8)
    left[..., : SIZE * 4] = 1
    one = applied(mask=left, attention="scale", attention_scale=3.0)[0]
    two = applied(one, tokens=parts.tokens[1:2], mask=1 - left, attention="soft mask")[0]
    _, both = evaluated.call(two)  # the first control is heard within the second, and merged into it
    (alone,) = evaluated.call(one)
    (other,) = evaluated.call(applied(tokens=parts.tokens[1:2], mask=1 - left, attention="soft mask")[0])
    assert_near(both, alone + other)
