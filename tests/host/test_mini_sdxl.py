"""mini-sdxl in the host is mini-sdxl in diffusers: texts, UNet with and without FaceID, few-step LoRA, pictures."""

import pytest
import torch

PROMPT = "a photo of a smiling person at the beach"


@pytest.fixture(scope="module")
def loaded(run):
    with torch.inference_mode():
        return {few: run("LoadMiniSDXL", few_steps=few) for few in (False, True)}


@pytest.fixture(scope="module")
def reference(pack):
    """The same by diffusers and transformers."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    folder = pack.module("infusenet.miniature").MINI_SDXL
    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel,
             "text_encoder_2": CLIPTextModelWithProjection}  # fmt: skip
    parts = {
        name: kind.from_pretrained(folder, subfolder=name, torch_dtype=torch.float32).eval()
        for name, kind in kinds.items()
    }
    return {**parts, "tokenizer": CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")}


def texts(reference, prompt):
    """(embeddings, pooled) as SDXL's pipeline makes them."""
    ids = reference["tokenizer"](
        prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    one, other = (reference[name](ids, output_hidden_states=True) for name in ("text_encoder", "text_encoder_2"))
    return torch.cat([one.hidden_states[-2], other.hidden_states[-2]], -1), other.text_embeds


def host_texts(clip, prompt):
    ((embedding, options),) = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    return embedding, options["pooled_output"]


@pytest.mark.parametrize("prompt", [PROMPT, "", "a pencil sketch of a sad person wearing a blue suit in the snow"])
def test_prompts_are_encoded_as_in_diffusers(loaded, reference, prompt, deviation_of):
    for got, want in zip(host_texts(loaded[True][1], prompt), texts(reference, prompt), strict=True):
        assert deviation_of(got, want) < 1e-4


def predicted(model, embedding, pooled, x, timestep):
    """The host's noise prediction of latents as diffusers has them."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Guider_Basic

    guider, seen = Guider_Basic(model), []
    guider.set_conds([[embedding, {"pooled_output": pooled}]])
    sigma = model.get_model_object("model_sampling").sigma(torch.tensor([float(timestep)]))

    def look(predict, start, sigmas, extra_args=None, callback=None, disable=None):
        scaled = x * (sigma**2 + 1).sqrt()
        seen.append((scaled - predict(scaled, sigma, **extra_args)) / sigma)
        return start

    levels = torch.cat([sigma, torch.zeros(1)])
    guider.sample(x, torch.zeros_like(x), comfy.samplers.KSAMPLER(look), levels, seed=0)
    return seen[0]


def original(reference, embedding, pooled, x, timestep, unet=None):
    size = torch.tensor([[128, 128, 0, 0, 128, 128]]).float()
    added = {"text_embeds": pooled, "time_ids": size}
    return (unet or reference["unet"])(x, timestep, encoder_hidden_states=embedding, added_cond_kwargs=added).sample


@pytest.fixture
def latents():
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("timestep", [999, 499, 249])
def test_the_unet_predicts_as_in_diffusers(loaded, reference, latents, timestep, deviation_of):
    embedding, pooled = texts(reference, PROMPT)
    want = original(reference, embedding, pooled, latents, timestep)
    assert deviation_of(predicted(loaded[False][0], embedding, pooled, latents, timestep), want) < 1e-4


def test_the_few_step_lora_is_the_one_that_diffusers_adds(pack, loaded, reference, latents, deviation_of):
    import copy

    lora = pack.module("infusenet.adapters.ip_adapter.lora")
    unet = copy.deepcopy(reference["unet"])
    lora.fuse(unet, lora.read_lora(pack.module("infusenet.miniature").FEW_STEP_LORA, unet))
    embedding, pooled = texts(reference, PROMPT)
    want = original(reference, embedding, pooled, latents, 499, unet)
    got = predicted(loaded[True][0], embedding, pooled, latents, 499)
    assert deviation_of(got, want) < 1e-4
    assert deviation_of(predicted(loaded[False][0], embedding, pooled, latents, 499), want) > 1e-2


@pytest.mark.parametrize("attention", ["none", "scale", "soft mask"])
def test_faceid_acts_as_in_diffusers(pack, run, loaded, reference, latents, person, attention, deviation_of):
    """By Load and Apply IP-Adapter here, by diffusers' own loader there, with the same embedding."""
    from safetensors.torch import load_file

    names = dict.fromkeys(["image_proj", "arcface", "face_pack"], "miniature")
    (encoder,) = run("LoadIdentityEncoder", **names, device="cpu")
    (adapter,) = run("LoadIPAdapter", ip_adapter="miniature")
    model, _ = run(
        "ApplyIPAdapter", model=loaded[False][0], ip_adapter=adapter, recognizer=encoder, image=person, weight=0.8,
        start_percent=0.0, end_percent=1.0, batch="fuse", lora_strength=1.0, attention=attention,
    )  # fmt: skip
    embedding, pooled = texts(reference, PROMPT)
    got = predicted(model, embedding, pooled, latents, 999)
    parts = {"image_proj": {}, "ip_adapter": {}}
    for key, value in load_file(pack.module("infusenet.miniature").FACEID).items():
        part, _, name = key.partition(".")
        parts[part][name] = value.float()
    unet = reference["unet"]
    stock = dict(unet.attn_processors)
    with torch.inference_mode(False):
        unet._load_ip_adapter_weights([parts], low_cpu_mem_usage=False)
    try:
        for processor in unet.attn_processors.values():
            if hasattr(processor, "scale"):
                processor.scale = [0.8]
        pictures = pack.module("nodes.convert").image_to_pictures(person)
        face = encoder.encode(pictures).embedding
        added = {"text_embeds": pooled, "time_ids": torch.tensor([[128, 128, 0, 0, 128, 128]]).float(),
                 "image_embeds": [face[:, None]]}  # fmt: skip
        manipulation = pack.module("nodes.ip_adapter.apply").MANIPULATIONS[attention]
        module = pack.module("infusenet.adapters.ip_adapter.attention")
        want = plainly(unet, latents, embedding, added) if manipulation is None else None
        if manipulation is not None:
            with module.reshaped(unet, manipulation, module.Clock()):
                want = plainly(unet, latents, embedding, added)
        assert deviation_of(got, want) < (2e-3 if attention == "soft mask" else 1e-4)
    finally:
        unet.encoder_hid_proj, unet.config.encoder_hid_dim_type = None, None
        unet.set_attn_processor(stock)
    assert deviation_of(original(reference, embedding, pooled, latents, 999), want) > 1e-2


def plainly(unet, latents, embedding, added):
    return unet(latents, 999, encoder_hidden_states=embedding, added_cond_kwargs=added).sample


def test_pictures_are_decoded_as_in_diffusers(loaded, reference, latents, deviation_of):
    want = reference["vae"].decode(latents / 0.13025).sample.div(2).add(0.5).clamp(0, 1).movedim(1, -1)
    got = loaded[True][2].decode(latents / 0.13025)
    assert deviation_of(got, want) < 1e-3
