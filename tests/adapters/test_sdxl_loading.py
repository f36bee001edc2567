"""SDXL and FaceID from files: a small whole folder, files of the published layouts at true size, and wrong ones."""

import json
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from infusenet import miniature
from infusenet.adapters import get_adapter
from infusenet.adapters.ip_adapter.adapter import FaceIdAdapter
from infusenet.adapters.ip_adapter.encoder import FaceCondition, FaceIdEncoder, pixels_of
from infusenet.adapters.ip_adapter.lora import beside, fuse, read_lora
from infusenet.adapters.ip_adapter.weights import kind_of, load_faceid
from infusenet.backbones import BACKBONES
from infusenet.errors import SettingsError, WeightsError
from infusenet.generate import GenerateRequest, files_for, generate, load_adapter
from infusenet.generate import load_pipeline as load_prepared
from infusenet.guidance.decoupled import Decoupled
from infusenet.loading import load_pipeline


def random(module):
    """A network's own weights, drawn by a seed."""
    generator = torch.Generator().manual_seed(1)
    state = {key: torch.randn(value.shape, generator=generator) * 0.1 if value.is_floating_point() else value
             for key, value in module.state_dict().items()}  # fmt: skip
    module.load_state_dict(state)
    return module


@pytest.fixture(scope="module")
def folder(fastface, tmp_path_factory):
    """The goldens' UNet with a small VAE and text encoders, as a diffusers SDXL folder."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    home = tmp_path_factory.mktemp("sdxl")
    shutil.copytree(fastface.model("unet"), home / "unet")
    shutil.copytree(fastface.model("scheduler_sdxl"), home / "scheduler")
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(miniature.BACKBONES["mini-dev"] / "tokenizer", home / name)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    vae = AutoencoderKL(block_out_channels=[8] * 4, norm_num_groups=4, latent_channels=4, scaling_factor=0.13, **blocks)
    random(vae).save_pretrained(home / "vae")
    vocabulary = len(json.loads((home / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    for name, kind, width in (("text_encoder", CLIPTextModel, 8), ("text_encoder_2", CLIPTextModelWithProjection, 16)):
        config = CLIPTextConfig(
            vocab_size=vocabulary + 10, hidden_size=width, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, projection_dim=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )  # fmt: skip
        random(kind(config)).save_pretrained(home / name)
    (home / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": True}), encoding="utf-8")
    return home


def loaded(folder, **options):
    pipeline = load_pipeline(folder, device="cpu", **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def faceid(fastface):
    return fastface.model("ip_adapter_faceid_plusv2.safetensors")


def condition():
    generator = torch.Generator().manual_seed(5)
    unit = torch.nn.functional.normalize(torch.randn(1, 32, generator=generator), dim=1)
    return FaceCondition(unit, torch.randn(1, 17, 16, generator=generator), torch.zeros(1, 17, 16))


def test_a_folder_makes_a_picture_and_is_probed(folder, faceid):
    from infusenet.probe import ProbeRecorder, vae_decoder
    from tests.test_seams import Edges

    pipeline, adapter = loaded(folder), FaceIdAdapter(None, faceid)
    assert pipeline.spec.family == "sdxl" and (pipeline.spec.width, pipeline.spec.height) == (64, 64)
    adapter.bind(pipeline)
    request = GenerateRequest("a portrait", steps=3, guidance=1.0, seed=1, size=(70, 64))
    plain = generate(pipeline, condition(), request, adapter=adapter)
    assert plain.picture.shape == (64, 64, 3) and "multiple of 8" in plain.warnings[0]
    nobody = generate(pipeline, None, request, adapter=adapter)
    assert not np.array_equal(plain.picture, nobody.picture)
    measure = Edges()
    recorder = ProbeRecorder(measure, measure.reference([plain.picture]), vae_decoder(pipeline.vae))
    probed = generate(pipeline, condition(), request, adapter=adapter, recorder=recorder)
    assert np.array_equal(probed.picture, plain.picture)
    assert probed.trace.status == "complete" and [one.step for one in probed.trace.records] == [1, 2, 3]
    assert list(probed.trace.sigmas) == sorted(probed.trace.sigmas, reverse=True)
    assert (probed.trace.run.sampler, probed.trace.run.scheduler) == ("euler", "sdxl")


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"guidance_scale": 1.0}, 1),
        ({"guidance_scale": 0.0}, 1),  # as SDXL-Turbo's own code calls it
        ({"guidance_scale": 2.0}, 2),
        ({"decoupled": Decoupled("direction", a=2, rescale=0)}, 1),
        ({"decoupled": Decoupled(a=1, b=1, rescale=0)}, 1),
        ({"decoupled": Decoupled()}, 2),
    ],
)
def test_a_negative_prompt_is_read_where_a_branch_sees_it(folder, options, texts):
    pipeline, read = loaded(folder), []
    pipeline.text_encoder.register_forward_pre_hook(lambda *_: read.append(1))
    pipeline("a portrait", negative_prompt="hats", num_inference_steps=1, output_type="latent", **options)
    assert len(read) == texts


@pytest.mark.parametrize(
    ("name", "scheduler", "spacing", "first"),
    [
        ("sdxl-lcm", "LCMScheduler", None, 999),
        ("sdxl-hyper", "DDIMScheduler", "trailing", 999),
        ("sdxl-lightning", "EulerDiscreteScheduler", "trailing", 999),
        ("sdxl-turbo", "EulerAncestralDiscreteScheduler", "trailing", 999),
    ],
)
def test_every_quick_backbone_has_its_scheduler(folder, tmp_path, name, scheduler, spacing, first):
    options = {"expected": name, "text_encoders": False}
    if dict(BACKBONES[name].needs).get("lora"):
        with pytest.raises(SettingsError, match="is SDXL with a LoRA. Give the LoRA too: https"):
            loaded(folder, **options)
        options["lora"] = lora_file(tmp_path / "quick.safetensors", "kohya")
    pipeline = loaded(folder, **options)
    assert type(pipeline.scheduler).__name__ == scheduler and pipeline.spec is BACKBONES[name]
    if spacing:
        assert pipeline.scheduler.config.timestep_spacing == spacing
    pipeline.scheduler.set_timesteps(4)
    assert pipeline.scheduler.timesteps[0] == first


def test_a_single_unet_needs_the_other_parts(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    pipeline = loaded(file, components=folder, expected="sdxl-lightning", text_encoders=False)
    assert torch.equal(pipeline.unet.conv_in.weight, load_file(file)["conv_in.weight"])
    with pytest.raises(SettingsError, match="Give components="):
        loaded(file, expected="sdxl-lightning")


# -- LoRA ------------------------------------------------------------------------------------------------------------

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONVOLUTION = "down_blocks.0.downsamplers.0.conv"


def lora_file(path, layout, layer=LAYER, rank=2, shape=(32, 32)):
    generator = torch.Generator().manual_seed(3)
    down, up = torch.randn(rank, shape[1], generator=generator), torch.randn(shape[0], rank, generator=generator)
    kernel = torch.randn(rank, 16, 3, 3, generator=generator)
    if layout == "kohya":
        stem = f"lora_unet_{layer.replace('.', '_')}"
        other = f"lora_unet_{CONVOLUTION.replace('.', '_')}"
        state = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(1.0),
                 f"{other}.lora_down.weight": kernel, f"{other}.alpha": torch.tensor(2.0),
                 f"{other}.lora_up.weight": torch.ones(16, rank, 1, 1)}  # fmt: skip
    elif layout == "peft":
        state = {f"unet.{layer}.lora_A.weight": down, f"unet.{layer}.lora_B.weight": up}
    else:
        state = {f"unet.{layer}.lora.down.weight": down, f"unet.{layer}.lora.up.weight": up}
    save_file(state, path)
    return path


@pytest.mark.parametrize("part", ["to_q", "to_out.0"])
@pytest.mark.parametrize("layout", ["kohya", "peft", "diffusers"])
def test_a_lora_is_fused_in_any_layout(folder, tmp_path, layout, part):
    layer = LAYER.replace("to_q", part)
    path = lora_file(tmp_path / "lora.safetensors", layout, layer)
    plain, quick = loaded(folder, text_encoders=False), loaded(folder, text_encoders=False, lora=path)
    state = load_file(path)
    down, up = (next(value for key, value in state.items() if half in key and value.ndim == 2)
                for half in (("down", "up") if layout != "peft" else ("lora_A", "lora_B")))  # fmt: skip
    scale = 0.5 if layout == "kohya" else 1.0  # alpha 1 of rank 2
    before, after = (one.unet.get_submodule(layer).weight for one in (plain, quick))
    torch.testing.assert_close(after - before, scale * up @ down, rtol=1e-4, atol=1e-5)
    if layout == "kohya":
        before, after = (one.unet.get_submodule(CONVOLUTION).weight for one in (plain, quick))
        kernel = next(value for value in state.values() if value.shape == (2, 16, 3, 3))
        torch.testing.assert_close(after - before, kernel.sum(0).expand(16, -1, -1, -1), rtol=1e-4, atol=1e-5)
    changed = [
        key for key, value in quick.unet.state_dict().items() if not torch.equal(value, plain.unet.state_dict()[key])
    ]
    assert len(changed) == (2 if layout == "kohya" else 1)


def test_a_lora_beside_the_layers_is_what_fusing_gives(folder, tmp_path):
    path = lora_file(tmp_path / "lora.safetensors", "peft")
    unet = loaded(folder, text_encoders=False).unet
    layer, x = unet.get_submodule(LAYER), torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    lora, before = read_lora(path, unet), layer(x)
    with beside(unet, lora, lambda: 0.5):
        half = layer(x)
    assert torch.equal(layer(x), before)
    fuse(unet, {name: part._replace(scale=0.5 * part.scale) for name, part in lora.items()})
    torch.testing.assert_close(layer(x), half)
    assert not torch.allclose(half, before)


def test_a_wrong_lora_is_refused(folder, tmp_path, faceid):
    for options in ({"shape": (64, 32)}, {"layer": "mid_block.attentions.7.to_q"}):
        path = lora_file(tmp_path / "lora.safetensors", "peft", **options)
        with pytest.raises(WeightsError, match="does not fit this backbone's UNet"):
            loaded(folder, text_encoders=False, lora=path)
    with pytest.raises(WeightsError, match="does not fit this backbone's UNet: it has no layers|is not a LoRA"):
        loaded(folder, text_encoders=False, lora=faceid)
    with pytest.raises(SettingsError, match="lora= is for SDXL"):
        load_pipeline("mini-schnell", lora=path, device="cpu")


# -- FaceID's own LoRA, and a pickle ---------------------------------------------------------------------------------


def with_lora(faceid, unet):
    """The published layout of FaceID: its LoRA lies under the numbers of the attention layers."""
    state, generator = load_file(faceid), torch.Generator().manual_seed(2)
    for number, name in enumerate(unet.attn_processors):
        for part in ("to_q", "to_k", "to_v", "to_out"):
            layer = unet.get_submodule(name.removesuffix("processor") + part + ".0" * (part == "to_out"))
            stem = f"ip_adapter.{number}.{part}_lora"
            state[f"{stem}.down.weight"] = torch.randn(2, layer.in_features, generator=generator) * 0.1
            state[f"{stem}.up.weight"] = torch.randn(layer.out_features, 2, generator=generator) * 0.1
    return state


def test_the_published_pickle_with_its_lora(folder, faceid, tmp_path):
    pipeline = loaded(folder)
    state = with_lora(faceid, pipeline.unet)
    parts = {part: {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(part)}
             for part in ("image_proj", "ip_adapter")}  # fmt: skip
    torch.save(parts, tmp_path / "ip-adapter-faceid-plusv2_sdxl.bin")
    weights = load_faceid(tmp_path / "ip-adapter-faceid-plusv2_sdxl.bin", pipeline.unet)
    assert weights.plus and len(weights.processors) == 11 and len(weights.lora) == 2 * 11 * 4
    before = {key: value.clone() for key, value in pipeline.unet.state_dict().items()}
    request = GenerateRequest("a portrait", steps=2, guidance=1.0)
    with_, without, none = (
        generate(pipeline, condition(), request, adapter=adapter).picture
        for adapter in (
            FaceIdAdapter(None, tmp_path / "ip-adapter-faceid-plusv2_sdxl.bin"),
            FaceIdAdapter(None, tmp_path / "ip-adapter-faceid-plusv2_sdxl.bin", lora_weight=0),
            FaceIdAdapter(None, faceid),
        )
    )
    assert np.array_equal(without, none) and not np.array_equal(with_, none)
    whole = FaceIdAdapter(None, tmp_path / "ip-adapter-faceid-plusv2_sdxl.bin")
    closed, plain = (
        generate(pipeline, condition(), replace(request, **given), adapter=whole).picture
        for given in ({"start": 1.0}, {"strength": 0.0})
    )
    assert np.array_equal(closed, plain)  # outside its window neither the tokens nor the LoRA act
    assert all(torch.equal(value, before[key]) for key, value in pipeline.unet.state_dict().items())


# -- true sizes ------------------------------------------------------------------------------------------------------

SDXL_UNET = {
    "sample_size": 128,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def header_only(path, shapes):
    """A safetensors file of these tensors in half precision whose data are a hole, so that it takes no room."""
    entries, offset = {}, 0
    for name, shape in shapes.items():
        length = int(np.prod(shape)) * 2
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    return path


def projection_shapes(width, plus):
    """The published projection's names and shapes."""
    if not plus:
        return {"proj.0.weight": (1024, 512), "proj.0.bias": (1024,), "proj.2.weight": (4 * width, 1024),
                "proj.2.bias": (4 * width,), "norm.weight": (width,), "norm.bias": (width,)}  # fmt: skip
    look = 1280
    shapes = {"proj.0.weight": (1024, 512), "proj.0.bias": (1024,), "proj.2.weight": (4 * width, 1024),
              "proj.2.bias": (4 * width,), "norm.weight": (width,), "norm.bias": (width,)}  # fmt: skip
    shapes |= {f"perceiver_resampler.proj_in.{part}": shape for part, shape in
               (("weight", (width, look)), ("bias", (width,)))}  # fmt: skip
    shapes |= {f"perceiver_resampler.proj_out.{part}": shape for part, shape in
               (("weight", (width, width)), ("bias", (width,)))}  # fmt: skip
    shapes |= {f"perceiver_resampler.norm_out.{part}": (width,) for part in ("weight", "bias")}
    for layer in range(4):
        stem, inner = f"perceiver_resampler.layers.{layer}", width
        for norm in ("norm1", "norm2"):
            shapes |= {f"{stem}.0.{norm}.{part}": (width,) for part in ("weight", "bias")}
        shapes |= {f"{stem}.0.to_q.weight": (inner, width), f"{stem}.0.to_kv.weight": (2 * inner, width),
                   f"{stem}.0.to_out.weight": (width, inner), f"{stem}.1.0.weight": (width,),
                   f"{stem}.1.0.bias": (width,), f"{stem}.1.1.weight": (4 * width, width),
                   f"{stem}.1.3.weight": (width, 4 * width)}  # fmt: skip
    return shapes


