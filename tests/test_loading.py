"""Pipelines from folders and files: complete, of the right variant, strict, and without a network."""

import json
import shutil
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file

from infusenet import miniature
from infusenet.adapters.infusenet.model import InfuseNetModel
from infusenet.backbones import BACKBONES
from infusenet.errors import SettingsError, WeightsError
from infusenet.loading import load_pipeline

NAME = "diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_args, **_more):
        pytest.fail("tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def flux(goldens, tmp_path_factory):
    """A whole diffusers FLUX folder of small networks, dev."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    from infusenet.miniature.tokens import build_tokenizers

    folder = tmp_path_factory.mktemp("flux")
    build_tokenizers(folder)
    for name, source in (("transformer", "dev_5x9"), ("vae", "vae"), ("scheduler", "scheduler_dev")):
        shutil.copytree(goldens.model(source), folder / name)
    torch.manual_seed(0)
    shared = {"vocab_size": 3000, "num_hidden_layers": 1, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    CLIPTextModel(
        CLIPTextConfig(hidden_size=24, intermediate_size=32, num_attention_heads=2, projection_dim=24, **shared)
    ).save_pretrained(folder / "text_encoder")
    T5EncoderModel(T5Config(vocab_size=3000, d_model=40, d_kv=8, d_ff=32, num_layers=1, num_heads=2)).save_pretrained(
        folder / "text_encoder_2"
    )
    return folder


@pytest.fixture(scope="module")
def infusenet(goldens):
    return goldens.model("infusenet_2x4")


@pytest.fixture
def copy(flux, tmp_path):
    return shutil.copytree(flux, tmp_path / "flux")


def original_layout(state):
    """diffusers' names and tensors back in the original layout, written by hand for this test."""
    outer = {
        "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
        "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
        "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
        "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
        "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
        "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
        "context_embedder": "txt_in",
        "x_embedder": "img_in",
        "proj_out": "final_layer.linear",
    }
    out = {f"{new}.{k}": state[f"{old}.{k}"] for old, new in outer.items() for k in ("weight", "bias")}
    for k in ("weight", "bias"):
        scale, shift = state[f"norm_out.linear.{k}"].chunk(2)
        out[f"final_layer.adaLN_modulation.1.{k}"] = torch.cat([shift, scale])
        for i in range(5):
            old, new = f"transformer_blocks.{i}", f"double_blocks.{i}"
            sides = (
                ("img", "norm1", "to_q to_k to_v", "to_out.0", "ff"),
                ("txt", "norm1_context", "add_q_proj add_k_proj add_v_proj", "to_add_out", "ff_context"),
            )
            for side, norm, qkv, proj, ff in sides:
                out[f"{new}.{side}_mod.lin.{k}"] = state[f"{old}.{norm}.linear.{k}"]
                out[f"{new}.{side}_attn.qkv.{k}"] = torch.cat([state[f"{old}.attn.{q}.{k}"] for q in qkv.split()])
                out[f"{new}.{side}_attn.proj.{k}"] = state[f"{old}.attn.{proj}.{k}"]
                out[f"{new}.{side}_mlp.0.{k}"] = state[f"{old}.{ff}.net.0.proj.{k}"]
                out[f"{new}.{side}_mlp.2.{k}"] = state[f"{old}.{ff}.net.2.{k}"]
        for i in range(9):
            old, new = f"single_transformer_blocks.{i}", f"single_blocks.{i}"
            parts = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
            out[f"{new}.linear1.{k}"] = torch.cat([state[f"{old}.{part}.{k}"] for part in parts])
            out[f"{new}.linear2.{k}"] = state[f"{old}.proj_out.{k}"]
            out[f"{new}.modulation.lin.{k}"] = state[f"{old}.norm.linear.{k}"]
    norms = {"img_attn.norm": ("norm_q", "norm_k"), "txt_attn.norm": ("norm_added_q", "norm_added_k")}
    for i in range(5):
        for stem, (q, key) in norms.items():
            out[f"double_blocks.{i}.{stem}.query_norm.scale"] = state[f"transformer_blocks.{i}.attn.{q}.weight"]
            out[f"double_blocks.{i}.{stem}.key_norm.scale"] = state[f"transformer_blocks.{i}.attn.{key}.weight"]
    for i in range(9):
        for kind, q in (("query", "norm_q"), ("key", "norm_k")):
            out[f"single_blocks.{i}.norm.{kind}_norm.scale"] = state[f"single_transformer_blocks.{i}.attn.{q}.weight"]
    return {key: value.contiguous() for key, value in out.items()}


def same(network, state, dtype=torch.float32):
    own = network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key].to(dtype)) for key in own)


