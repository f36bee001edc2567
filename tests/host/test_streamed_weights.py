"""Newer hosts stream weights to an NVIDIA card while they sample. Here, on the CPU: what they ask of a pack for it."""

import copy

import pytest
import torch


@pytest.fixture(autouse=True)
def needs_streaming(host):
    import comfy.model_patcher

    if not hasattr(comfy.model_patcher, "ModelPatcherDynamic"):
        pytest.skip("this ComfyUI does not stream weights")


@pytest.fixture
def streaming(monkeypatch):
    """The host builds networks as it does where it streams their weights."""
    import comfy.memory_management

    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)


@pytest.fixture
def streamed(monkeypatch):
    """`streamed(patcher)`: it says that its weights are streamed; such a network cannot be copied."""

    def pretend(patcher):
        monkeypatch.setattr(patcher, "is_dynamic", lambda: True)
        monkeypatch.setattr(patcher.model, "dynamic_pins", _NoCopy(), raising=False)
        return patcher

    return pretend


class _NoCopy:
    def __deepcopy__(self, memo):
        raise TypeError("a buffer of the host's cannot be copied")


def weights(network):
    """CLIP's text_projection is left out: FLUX does not use it, and it is in no file."""
    state = network.state_dict()
    return {name: (tensor.dtype, tensor) for name, tensor in state.items() if "text_projection" not in name}


def assert_same_weights(network, other):
    ours, theirs = weights(network), weights(other)
    assert ours.keys() == theirs.keys() and len(ours) > 20
    for name, (dtype, tensor) in ours.items():
        assert dtype == theirs[name][0], name
        assert torch.equal(tensor.float(), theirs[name][1].float()), name


def test_a_window_asks_for_no_second_copy_of_the_model(run, mini, mini_infusenet, person, conditioned, pack):
    import comfy.hooks
    from comfy.controlnet import ControlNet
    from comfy.sampler_helpers import cond_has_hooks, get_hooks_from_cond

    encoder = run("LoadIdentityEncoder", image_proj="miniature", arcface="none", face_pack="none", device="cpu")[0]
    one = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error"}
    identity = run("EncodeIdentity", encoder=encoder, image=person, **one)[0]
    window = {"strength": 1.0, "start_percent": 0.0, "end_percent": 0.5, "gate": "step", "on_negative": False}
    applied = run(
        "Apply",
        positive=conditioned(),
        infusenet=mini_infusenet,
        identity=identity,
        vae=mini("mini-schnell")[2],
        **window,
    )[0]
    assert not cond_has_hooks(applied)
    clock = pack.module("nodes.infusenet.gate").clock_hooks()
    found = get_hooks_from_cond([options for _, options in applied], comfy.hooks.HookGroup())
    assert len(found.hooks) == len(clock.hooks) == 1
    another = ControlNet()  # of another pack, before ours: its wish is heard
    another.extra_hooks = clock
    applied[0][1]["control"].set_previous_controlnet(another)
    assert cond_has_hooks(applied)


@pytest.mark.parametrize("dtype", [None, torch.float8_e4m3fn])
def test_networks_are_built_with_the_same_weights(pack, streaming, monkeypatch, dtype):
    import comfy.memory_management

    spec = pack.module("infusenet.backbones").get_backbone("mini-schnell")
    path = pack.module("infusenet.miniature").INFUSENET
    mini, load = pack.module("nodes.flux.miniature"), pack.module("nodes.infusenet.load")

    def parts():
        return [
            mini.load_model(spec, dtype).model.diffusion_model,
            load.load_infusenet(path, dtype).control_model,
            mini.load_clip(16).cond_stage_model,
        ]

    lazily = parts()
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", False)
    for network, other in zip(lazily, parts(), strict=True):
        assert_same_weights(network, other)


@pytest.mark.parametrize("part", ["model", "clip", "vae"])
def test_the_host_can_load_a_part_afresh(mini, streamed, part):
    model, clip, vae, *_ = mini("mini-schnell")
    patcher = streamed({"model": model, "clip": clip.patcher, "vae": vae.patcher}[part])
    fresh = patcher.clone(disable_dynamic=True)
    assert fresh.model is not patcher.model
    assert_same_weights(fresh.model, patcher.model)


@pytest.mark.exact
def test_a_live_probe_looks_through_a_vae_whose_weights_are_streamed(pack, mini, streamed, monkeypatch):
    model, _, vae, *_ = mini("mini-schnell")
    decoders, latents = pack.module("nodes.probe.decoders"), torch.randn(1, 16, 16, 16)
    with torch.inference_mode():
        expected = decoders.small_decoder(vae, model.model, torch.device("cpu")).decode(latents)
        streamed(vae.patcher)
        with pytest.raises(TypeError, match="cannot be copied"):
            copy.deepcopy(vae.first_stage_model)
        decoder = decoders.small_decoder(vae, model.model, torch.device("cpu"))
        assert decoder.name == "tiny VAE" and torch.equal(decoder.decode(latents), expected)
        monkeypatch.setattr(vae.patcher, "cached_patcher_init", None)  # one whose loader did not say
        assert "preview" in decoders.small_decoder(vae, model.model, torch.device("cpu")).name