def adapter_shapes(unet, plus=True, width=2048, lora=True):
    shapes = {f"image_proj.{key}": shape for key, shape in projection_shapes(width, plus).items()}
    for number, name in enumerate(unet.attn_processors):
        attn = unet.get_submodule(name.removesuffix(".processor"))
        if ".attn2." in name:
            for part in ("to_k", "to_v"):
                shapes[f"ip_adapter.{number}.{part}_ip.weight"] = (attn.to_k.out_features, width)
        for part, layer in (("to_q", attn.to_q), ("to_k", attn.to_k), ("to_v", attn.to_v), ("to_out", attn.to_out[0])):
            if lora:
                shapes[f"ip_adapter.{number}.{part}_lora.down.weight"] = (128, layer.in_features)
                shapes[f"ip_adapter.{number}.{part}_lora.up.weight"] = (layer.out_features, 128)
    return shapes


@pytest.fixture(scope="module")
def true_unet():
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel(**SDXL_UNET)


@pytest.mark.parametrize("plus", [True, False])
def test_a_faceid_of_true_size_loads(true_unet, tmp_path, plus):
    path = header_only(tmp_path / "faceid.safetensors", adapter_shapes(true_unet, plus))
    weights = load_faceid(path, true_unet)
    assert weights.plus is plus and len(weights.processors) == 70 and len(weights.lora) == 140 * 4
    down = [name for name in weights.processors if "down" in name]
    up = [name for name in weights.processors if "up" in name]
    assert (len(down), len(up)) == (24, 36)