def test_a_folder_becomes_a_pipeline_that_speaks(flux, infusenet, goldens):
    pipeline = load_pipeline(flux, infusenet, device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.spec is BACKBONES["flux-dev"]
    assert pipeline.transformer.dtype == pipeline.vae.dtype == pipeline.text_encoder_2.dtype == torch.float32
    assert isinstance(pipeline.controlnet, InfuseNetModel)
    tokens = goldens("cases/dev_batch2")["in/id_tokens"]
    given = {"width": 64, "height": 64, "num_inference_steps": 2, "identity": tokens[:1], "output_type": "pt"}
    both = pipeline(
        ["a portrait", "a hat"], **given, num_images_per_prompt=2, generator=torch.Generator().manual_seed(0)
    ).images
    assert both.shape == (4, 3, 64, 64)
    again = pipeline("a hat", **given, latents=pack_noise(2)).images
    torch.testing.assert_close(both[2:3], again, rtol=1e-4, atol=1e-4)
    negative = pipeline("a hat", **given, latents=pack_noise(2), negative_prompt="a beard", true_cfg_scale=2.0).images
    assert not torch.allclose(negative, again)


def pack_noise(item):
    noise = torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))[item : item + 1]
    return noise.view(1, 16, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 16, 64)


def test_dtype_and_missing_text_encoders(flux, infusenet):
    pipeline = load_pipeline(flux, infusenet, device="cpu", dtype=torch.bfloat16, text_encoders=False)
    assert pipeline.text_encoder is None
    assert {pipeline.transformer.dtype, pipeline.vae.dtype, pipeline.controlnet.dtype} == {torch.bfloat16}
    with pytest.raises(SettingsError, match="No text encoders"):
        pipeline("a face")
    assert load_pipeline(flux, device="cpu", text_encoders=False).controlnet is None


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float8_e4m3fn])
def test_a_single_file_in_the_original_layout(flux, infusenet, goldens, tmp_path, prefix, stored):
    state = {k: v.to(stored) for k, v in load_file(goldens.model("dev_5x9") / NAME).items()}
    file = tmp_path / "flux1.safetensors"
    extra = {"vae.encoder.conv_in.weight": torch.zeros(2)} if prefix else {}
    save_file({prefix + key: value for key, value in original_layout(state).items()} | extra, file)
    pipeline = load_pipeline(file, infusenet, components=flux, device="cpu")
    assert same(pipeline.transformer, state)
    assert pipeline.transformer.config.axes_dims_rope == [4, 6, 6]
    with pytest.raises(SettingsError, match="components="):
        load_pipeline(file, infusenet)


def test_a_single_schnell_file_gets_schnells_schedule(flux, goldens, tmp_path):
    file = tmp_path / "schnell.safetensors"
    shutil.copy(goldens.model("schnell_5x9") / NAME, file)
    pipeline = load_pipeline(file, components=flux, device="cpu", text_encoders=False)
    assert pipeline.spec is BACKBONES["flux-schnell"]
    assert not pipeline.scheduler.config.use_dynamic_shifting
    assert pipeline.scheduler.config.shift == 1.0


