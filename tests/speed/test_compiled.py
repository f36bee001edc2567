"""Compiled and 8-bit networks: the same picture, code of their own, and who is refused."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from infusenet.errors import PackageError, SettingsError
from infusenet.loading import load_pipeline
from infusenet.speed import compiled
from infusenet.speed.fp8 import Fp8Linear, check_card, row_scaled, to_fp8


def test_rows_are_scaled_each_by_its_largest():
    x = torch.tensor([[1.0, -448.0, 0.5], [0.001, 0.002, -0.004], [0.0, 0.0, 0.0]])
    rows, scale = row_scaled(x)
    torch.testing.assert_close(scale[:2], torch.tensor([[1.0], [0.004 / 448]]))
    torch.testing.assert_close(rows.float() * scale, x, rtol=0.07, atol=1e-9)
    assert bool(rows.float().isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_8_bit_layer_is_the_layer_within_its_rounding(dtype):
    generator = torch.Generator().manual_seed(1)
    linear = nn.Linear(64, 96).to(dtype).requires_grad_(False)
    x = torch.randn(2, 5, 64, generator=generator).to(dtype)
    got, want = Fp8Linear(linear)(x), linear(x)
    assert got.dtype == dtype and got.shape == want.shape
    assert float((got - want).float().norm() / want.float().norm()) < 0.05


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.Sequential(nn.Linear(32, 32))
        self.ff = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.odd = nn.Linear(32, 20)

    def forward(self, x):
        return self.ff(x)


def test_layers_of_norms_and_odd_sides_stay():
    block = Block()
    assert to_fp8(block) == 2
    kinds = [type(layer) for layer in (block.ff[0], block.ff[2], block.norm1[0], block.odd)]
    assert kinds == [Fp8Linear, Fp8Linear, nn.Linear, nn.Linear]


def test_networks_of_one_class_have_code_of_their_own(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, backend: asked.append(function) or function)
    first, second = [Block(), Block()], [Block()]
    compiled.compile_alike(first)
    compiled.compile_alike(second)
    codes = [function.__code__ for function in asked]
    assert len(codes) == 2 and codes[0] is not codes[1] is not Block.forward.__code__
    assert [block.forward.__func__ for block in (*first, *second)] == [asked[0], asked[0], asked[1]]
    x = torch.randn(3, 32)
    assert torch.equal(first[0](x), first[0].ff(x))


def test_a_deep_copy_of_a_compiled_network_computes_with_its_own_weights(monkeypatch):
    """The host makes one for a second card, and the live probe of a tiny VAE."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    network = nn.Sequential(Block(), Block()).requires_grad_(False)
    compiled.compile_alike(network)
    other, x = copy.deepcopy(network), torch.randn(3, 32)
    want = network(x)
    for weight in network.parameters():
        weight.data.zero_()
    assert torch.equal(other(x), want) and not torch.equal(network(x), want)


def test_a_pipeline_s_blocks_and_decoder_are_compiled(monkeypatch):
    """By torch's tracer without its code generator, which takes minutes; the blocks' hooks stay outside."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    pipeline = load_pipeline("mini-schnell", speed="compile")
    networks = [pipeline.transformer, pipeline.controlnet, pipeline.vae]
    counted = [module for network in networks for module in network.modules() if "forward" in vars(module)]
    kinds = {type(module).__name__ for module in counted}
    assert kinds == {"FluxTransformerBlock", "FluxSingleTransformerBlock", "Decoder"}
    networks = networks[:2]
    assert len(counted) == sum(len(compiled.blocks_of(network)) for network in networks) + 1


@pytest.mark.exact
def test_a_compiled_picture_is_the_picture(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    pictures = []
    for speed in (None, "compile"):
        pipeline = load_pipeline("mini-schnell", speed=speed)
        pipeline.set_progress_bar_config(disable=True)
        width = pipeline.controlnet.config.joint_attention_dim
        tokens = torch.randn(1, 8, width, generator=torch.Generator().manual_seed(3))
        noise = torch.randn(1, 16, 64, generator=torch.Generator().manual_seed(4))
        given = {"width": 64, "height": 64, "num_inference_steps": 1, "latents": noise, "output_type": "pt"}
        pictures.append(pipeline(prompt="a portrait", identity=tokens, **given).images)
    assert torch.equal(*pictures)


def test_who_cannot_is_told_what_to_do(monkeypatch):
    with pytest.raises(SettingsError, match=r'speed="fp8" needs an NVIDIA card .*got cpu. Use speed="compile"'):
        load_pipeline("mini-schnell", device="cpu", speed="fp8")
    with pytest.raises(SettingsError, match="Expected speed from compile, fp8, or None, got 'warp'"):
        load_pipeline("mini-schnell", device="cpu", speed="warp")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "RTX 3090")
    with pytest.raises(SettingsError, match="got RTX 3090"):
        check_card(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    check_card(torch.device("cuda"))
    with pytest.raises(SettingsError, match="speed= is for FLUX and InfuseNet, not for Linear"):
        odd = SimpleNamespace(transformer=nn.Linear(2, 2), controlnet=None, vae=None)
        compiled.speed_up(odd, "compile", torch.device("cpu"))
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    compiled.check_compiler(torch.device("cpu"))
    for platform, package in (("linux", "triton"), ("win32", "triton-windows")):
        monkeypatch.setattr(compiled.sys, "platform", platform)
        with pytest.raises(PackageError, match=f"needs the package {package}. Run: .*pip install {package},"):
            compiled.check_compiler(torch.device("cuda"))


def test_the_bench_runs_small_and_names_what_it_ran_on(tmp_path, capsys, monkeypatch):
    import json

    from infusenet.speed import bench

    few = bench.Way("schnell", 1, refresh="1"), bench.Way("schnell", 1, attention="scale 1.55"), bench.Way("dev", 1)
    monkeypatch.setattr(bench, "WAYS", (bench.Way("schnell", 2), *few))
    arguments = ["--tiny", "--rounds", "1", "--device", "cpu", "--without", "compile", "fp8", "--out", str(tmp_path)]
    assert bench.main(arguments) == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report["card"] == "cpu" and [way["title"] for way in report["ways"]] == [
        "schnell 2, every step, eager", "schnell 1, 1, eager", "schnell 1, every step, attention scale 1.55, eager",
        "dev 1, every step, eager",
    ]  # fmt: skip
    assert "| schnell 2, every step, eager |" in (tmp_path / "bench.md").read_text() == capsys.readouterr().out


def test_networks_of_a_bench_share_their_weights():
    from infusenet.speed import bench

    networks = bench.Networks(bench.TINY, torch.device("cpu"), torch.float32)
    dev, schnell = (networks.pipeline(name, None).transformer for name in ("dev", "schnell"))
    assert dev.transformer_blocks[0].attn.to_q.weight is schnell.transformer_blocks[0].attn.to_q.weight
    assert dev.transformer_blocks[0] is not schnell.transformer_blocks[0]
    assert dev.config.guidance_embeds and not schnell.config.guidance_embeds