def test_a_lightning_unet_of_true_size_has_the_layout(true_unet, tmp_path, monkeypatch):
    from infusenet.adapters.ip_adapter.loading import _unet
    from infusenet.weights import files

    (tmp_path / "config.json").write_text(json.dumps(SDXL_UNET), encoding="utf-8")
    shapes = {key: tuple(value.shape) for key, value in true_unet.state_dict().items()}
    file = header_only(tmp_path / "sdxl_lightning_4step_unet.safetensors", shapes)
    monkeypatch.setattr(files, "read_weights", lambda path: {})  # five gigabytes of nothing
    monkeypatch.setattr(files, "load_checked", lambda *_: torch.nn.Linear(1, 1))
    assert isinstance(_unet(file, tmp_path, torch.float16, torch.device("cpu")), torch.nn.Linear)  # so all of it fitted
    del shapes["mid_block.attentions.0.norm.weight"]
    short = header_only(tmp_path / "short.safetensors", shapes)
    with pytest.raises(WeightsError, match="1 missing"):
        _unet(short, tmp_path, torch.float16, torch.device("cpu"))


def quick_shapes(unet, named, rank=64):
    """A quick LoRA of kohya's layout at true size, as LCM's: all layers but the first, the last and the embeddings."""
    shapes = {}
    for name, layer in unet.named_modules():
        inside = name.startswith(("down_blocks", "mid_block", "up_blocks")) and hasattr(layer, "weight")
        if not inside or layer.weight.ndim == 1 or (written := named(name)) is None:
            continue
        out, into, *kernel = layer.weight.shape
        shapes[f"lora_unet_{written}.alpha"] = ()
        shapes[f"lora_unet_{written}.lora_down.weight"] = (rank, into, *kernel)
        shapes[f"lora_unet_{written}.lora_up.weight"] = (out, rank, *[1] * len(kernel))
    return shapes