def test_the_variant_is_read_off_the_weights(flux, infusenet):
    assert (
        load_pipeline(flux, infusenet, expected="flux-dev", device="cpu", text_encoders=False).spec.name == "flux-dev"
    )
    with pytest.raises(WeightsError, match=r"Expected the weights of FLUX\.1 schnell.*holds a FLUX dev transformer"):
        load_pipeline(flux, infusenet, expected="flux-schnell")
    with pytest.raises(SettingsError, match="Known: flux-dev"):
        load_pipeline(flux, infusenet, expected="flux-pro")


def test_names_and_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(SettingsError, match=r"Unknown backbone 'flux-pro'\. Known: flux-dev, flux-schnell, mini-dev"):
        load_pipeline("flux-pro")
    with pytest.raises(WeightsError, match=r"no weights.*black-forest-labs/FLUX\.1-dev"):
        load_pipeline("flux-dev")
    with pytest.raises(WeightsError, match=r"no weights at .*nothing"):
        load_pipeline(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="transformer/ was not found"):
        load_pipeline(tmp_path)


def test_files_of_another_model_are_named(flux, goldens, tmp_path):
    with pytest.raises(WeightsError, match=r"FLUX transformer in .*it seems to be .*Resampler"):
        load_pipeline(goldens.model("resampler_small.safetensors"), components=flux)
    with pytest.raises(WeightsError, match="expected InfuseNet"):
        load_pipeline(flux, goldens.model("schnell_5x9"), device="cpu", text_encoders=False)
    state = original_layout(load_file(goldens.model("dev_5x9") / NAME))
    state["double_blocks.0.img_mod.lin.scale_weight"] = torch.ones(1)
    save_file(state, tmp_path / "scaled.safetensors")
    with pytest.raises(WeightsError, match=r"1 unexpected \(transformer_blocks\.0\.norm1\.linear\.scale_weight\)"):
        load_pipeline(tmp_path / "scaled.safetensors", components=flux)


def test_an_infusenet_of_another_width_is_refused(flux, infusenet, tmp_path):
    config = json.loads((infusenet / "config.json").read_text(encoding="utf-8"))
    config |= {"num_attention_heads": 2, "joint_attention_dim": 41}
    InfuseNetModel.from_config(config).save_pretrained(tmp_path / "net")
    with pytest.raises(WeightsError, match="num_attention_heads 2 against 3, joint_attention_dim 41 against 40"):
        load_pipeline(flux, tmp_path / "net", device="cpu", text_encoders=False)


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("transformer", NAME),
        ("vae", NAME),
        ("text_encoder", "model.safetensors"),
        ("text_encoder_2", "model.safetensors"),
    ],
)
def test_an_incomplete_part_is_refused(copy, part, file):
    path = copy / part / file
    state = load_file(path)
    dropped = next(key for key in sorted(state) if "norm" in key)
    save_file({key: value for key, value in state.items() if key != dropped}, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="missing"):
        load_pipeline(copy, device="cpu")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError, match=part):
        load_pipeline(copy, device="cpu")


@pytest.mark.parametrize("part", ["vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"])
def test_a_missing_part_is_named(copy, part):
    shutil.rmtree(copy / part)
    with pytest.raises(WeightsError, match=f"{part}/ was not found"):
        load_pipeline(copy, device="cpu")


@pytest.mark.parametrize(("offload", "device"), [("model", "cpu"), ("disk", "cpu")])
def test_offload_needs_a_gpu(flux, offload, device):
    with pytest.raises(SettingsError, match='offload="model" on a GPU'):
        load_pipeline(flux, offload=offload, device=device)


needs_miniature = pytest.mark.skipif(
    not (miniature.WEIGHTS / "mini-dev").is_dir(), reason="the miniature's weights are not in this checkout"
)


@needs_miniature
@pytest.mark.parametrize("name", sorted(miniature.BACKBONES))
def test_the_miniature_loads_by_name_or_folder(name):
    for backbone in (name, miniature.BACKBONES[name]):
        pipeline = load_pipeline(backbone, device="cpu")
        assert pipeline.spec is BACKBONES[name]
        assert pipeline.controlnet is not None
        assert pipeline.transformer.config.guidance_embeds is pipeline.spec.guidance_embeds
