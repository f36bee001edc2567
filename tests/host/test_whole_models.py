"""FLUX in one piece: an all-in-one checkpoint, and a diffusers folder, of the published names, shapes and sizes.

The files are holes, and what is built of them lies on the meta device: no memory is filled.
"""

import json

import pytest
import torch

NONE = dict.fromkeys(["text_encoder_1", "text_encoder_2", "vae"], "none")
PARAMETERS = {"flux-dev": 11_901_408_320, "flux-schnell": 11_891_178_560}  # as published
ENCODERS = {"clip_l": 123_060_480, "t5xxl": 4_762_310_656}
VAE = 83_819_683


@pytest.fixture
def true(sibling):
    return sibling("true_files")


@pytest.fixture
def on_meta(host, monkeypatch):
    """The host builds transformers and text encoders without memory; its complaints about their tensors are kept."""
    import logging

    import comfy.model_management

    nowhere = torch.device("meta")
    monkeypatch.setattr(comfy.model_management, "unet_inital_load_device", lambda *_: nowhere)
    monkeypatch.setattr(comfy.model_management, "unet_offload_device", lambda: nowhere)
    monkeypatch.setattr(comfy.model_management, "text_encoder_initial_device", lambda *_, **__: nowhere)
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda *_, **__: None)
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: said.append(str(text) % args if args else str(text)))
    return said


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def check_parts(name, args, said):
    """All of it is there, nothing was left over, and the settings are the variant's."""
    model, clip, vae, steps, guidance = args
    network = model.model.diffusion_model
    assert size(network) == PARAMETERS[name] and (len(network.double_blocks), len(network.single_blocks)) == (19, 38)
    encoders = clip.cond_stage_model
    for part, count in ENCODERS.items():  # CLIP's projection is the host's own, not the files'
        extra = [p.numel() for n, p in getattr(encoders, part).named_parameters() if "projection" in n or "logit" in n]
        assert size(getattr(encoders, part)) - sum(extra) == count
    assert clip.tokenizer_options["t5xxl_min_length"] == (512 if name == "flux-dev" else 256)
    assert len(clip.tokenize("a person")["t5xxl"][0]) == (512 if name == "flux-dev" else 256)
    assert size(vae.first_stage_model) == VAE and vae.latent_channels == 16
    assert (steps, guidance) == ((28, 3.5) if name == "flux-dev" else (4, 0.0))
    complaints = [text for text in said if "missing" in text or "unexpected" in text]
    assert all("text_projection" in text and text.count(".weight") == 1 for text in complaints), complaints


def test_an_all_in_one_checkpoint(pack, run, folders, tmp_path, true, on_meta):
    folders("checkpoints", tmp_path)
    _, flux = true.flux_shapes(pack, guidance=True)
    shapes = {f"model.diffusion_model.{key}": shape for key, shape in flux.items()}
    shapes |= {f"text_encoders.clip_l.transformer.{key}": shape for key, shape in true.clip_shapes().items()}
    shapes |= {f"text_encoders.t5xxl.transformer.{key}": shape for key, shape in true.t5_shapes().items()}
    shapes |= {f"vae.{key}": shape for key, shape in true.vae_shapes().items()}
    true.header_only(tmp_path / "all.safetensors", shapes, "F8_E4M3")
    assert "checkpoints/all.safetensors" in pack.module("nodes.flux.files").model_choices()
    choice = {"diffusion_model": "checkpoints/all.safetensors", **NONE}
    args = run("LoadBackbone", backbone="flux-dev", **choice, weight_dtype="default")
    check_parts("flux-dev", args, on_meta)


