"""mini-sdxl's training code against diffusers and transformers, and its released files against their own loaders."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

pytest.importorskip("diffusers")

from infusenet.adapters.ip_adapter.lora import fuse, read_lora
from infusenet.miniature import FACEID, FEW_STEP_LORA, MINI_SDXL, sdxl
from infusenet.miniature.train import diffusion, perception


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """diffusers' own pipeline over the released folder, with FaceID through its own loader."""
    from diffusers import StableDiffusionXLPipeline

    loaded = StableDiffusionXLPipeline.from_pretrained(MINI_SDXL, torch_dtype=torch.float32, local_files_only=True)
    loaded.load_ip_adapter(str(FACEID.parent), subfolder="", weight_name=FACEID.name, image_encoder_folder=None)
    return loaded


@pytest.fixture(scope="module")
def own() -> Any:
    """The training's UNet with FaceID bound, and the released weights."""
    unet = sdxl.unet()
    faceid, lora = sdxl.FaceID(unet), sdxl.Lora(unet)
    for module, path in (
        (unet, MINI_SDXL / "unet" / "diffusion_pytorch_model.safetensors"),
        (faceid, FACEID),
        (lora, FEW_STEP_LORA),
    ):
        module.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return unet.eval(), faceid.eval(), lora


@torch.no_grad()
def test_texts_are_read_as_the_pipeline_reads_them(pipeline: Any) -> None:
    prompt = "a photo of a smiling person in a forest"
    states, _, pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
    text = diffusion.Text(pipeline.text_encoder.config.vocab_size, (0, 1))
    text.clip.load_state_dict(pipeline.text_encoder.state_dict())
    text.clip_2.load_state_dict(pipeline.text_encoder_2.state_dict())
    ids = pipeline.tokenizer(prompt, padding="max_length", max_length=40, return_tensors="pt").input_ids
    got_states, got_pooled = text(ids)
    torch.testing.assert_close(got_states, states, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(got_pooled, pooled, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_faceid_acts_as_diffusers_loads_it(pipeline: Any, own: Any) -> None:
    unet, faceid, _ = own
    faceid.bind(unet)
    x, t = drawn(2, 4, 16, 16), torch.tensor([900, 200])
    texts = drawn(2, sdxl.TEXT_TOKENS, sdxl.CONTEXT, seed=1), drawn(2, sdxl.TEXT_WIDTH, seed=2)
    face = torch.nn.functional.normalize(drawn(2, 512, seed=3), dim=1)
    got = diffusion.denoise(unet, x, t, texts, faceid.image_proj(face))
    added = {
        "text_embeds": texts[1],
        "time_ids": torch.tensor([sdxl.SIZE_CONDITION] * 2),
        "image_embeds": [face[:, None]],
    }
    want = pipeline.unet(x, t, texts[0], added_cond_kwargs=added).sample
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)
    assert (diffusion.denoise(unet, x, t, texts, faceid.image_proj(face.flip(0))) - want).abs().max() > 0.01


@torch.no_grad()
def test_the_lora_is_what_the_library_fuses(own: Any) -> None:
    unet, _, lora = own
    fused = sdxl.unet()
    fused.load_state_dict({key: value for key, value in unet.state_dict().items() if "processor" not in key})
    fuse(fused, read_lora(FEW_STEP_LORA, fused))
    merged = lora.merged(unet)
    assert len(merged) == len(load_file(FEW_STEP_LORA)) // 3 > 100
    state = fused.state_dict()
    for name, weight in merged.items():
        torch.testing.assert_close(state[name], weight, atol=1e-6, rtol=1e-5)


def test_steps_are_those_of_diffusers() -> None:
    scheduler = sdxl.few_step_scheduler()
    scheduler.set_timesteps(4)
    assert tuple(scheduler.timesteps.tolist()) == diffusion.GRID[:-1] == tuple(diffusion.trailing(4)[:-1])
    x, noise = drawn(1, 4, 16, 16), drawn(1, 4, 16, 16, seed=1)
    for now, after in pairwise(diffusion.GRID):
        a, b = diffusion.landing(now, after, torch.device("cpu"))
        want = scheduler.step(noise, now, x).prev_sample
        torch.testing.assert_close(a * x + b * noise, want, atol=2e-5, rtol=1e-5)
        x = want


@torch.no_grad()
def test_latents_have_sdxls_format(pipeline: Any) -> None:
    """Mean 0 and deviation 1 after SDXL's scale, which samplers and hosts apply without asking."""
    from infusenet.miniature.people import drawn_strangers

    pictures = torch.stack([torch.tensor(picture) for picture in drawn_strangers()]).permute(0, 3, 1, 2)
    latents = perception.encode(pipeline.vae, pictures)
    assert latents.shape == (16, 4, 16, 16)
    assert abs(float(latents.mean())) < 0.15 and abs(float(latents.std()) - 1) < 0.15
    again = perception.decode(pipeline.vae, latents)
    assert float((again - pictures / 255).square().mean()) < 10**-2.5  # 25 dB


def test_training_moves_the_loss_that_it_names() -> None:
    """One step of each stage at a toy size: only what should learn has gradients."""
    unet = sdxl.unet()
    torch.nn.init.normal_(unet.conv_out.weight, std=0.02)
    unet.requires_grad_(False)
    faceid = sdxl.FaceID(unet)
    faceid.bind(unet)
    lora = sdxl.Lora(unet)
    x, t = drawn(2, 4, 16, 16), torch.tensor([900, 200])
    texts = drawn(2, sdxl.TEXT_TOKENS, sdxl.CONTEXT, seed=1), drawn(2, sdxl.TEXT_WIDTH, seed=2)
    tokens = faceid.image_proj(drawn(2, 512, seed=3) / 22)
    diffusion.denoise(unet, x, t, texts, tokens, lora.merged(unet)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in faceid.parameters())
    ups = {name: p.grad for name, p in lora.named_parameters() if "lora_up" in name}
    assert len(ups) == len(lora.names) and all(grad is not None for grad in ups.values())
    assert len({id(p) for p in faceid.parameters()} & {id(p) for p in unet.parameters()}) == 26  # of 13 layers, shared


def test_the_quick_pipeline_is_sampled_as_it_was_taught() -> None:
    """DDIM over the folder's own settings must not clip: latents are no pictures."""
    from infusenet.loading import load_pipeline

    scheduler = load_pipeline("mini-sdxl-4step", device="cpu", text_encoders=False).scheduler
    taught = sdxl.few_step_scheduler()
    assert type(scheduler) is type(taught) and not scheduler.config.clip_sample
    for each in (scheduler, taught):
        each.set_timesteps(4)
    x, noise = drawn(1, 4, 16, 16), drawn(1, 4, 16, 16, seed=1)
    for t in taught.timesteps:
        want = taught.step(noise, t, x).prev_sample
        torch.testing.assert_close(scheduler.step(noise, t, x).prev_sample, want)
        x = want
