"""The host and the library make the same picture from the same seed: the command's picture is the template's."""

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("diffusers", reason="the library's own pipeline needs diffusers, which a ComfyUI does not")


@pytest.mark.parametrize(("backbone", "steps"), [("mini-schnell", 4), ("mini-dev", 28), ("mini-schnell", 1)])
def test_one_seed_one_picture(pack, run, mini, mini_infusenet, backbone, steps):
    """Within 3 of 255 grey levels at any pixel, through text, identity, schedule, sampling and decoding."""
    import comfy.sample
    import comfy.samplers

    tokens = torch.randn(1, 8, 96, generator=torch.Generator().manual_seed(4))
    model, clip, vae, _, guidance = mini(backbone)
    prompt = "a portrait of a person"
    text = clip.encode_from_tokens_scheduled(clip.tokenize(prompt), add_dict={"guidance": guidance})
    positive, negative = run(
        "Apply",
        positive=text,
        infusenet=mini_infusenet,
        identity=SimpleNamespace(tokens=tokens, recognizer=None, notices=()),
        vae=vae,
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
        gate="step",
        on_negative=False,
    )
    empty = torch.zeros(1, 16, 16, 16)
    sigmas, _ = run("Sigmas", model=model, latent={"samples": empty}, steps=steps, denoise=1.0)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(1.0)
    sampler = comfy.samplers.sampler_object("euler")
    latents = guider.sample(comfy.sample.prepare_noise(empty, 11), empty, sampler, sigmas, seed=11)
    got = vae.decode(latents)[0]

    pipeline = pack.module("infusenet.loading").load_pipeline(backbone, device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline(
        prompt=prompt,
        identity=tokens,
        num_inference_steps=steps,
        guidance_scale=guidance,
        width=128,
        height=128,
        max_sequence_length=40,
        generator=torch.Generator().manual_seed(11),
        output_type="pt",
    )
    want = result.images[0].permute(1, 2, 0)
    assert float((got - want).abs().max()) * 255 < 3