def as_published(name):
    return name.replace(".", "_")


def as_first_published(name):
    """By the numbers that Stability gave SDXL's blocks, as training programs write it; those have attention alone."""
    half, block, kind, layer, *rest = name.split(".") if name[0] in "du" else ("mid", 0, *name.split(".")[1:])
    if kind != "attentions":
        return None
    number = {"down_blocks": 3 * int(block) + int(layer) + 1, "up_blocks": 3 * int(block) + int(layer)}.get(half, 1)
    where = {"down_blocks": f"input_blocks_{number}_1", "up_blocks": f"output_blocks_{number}_1"}
    return "_".join([where.get(half, "middle_block_1"), *rest])


@pytest.mark.parametrize(("named", "layers"), [(as_published, 788), (as_first_published, 722)])
def test_a_quick_lora_of_true_size_loads(true_unet, tmp_path, named, layers):
    path = header_only(tmp_path / "pytorch_lora_weights.safetensors", quick_shapes(true_unet, named))
    lora, known = read_lora(path, true_unet), dict(true_unet.named_modules())
    assert len(lora) == layers
    for name, (down, up, _) in lora.items():
        assert (up.shape[0], *down.shape[1:]) == tuple(known[name].weight.shape)


def test_a_quick_lora_for_another_base_is_refused(true_unet, tmp_path):
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        old = UNet2DConditionModel(cross_attention_dim=768)
    for shapes, unet in (
        (quick_shapes(old, as_published, 4), true_unet),
        (quick_shapes(true_unet, as_published, 4), old),
    ):
        path = header_only(tmp_path / "pytorch_lora_weights.safetensors", shapes)
        with pytest.raises(WeightsError, match="does not fit this backbone's UNet: of its .* layers, .* are unknown"):
            read_lora(path, unet)


