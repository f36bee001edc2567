"""The miniature in the host: the same numbers as in the library's own stack (diffusers, transformers)."""

import pytest
import torch

PROMPTS = [
    "a portrait of a person",
    "",
    "A Man, smiling; 50% off!",
    "words nobody knows: zyxw qqq",
    "a detailed photo of a person with a red hat " * 8,
]


@pytest.fixture(scope="module")
def texts(pack):
    """Text encoding by transformers, as diffusers' FLUX pipelines call it."""
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

    folder = pack.module("infusenet.miniature").BACKBONES["mini-dev"]
    words, tokens = (
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        T5TokenizerFast.from_pretrained(folder / "tokenizer_2"),
    )
    clip = CLIPTextModel.from_pretrained(folder / "text_encoder").float()
    t5 = T5EncoderModel.from_pretrained(folder / "text_encoder_2").float()
    padded = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}

    def encode(prompt):
        pooled = clip(words(prompt, max_length=77, **padded).input_ids).pooler_output
        return t5(tokens(prompt, max_length=40, **padded).input_ids)[0], pooled

    return encode


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_are_encoded_as_in_diffusers(mini, texts, prompt):
    clip = mini("mini-schnell")[1]
    [[embedding, options]] = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    want, pooled = texts(prompt)
    torch.testing.assert_close(embedding, want, rtol=0, atol=1e-5)
    torch.testing.assert_close(options["pooled_output"], pooled, rtol=0, atol=1e-5)


def test_both_variants_share_text_encoders_and_vae(mini):
    """One widget changes the backbone and with it steps and guidance; what is loaded stays."""
    schnell, dev = mini("mini-schnell"), mini("mini-dev")
    assert schnell[1] is dev[1] and schnell[2] is dev[2] and schnell[0] is not dev[0]
    assert (schnell[3:], dev[3:]) == ((4, 0.0), (28, 3.5))
    assert mini("mini-dev")[0] is dev[0]


def test_vae_keeps_flux_latents(mini):
    vae = mini("mini-dev")[2]
    latents = vae.encode(torch.rand(2, 48, 80, 3))
    assert latents.shape == (2, 16, 6, 10)
    assert vae.decode(latents).shape == (2, 48, 80, 3)
    assert vae.encode_tiled(torch.rand(1, 640, 512, 3), tile_x=256, tile_y=256, overlap=32).shape == (1, 16, 80, 64)


@pytest.mark.parametrize(("backbone", "steps"), [("mini-dev", 28), ("mini-schnell", 4)])
@pytest.mark.parametrize("size", [(16, 16), (15, 17), (144, 108)])
def test_sigmas_follow_the_formula(run, mini, backbone, steps, size):
    """In float64; 0 steps mean the variant's own; an odd side is padded, as the host's FLUX does."""
    import math

    model = mini(backbone)[0]
    latent = {"samples": torch.zeros(1, 16, *size)}
    sigmas, count = run("Sigmas", model=model, latent=latent, steps=0, denoise=1.0)
    assert count == steps == len(sigmas) - 1
    tokens = math.ceil(size[0] / 2) * math.ceil(size[1] / 2)
    shift = math.exp((tokens - 256) / (4096 - 256) * (1.15 - 0.5) + 0.5) if backbone == "mini-dev" else 1.0
    want = [shift * t / (1 + (shift - 1) * t) for t in (1 - i / steps for i in range(steps + 1))]
    torch.testing.assert_close(sigmas, torch.tensor(want), rtol=3e-6, atol=1e-7)


@pytest.mark.exact
def test_denoise_is_the_tail_of_a_longer_schedule(run, mini):
    model = mini("mini-dev")[0]
    latent = {"samples": torch.zeros(1, 16, 16, 16)}
    whole = run("Sigmas", model=model, latent=latent, steps=20, denoise=1.0)[0]
    tail, count = run("Sigmas", model=model, latent=latent, steps=10, denoise=0.5)
    assert count == 10 and torch.equal(tail, whole[-11:])
    nothing, count = run("Sigmas", model=model, latent=latent, steps=10, denoise=0.0)
    assert count == 0 and nothing.numel() == 0


@pytest.mark.exact
def test_recorded_schedules(pack, goldens):
    """Every recorded schedule, both variants and real sizes, to the last bit that diffusers itself keeps."""
    published = pack.module("infusenet.backbones").published
    make = pack.module("nodes.flux.sigmas").sigmas_for
    entries = goldens.table("schedules")
    assert {entry["flavour"] for entry in entries} == {"dev", "schnell"}
    for entry in entries:
        sigmas, _ = make(published(entry["flavour"]), entry["image_seq_len"], entry["steps"], 1.0)
        torch.testing.assert_close(sigmas, torch.tensor(entry["sigmas_float32"]), rtol=0, atol=0)
