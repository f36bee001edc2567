"""Whatever loaded the MODEL: quantised as GGUF loaders do it, patched, wrapped. Sigmas and Apply take it as it is."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

SIZES = [(2, 2), (16, 16), (15, 17), (108, 144), (144, 108), (128, 128), (64, 200)]  # latents; odd sides are padded


class Quantised(torch.nn.Module):
    """A linear layer kept in 8-bit integers with a scale a row, made whole when it is used."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        self.register_buffer("packed", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x):
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return torch.nn.functional.linear(x, (self.packed * self.scale).to(x.dtype), bias)


def quantise(module):
    for name, child in module.named_children():
        if isinstance(child, torch.nn.Linear):
            setattr(module, name, Quantised(child))
        else:
            quantise(child)


class Wrapped(torch.nn.Module):
    """A network behind another, which tells nothing of its sizes."""

    def __init__(self, network):
        super().__init__()
        self.network, self.dtype = network, network.dtype

    def forward(self, *args, **named):
        return self.network(*args, **named)


@pytest.fixture
def models(mini):
    """`models("mini-dev")`: the MODEL as many packs hand it on, by kind."""
    import comfy.model_patcher
    from comfy_extras.nodes_model_advanced import ModelSamplingFlux

    def make(name):
        plain = mini(name)[0]

        def again(change):
            inner = copy.copy(plain.model)
            inner._modules = dict(plain.model._modules)
            network = copy.deepcopy(plain.model.diffusion_model)
            inner.diffusion_model = change(network) or network
            return comfy.model_patcher.ModelPatcher(inner, plain.load_device, plain.offload_device)

        lora = plain.clone()
        key = "diffusion_model.single_blocks.0.linear1.weight"
        lora.add_patches({key: ("diff", (torch.full_like(plain.model.get_parameter(key), 0.01),))}, 1.0)
        shifted = getattr(ModelSamplingFlux, "patch", None) or ModelSamplingFlux.execute
        args = (plain, 1.15, 0.5, 864, 1152)
        shifted = (
            shifted(ModelSamplingFlux(), *args)
            if shifted is getattr(ModelSamplingFlux, "patch", None)
            else shifted(*args)
        )
        return {
            "plain": plain,
            "quantised": again(quantise),
            "wrapped": again(Wrapped),
            "lora": lora,
            "shifted": (getattr(shifted, "args", None) or shifted)[0],
        }

    return make


def published(variant, steps, tokens):
    """The published pipelines' noise levels, by diffusers alone."""
    diffusers = pytest.importorskip("diffusers")
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    dev = variant == "dev"
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0 if dev else 1.0, use_dynamic_shifting=dev)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=calculate_shift(tokens) if dev else None)
    return scheduler.sigmas


@pytest.mark.exact
@pytest.mark.parametrize("variant", ["dev", "schnell"])
def test_sigmas_are_bit_equal_to_diffusers_for_every_number_of_steps(run, mini, variant):
    model = mini(f"mini-{variant}")[0]
    for height, width in SIZES:
        latent = {"samples": torch.zeros(1, 16, height, width)}
        tokens = -(-height // 2) * -(-width // 2)
        for steps in range(1, 61):
            got, count = run("Sigmas", model=model, latent=latent, steps=steps, denoise=1.0)
            assert count == steps and torch.equal(got, published(variant, steps, tokens)), (height, width, steps)


@pytest.mark.exact
@pytest.mark.parametrize("variant", ["dev", "schnell"])
def test_sigmas_are_the_same_whatever_loaded_the_model(run, models, variant):
    latent = {"samples": torch.zeros(1, 16, 108, 144)}
    for kind, model in models(f"mini-{variant}").items():
        for steps in (0, 7):
            got, count = run("Sigmas", model=model, latent=latent, steps=steps, denoise=1.0)
            assert torch.equal(got, published(variant, count, 54 * 72)), kind
            assert count == (steps or (28 if variant == "dev" else 4))


@pytest.mark.exact
def test_apply_takes_every_model(run, mini, mini_infusenet, models):
    """The identity acts on each of them, and near what it does on the plain one where the weights are near."""
    import comfy.samplers

    _, clip, vae, _, _ = mini("mini-dev")
    text = clip.encode_from_tokens_scheduled(clip.tokenize("a portrait of a person"), add_dict={"guidance": 3.5})
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 16, 16, 16, generator=generator)
    identity = SimpleNamespace(tokens=torch.randn(1, 8, 96, generator=generator), recognizer=None, notices=())
    settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}
    applied = run("Apply", positive=text, infusenet=mini_infusenet, identity=identity, vae=vae, **settings)[0]

    def sample(model, positive):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, positive)
        guider.set_cfg(1.0)
        sigmas = torch.linspace(1, 0, 3)
        sampler = comfy.samplers.sampler_object("euler")
        return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=1)

    made = models("mini-dev")
    effect = {kind: sample(model, applied) - sample(model, text) for kind, model in made.items()}
    whole = effect["plain"]
    assert float(whole.norm()) > 1
    assert torch.equal(effect["wrapped"], whole)
    assert 0 < float((effect["quantised"] - whole).norm() / whole.norm()) < 0.2
    for kind in ("lora", "shifted"):
        assert bool(torch.isfinite(effect[kind]).all()) and float(effect[kind].norm()) > 0.1 * float(whole.norm())


def test_how_far_the_hosts_schedulers_are_from_the_exact_schedule(host):
    """What the help page of FLUX Sigmas and the KSampler template say, by the host's own schedulers."""
    import comfy.model_sampling
    import comfy.samplers

    class Dev(comfy.model_sampling.ModelSamplingFlux, comfy.model_sampling.CONST):
        pass

    class Schnell(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    def off(sampling, scheduler, variant, steps, tokens=4096):
        levels = comfy.samplers.calculate_sigmas(sampling, scheduler, steps)
        return float((levels - published(variant, steps, tokens)).abs().max())

    schnell = Schnell(None)
    schnell.set_parameters(shift=1.0, multiplier=1.0)
    for steps in range(1, 51):
        assert off(schnell, "simple", "schnell", steps) < (1e-6 if 1000 % steps == 0 else 1e-3)
    plain = Dev(None)
    plain.set_parameters(shift=1.15)  # the host's own for a FLUX dev
    without = {}
    for width, height in ((512, 512), (864, 1152), (1024, 1024), (1536, 1536)):
        tokens = width * height // 256
        patched = Dev(None)
        patched.set_parameters(shift=0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256))
        for steps in (20, 25, 28, 30, 40, 50):
            assert off(patched, "simple", "dev", steps, tokens) < (2e-6 if 10000 % steps == 0 else 5e-4)
        without[width] = round(off(plain, "simple", "dev", 28, tokens), 3)
        if width == 864:
            assert 0.09 < off(patched, "normal", "dev", 28, tokens) < off(patched, "normal", "dev", 20, tokens)
            assert off(patched, "beta", "dev", 28, tokens) > 0.14
    assert without == {512: 0.129, 864: 0.009, 1024: 0.0, 1536: 0.213}