# -- what does not fit -----------------------------------------------------------------------------------------------


def test_a_file_for_another_base_is_named(true_unet, folder, tmp_path, faceid):
    from diffusers import UNet2DConditionModel

    sd15 = adapter_shapes(true_unet, plus=False, width=768, lora=False)
    keys = [key for key in sd15 if not key.startswith("ip_adapter.")] + [key for key in sd15 if "_ip." in key][:32]
    path = header_only(tmp_path / "ip-adapter-faceid_sd15.safetensors", {key: sd15[key] for key in keys})
    with pytest.raises(WeightsError, match=r"for Stable Diffusion 1.5, with 16 layers; this backbone \(SDXL\) has 70"):
        load_faceid(path, true_unet)
    with torch.device("meta"):
        old = UNet2DConditionModel(cross_attention_dim=768)
    sdxl = header_only(tmp_path / "ip-adapter-faceid_sdxl.safetensors", adapter_shapes(true_unet, lora=False))
    with pytest.raises(WeightsError, match=r"for SDXL, with 70 layers; this backbone \(Stable Diffusion 1.5\) has 16"):
        load_faceid(sdxl, old)
    with pytest.raises(WeightsError, match="h94/IP-Adapter-FaceID"):
        load_faceid(faceid, true_unet)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight"], "an IP-Adapter for FLUX. On SDXL use"),
        (["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"], "for pictures, which reads no faces"),
        (["image_proj.latents", "ip_adapter.1.to_k_ip.weight"], "IP-Adapter plus, which reads no faces"),
        (["conv_in.weight"], "Expected an IP-Adapter FaceID"),
    ],
)
def test_other_files_are_told_for_what_they_are(tmp_path, keys, message):
    save_file({key: torch.ones(2, 2) for key in keys}, tmp_path / "file.safetensors")
    with pytest.raises(WeightsError, match=message):
        kind_of(tmp_path / "file.safetensors")


