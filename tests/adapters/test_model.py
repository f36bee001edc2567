"""InfuseNetModel against the recorded residuals, its constant guidance, and strict loading of every file format."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from infusenet.adapters.infusenet.model import InfuseNetModel, broadcast_identity
from infusenet.errors import SettingsError, WeightsError
from infusenet.flux.networks import expected_tensors, flux_config, rope_axes

NAME = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(goldens):
    return goldens.model("infusenet_2x4")


@pytest.fixture(scope="module")
def network(folder):
    return InfuseNetModel.load(folder)


@pytest.fixture
def state(folder):
    return load_file(folder / NAME)


def inputs(case, step, dtype=torch.float32):
    return {
        "hidden_states": case["step/latents"][step].to(dtype),
        "controlnet_cond": case["cn/controlnet_cond"].to(dtype),
        "encoder_hidden_states": case["in/id_tokens"].to(dtype),
        "pooled_projections": case["in/pooled"].to(dtype),
        "timestep": case["cn/timestep"][step],
        "img_ids": case["tr/img_ids"],
        "conditioning_scale": float(case["cn/conditioning_scale"][step]),
        "return_dict": False,
    }


def test_residuals_equal_the_recordings(golden_case, goldens):
    meta = golden_case.meta["case"]
    half = golden_case.name.endswith("_bf16")
    dtype = torch.bfloat16 if half else torch.float32
    network = InfuseNetModel.load(goldens.model(meta["net"]), dtype=dtype)
    with torch.no_grad():
        got = [network(**inputs(golden_case, step, dtype)) for step in range(meta["steps"])]
    tolerance = 0.25 if half else 1e-4
    golden_case.check("cn/double", torch.stack([torch.stack(double) for double, _ in got]), tolerance)
    golden_case.check("cn/single", torch.stack([torch.stack(single) for _, single in got]), tolerance)


@pytest.mark.exact
def test_the_main_guidance_is_not_used(network, goldens):
    case = goldens("cases/dev_s28_black")
    with torch.no_grad():
        plain = network(**inputs(case, 3))
        guided = network(**inputs(case, 3), guidance=torch.tensor([3.5]))
    assert all(torch.equal(a, b) for a, b in zip(plain[0] + plain[1], guided[0] + guided[1], strict=True))


def test_a_network_without_guidance_embedding_gets_none(network, goldens):
    config = dict(network.config) | {"guidance_embeds": False}
    bare = InfuseNetModel.from_config({key: value for key, value in config.items() if not key.startswith("_")})
    kept = {key: value for key, value in network.state_dict().items() if "guidance_embedder" not in key}
    bare.load_state_dict(kept)
    with torch.no_grad():
        double, _ = bare(**inputs(goldens("cases/schnell_s4_kps"), 0))
    assert torch.isfinite(torch.stack(double)).all()


def test_one_identity_serves_a_batch(network, goldens):
    given = inputs(goldens("cases/dev_batch2"), 1)
    given["encoder_hidden_states"] = given["encoder_hidden_states"][:1]
    with torch.no_grad():
        one = network(**given)
        two = network(**{**given, "encoder_hidden_states": given["encoder_hidden_states"].repeat(2, 1, 1)})
    for a, b in zip(one[0] + one[1], two[0] + two[1], strict=True):
        # One is expanded, not copied, and float32 products of another layout round in another order.
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_other_numbers_of_identities_are_refused():
    with pytest.raises(SettingsError, match="one for each of the 1 pictures, got 2"):
        broadcast_identity(torch.zeros(2, 8, 4), 1)
    with pytest.raises(SettingsError, match="got none"):
        broadcast_identity(None, 1)
    with pytest.raises(SettingsError, match=r"shape \[8, 4\]"):
        broadcast_identity(torch.zeros(8, 4), 1)


def same(network, state, dtype=torch.float32):
    own = network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key].to(dtype)) for key in own)


def test_a_folder_loads_as_diffusers_loads_it(network, folder):
    assert same(network, InfuseNetModel.from_pretrained(folder).state_dict())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_sharded_folder_loads(tmp_path, folder, state):
    keys = sorted(state)
    shards = {f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors": keys[i::2] for i in range(2)}
    for name, part in shards.items():
        save_file({key: state[key] for key in part}, tmp_path / name)
    index = {"metadata": {}, "weight_map": {key: name for name, part in shards.items() for key in part}}
    (tmp_path / f"{NAME}.index.json").write_text(json.dumps(index), encoding="utf-8")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
    assert same(InfuseNetModel.load(tmp_path), state)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_single_file_tells_its_own_config(tmp_path, state, network, stored, dtype):
    file = tmp_path / "infusenet.safetensors"
    stored_state = {key: value.to(stored) for key, value in state.items()}
    save_file(stored_state, file)
    loaded = InfuseNetModel.load(file, dtype=dtype)
    assert same(loaded, stored_state, dtype)
    names = [name for name in network.config if not name.startswith("_")]
    assert {name: loaded.config[name] for name in names} == {name: network.config[name] for name in names}


@pytest.mark.parametrize(("head", "axes"), [(128, [16, 56, 56]), (32, [4, 14, 14]), (16, [4, 6, 6]), (64, [8, 28, 28])])
def test_rope_axes_by_head_size(head, axes):
    assert rope_axes(head) == axes


def test_the_published_sizes_are_read_off_the_shapes():
    published = {
        "num_layers": 4,
        "num_single_layers": 10,
        "in_channels": 64,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": True,
        "axes_dims_rope": [16, 56, 56],
    }
    with torch.device("meta"):
        full = InfuseNetModel.from_config(published)
    assert len(full.state_dict()) == 314
    assert 2.9e9 < sum(value.numel() for value in full.state_dict().values()) < 3.0e9
    assert flux_config(full.state_dict(), "file", "InfuseNet") == published
    shapes = {key: tuple(value.shape) for key, value in full.state_dict().items()}
    assert expected_tensors(published, controlnet=True) == shapes


@pytest.mark.parametrize("guidance", [True, False])
def test_the_expected_tensors_of_a_backbone_are_diffusers_own(guidance):
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        network = FluxTransformer2DModel(num_layers=2, num_single_layers=3, guidance_embeds=guidance)
    state = network.state_dict()
    config = flux_config(state, "file", "FLUX")
    assert expected_tensors(config, controlnet=False) == {key: tuple(value.shape) for key, value in state.items()}


def test_damaged_and_foreign_files_are_refused(tmp_path, state, goldens):
    def write(name, tensors):
        save_file(tensors, tmp_path / name)
        return tmp_path / name

    key = "controlnet_blocks.1.weight"
    less = {name: value for name, value in state.items() if name != key}
    with pytest.raises(WeightsError, match=rf"1 missing \({re.escape(key)}\)"):
        InfuseNetModel.load(write("less.safetensors", less))
    with pytest.raises(WeightsError, match=r"1 unexpected \(lora\.up\)"):
        InfuseNetModel.load(write("more.safetensors", {**state, "lora.up": torch.zeros(2)}))
    with pytest.raises(WeightsError, match=r"controlnet_blocks\.1\.weight: expected \(48, 48\), found \(48, 47\)"):
        InfuseNetModel.load(write("shape.safetensors", {**state, key: state[key][:, :47].contiguous()}))
    with pytest.raises(WeightsError, match="NaN or infinity"):
        InfuseNetModel.load(write("nan.safetensors", {**state, key: torch.full_like(state[key], torch.nan)}))
    whole = write("whole.safetensors", state)
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"cut\.safetensors"):
        InfuseNetModel.load(tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="Resampler"):
        InfuseNetModel.load(goldens.model("resampler_small.safetensors"))
    with pytest.raises(WeightsError, match=r"controlnet_blocks|FLUX"):
        InfuseNetModel.load(goldens.model("dev_5x9") / NAME)
    with pytest.raises(WeightsError, match="InfuseNet"):
        InfuseNetModel.load(goldens.model("vae"))
    with pytest.raises(WeightsError, match="no weight file"):
        InfuseNetModel.load(tmp_path / "nothing.safetensors")


def test_shapes_are_checked_before_tensors_are_read(tmp_path, state, monkeypatch):
    save_file({**state, "lora.up": torch.zeros(2)}, tmp_path / "more.safetensors")
    monkeypatch.setattr("infusenet.weights.files.read_weights", lambda *_: pytest.fail("tensors were read"))
    with pytest.raises(WeightsError, match="unexpected"):
        InfuseNetModel.load(tmp_path / "more.safetensors")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_layers": 1_000_000}, "num_layers 1000000, the weights"),
        ({"axes_dims_rope": [1, 1, 1]}, r"axes_dims_rope \[1, 1, 1\], the weights"),
        ({"attention_head_dim": "8"}, "attention_head_dim '8'"),
    ],
)
def test_a_config_that_says_otherwise_than_its_weights(tmp_path, folder, changes, told):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    for path in folder.glob("*.safetensors"):
        (tmp_path / path.name).symlink_to(path)
    with pytest.raises(WeightsError, match=told):
        InfuseNetModel.load(tmp_path)


def test_a_config_of_endless_nesting(tmp_path, folder):
    (tmp_path / "config.json").write_text("[" * 100_000)
    for path in folder.glob("*.safetensors"):
        (tmp_path / path.name).symlink_to(path)
    with pytest.raises(WeightsError, match=r"Expected a diffusers model folder with config\.json"):
        InfuseNetModel.load(tmp_path)


def test_heads_of_no_size_are_refused(state, tmp_path):
    name = "transformer_blocks.0.attn.norm_q.weight"
    save_file({**state, name: state[name][:0].clone()}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match="sizes disagree"):
        InfuseNetModel.load(tmp_path / "m.safetensors")