def test_a_checkpoint_without_its_other_parts(pack, run, folders, tmp_path, true):
    """A transformer alone among the checkpoints: what is missing is asked for."""
    folders("checkpoints", tmp_path)
    _, flux = true.flux_shapes(pack, guidance=True)
    shapes = {f"model.diffusion_model.{key}": shape for key, shape in flux.items()}
    errors = pack.module("infusenet.errors")

    def load():
        choice = {"diffusion_model": "checkpoints/all.safetensors", **NONE}
        run("LoadBackbone", backbone="flux-dev", **choice, weight_dtype="default")

    true.header_only(tmp_path / "all.safetensors", shapes)
    with pytest.raises(errors.SettingsError, match="all.safetensors holds no text encoders.*clip_l and t5xxl"):
        load()
    clip = {f"text_encoders.clip_l.transformer.{key}": shape for key, shape in true.clip_shapes().items()}
    true.header_only(tmp_path / "all.safetensors", shapes | clip)
    with pytest.raises(errors.WeightsError, match="no T5"):
        load()
    t5 = {f"text_encoders.t5xxl.transformer.{key}": shape for key, shape in true.t5_shapes().items()}
    true.header_only(tmp_path / "all.safetensors", shapes | clip | t5)
    with pytest.raises(errors.SettingsError, match="all.safetensors holds no VAE. Choose FLUX's"):
        load()


@pytest.fixture
def diffusers_folder(pack, folders, tmp_path, true):
    """A whole diffusers pipeline, its transformer and T5 in shards."""

    def write(name, clip_prefix="text_model."):
        folders("diffusers", tmp_path)
        root = tmp_path / "FLUX.1"
        shapes, _ = true.flux_shapes(pack, guidance=name == "flux-dev")
        sharded(true, root / "transformer", "diffusion_pytorch_model", shapes, 3)
        (root / "transformer" / "config.json").write_text(json.dumps({"_class_name": "FluxTransformer2DModel"}))
        clip = {clip_prefix + key.removeprefix("text_model."): shape for key, shape in true.clip_shapes().items()}
        true.header_only(root / "text_encoder" / "model.safetensors", clip)
        sharded(true, root / "text_encoder_2", "model", true.t5_shapes(), 2)
        vae = true.vae_shapes_of_diffusers()
        true.header_only(root / "vae" / "diffusion_pytorch_model.safetensors", vae)
        (root / "model_index.json").write_text("{}")
        return root

    return write


def sharded(true, folder, stem, shapes, count):
    """A model in shards, with their index."""
    keys, where = sorted(shapes), {}
    for number in range(count):
        file = f"{stem}-{number + 1:05d}-of-{count:05d}.safetensors"
        part = {key: shapes[key] for key in keys[number::count]}
        true.header_only(folder / file, part)
        where |= dict.fromkeys(part, file)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


@pytest.mark.parametrize(("name", "clip_prefix"), [("flux-dev", "text_model."), ("flux-schnell", "")])
def test_a_diffusers_folder(pack, run, diffusers_folder, on_meta, name, clip_prefix):
    """Transformers 5 leaves out CLIP's outer name when it saves."""
    diffusers_folder(name, clip_prefix)
    assert "diffusers/FLUX.1" in pack.module("nodes.flux.files").model_choices()
    args = run("LoadBackbone", backbone=name, diffusion_model="diffusers/FLUX.1", **NONE, weight_dtype="default")
    check_parts(name, args, on_meta)


def test_a_diffusers_folder_with_another_models_part(pack, run, diffusers_folder, true):
    root = diffusers_folder("flux-dev")
    errors = pack.module("infusenet.errors")

    def load():
        run("LoadBackbone", backbone="flux-dev", diffusion_model="diffusers/FLUX.1", **NONE, weight_dtype="default")

    true.header_only(root / "vae" / "diffusion_pytorch_model.safetensors", {"decoder.conv_in.weight": (512, 4, 3, 3)})
    with pytest.raises(errors.WeightsError, match="not FLUX's VAE"):
        load()
    true.header_only(root / "text_encoder" / "model.safetensors", {"latents": (1, 8, 64)})
    with pytest.raises(errors.WeightsError, match="Expected one CLIP-L and one T5"):
        load()


def test_the_names_of_the_vae_are_diffusers_own(true):
    """The folder's layout above, against diffusers itself where it is installed."""
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        net = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=16,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    assert {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()} == true.vae_shapes_of_diffusers()