def test_plus_needs_clip_vision(folder, faceid):
    encoder = FaceIdEncoder(None, None, None)
    with pytest.raises(WeightsError, match="Give the CLIP vision network"):
        FaceIdAdapter(encoder, faceid).bind(loaded(folder, text_encoders=False))
    with pytest.raises(SettingsError, match="needs an SDXL pipeline"):
        FaceIdAdapter(None, faceid).bind(object())


def test_another_backbone_is_refused(folder, tmp_path):
    wrong = tmp_path / "wrong"
    shutil.copytree(folder, wrong)
    state = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    kept = {key: value for key, value in state.items() if not key.startswith("add_embedding")}
    save_file(kept, wrong / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(WeightsError, match="of Stable Diffusion 1 or 2. Choose an SDXL one"):
        loaded(wrong)
    shutil.copytree(folder / "unet", wrong / "unet", dirs_exist_ok=True)
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    (wrong / "scheduler" / "scheduler_config.json").write_text(json.dumps(config | {"prediction_type": "v_prediction"}))
    with pytest.raises(WeightsError, match="predicts v_prediction, not noise"):
        loaded(wrong)
    shutil.rmtree(wrong / "vae")
    with pytest.raises(WeightsError, match="vae/ was not found in"):
        loaded(wrong)
    with pytest.raises(WeightsError, match="no weights at"):
        loaded("nowhere", expected="sdxl")
    with pytest.raises(SettingsError, match="works with sdxl, not with flux"):
        files_for("mini-dev", (), adapter="ip-adapter-faceid")
    with pytest.raises(SettingsError, match="InfuseNet works with flux, not with sdxl"):
        files_for(folder, ())


def test_files_are_found_by_name(tmp_path, folder):
    models = tmp_path / "models"
    for name in ("loras/Hyper-SDXL-4steps-lora.safetensors", "ipadapter/ip-adapter-faceid-plusv2_sdxl.bin",
                 "insightface/models/buffalo_l/w600k_r50.onnx",
                 "diffusers/stable-diffusion-xl-base-1.0/model_index.json",
                 "insightface/models/antelopev2/scrfd_10g_bnkps.onnx"):  # fmt: skip
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).touch()
    files = files_for("sdxl-hyper", [models], adapter="ip-adapter-faceid")
    assert files.options == {"lora": models / "loras/Hyper-SDXL-4steps-lora.safetensors"}
    assert set(files.parts) == {"ip_adapter", "id_recognizer"} and files.expected == "sdxl-hyper"
    assert files.backbone == models / "diffusers/stable-diffusion-xl-base-1.0"
    assert files.names()["lora"] == "Hyper-SDXL-4steps-lora.safetensors"
    given = files_for("sdxl-hyper", [models], adapter="ip-adapter-faceid", lora=folder, image_encoder=folder)
    assert given.options == {"lora": folder} and given.parts["image_encoder"] == folder
    with pytest.raises(WeightsError, match="LCM's LoRA for SDXL was not found.*--lora"):
        files_for("sdxl-lcm", [models], adapter="ip-adapter-faceid")


# -- the miniature ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mini():
    files = files_for("mini-sdxl-4step", (), adapter="ip-adapter-faceid")
    adapter = load_adapter(files, "cpu")
    return load_prepared(files, "cpu", adapter=adapter), adapter, files


def test_the_miniature_makes_its_person_and_no_other(mini):
    """The judging recognizer, which conditioned nothing, finds the person of the photo rather than another."""
    from infusenet.miniature.people import drawn_reference

    pipeline, adapter, files = mini
    assert pipeline.spec.name == "mini-sdxl-4step" and type(pipeline.scheduler).__name__ == "DDIMScheduler"
    assert files.names()["lora"] == miniature.FEW_STEP_LORA.name and "image_encoder" not in files.parts
    judge, photos = miniature.judging_recognizer(), [drawn_reference(number) for number in (0, 1)]
    faces = np.stack([judge.embed_picture(photo) for photo in photos])
    request = GenerateRequest("a photo of a person in a forest", strength=1.5)
    made = [generate(pipeline, adapter.encode([photo]), request, adapter=adapter).picture for photo in photos]
    likeness = np.stack([judge.embed_picture(picture) for picture in made]) @ faces.T
    assert likeness[0, 0] > likeness[0, 1] and likeness[1, 1] > likeness[1, 0]


def test_the_request_reaches_guidance_and_attention(mini):
    from infusenet.miniature.people import drawn_reference

    pipeline, adapter, _ = mini
    condition = adapter.encode([drawn_reference(0)])
    request = GenerateRequest("a photo of a person in a forest", steps=2)
    plain, *changed = (
        generate(pipeline, condition, replace(request, **given), adapter=adapter).picture
        for given in ({}, {"decoupled": "identity"}, {"attention": "scale"}, {"attention": "soft mask"})
    )
    assert all(not np.array_equal(plain, picture) for picture in changed)
    neutral = generate(pipeline, condition, replace(request, decoupled="identity a=1 b=1 rescale=0"), adapter=adapter)
    assert np.array_equal(plain, neutral.picture)
    nobody, guided = (
        generate(pipeline, condition, replace(request, strength=0, decoupled=words), adapter=adapter).picture
        for words in ("none", "direction a=2 rescale=0")
    )
    apart = np.abs(nobody.astype(int) - guided)  # without an identity there is no direction towards it
    assert apart.max() <= 2, "more than what a batch of two is rounded otherwise"


def test_two_people_in_a_batch_are_each_as_alone(mini):
    from infusenet.guidance.manipulation import SoftMask
    from infusenet.miniature.people import drawn_reference

    pipeline, adapter, _ = mini
    people = [adapter.encode([drawn_reference(number)]) for number in (0, 1)]
    prompts = ["a photo of a person", "a painting of a person"]
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))

    def made(embeddings, prompts, latents):
        with adapter.acting(pipeline, FaceCondition(embeddings), GenerateRequest("two people")) as given:
            options = given | {"attention": SoftMask(), "decoupled": Decoupled("direction", a=2, rescale=0)}
            return pipeline(prompt=prompts, latents=latents, output_type="latent", **options).images

    embeddings = torch.cat([person.embedding for person in people])
    together = made(embeddings, prompts, noise)
    for item in (0, 1):
        alone = made(embeddings[item : item + 1], prompts[item : item + 1], noise[item : item + 1])
        torch.testing.assert_close(together[item : item + 1], alone, rtol=1e-3, atol=1e-3)
    with pytest.raises(SettingsError, match="Expected identities for 2 prompts"):
        made(torch.cat([embeddings, embeddings[:1]]), prompts, noise)


def test_what_was_moved_since_it_was_bound_still_acts(mini, fastface, folder, faceid, tmp_path):
    save_file(with_lora(faceid, loaded(folder).unet), tmp_path / "faceid.safetensors")
    pipeline, adapter = loaded(folder), FaceIdAdapter(None, tmp_path / "faceid.safetensors")
    adapter.bind(pipeline)
    torch.nn.Module.to(pipeline.unet, torch.float64)
    run = GenerateRequest("a portrait")
    with adapter.acting(pipeline, condition(), run) as given:
        states = given["identity"]
        states.begin(0, 1)
        text = torch.zeros(1, 13, 24, dtype=torch.float64)
        added = {"text_embeds": torch.zeros(1, 16, dtype=torch.float64), "time_ids": torch.zeros(1, 6)}
        tokens = [states.face[:, None].double()]
        out = pipeline.unet(torch.ones(1, 4, 8, 8, dtype=torch.float64), 999, (text, tokens), added_cond_kwargs=added)
    assert out.sample.dtype == torch.float64 and bool(out.sample.isfinite().all())


# -- photos ----------------------------------------------------------------------------------------------------------


def test_a_photo_is_read_by_recognizer_and_clip(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from infusenet.miniature.people import drawn_reference

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
                              image_size=224, patch_size=56, projection_dim=16)  # fmt: skip
    random(CLIPVisionModelWithProjection(config)).save_pretrained(tmp_path)
    photo = drawn_reference(1)
    encoder = FaceIdEncoder.from_files(miniature.ARCFACE, miniature.FACE_PACK, tmp_path)
    found = encoder.encode([photo])
    assert found.embedding.shape == (1, 512) and float(found.embedding.norm()) == pytest.approx(1, abs=1e-5)
    assert found.look.shape == found.blank.shape == (1, 17, 16) and found.recognizer == miniature.ARCFACE.name
    assert not torch.equal(found.look, found.blank)
    assert get_adapter("ip-adapter-faceid").optional == ("image_encoder",)


def test_clip_sees_the_crop_as_bgr():
    crop = np.zeros((224, 224, 3), np.uint8)
    crop[..., 0] = 255  # blue, where a picture is BGR
    pixels = pixels_of(crop)
    assert pixels.shape == (1, 3, 224, 224)
    assert float(pixels[0, 0, 0, 0]) == pytest.approx((1 - 0.48145466) / 0.26862954)
    assert float(pixels[0, 2, 0, 0]) == pytest.approx(-0.40821073 / 0.27577711)
