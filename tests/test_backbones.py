"""The specs against the recorded schedulers and configs, and the variant read off weights."""

import dataclasses
import json
import re

import pytest

from infusenet.backbones import BACKBONES, family_of, get_backbone, published, variant_of
from infusenet.errors import SettingsError, WeightsError

SCHEDULE_FIELDS = (
    "use_dynamic_shifting",
    "shift",
    "base_shift",
    "max_shift",
    "base_image_seq_len",
    "max_image_seq_len",
)


FLUX = [name for name, spec in BACKBONES.items() if spec.family == "flux"]


def test_backbones_are_keyed_by_name():
    assert FLUX == ["flux-dev", "flux-schnell", "mini-dev", "mini-schnell"]
    assert all(spec.name == name for name, spec in BACKBONES.items())


@pytest.mark.parametrize(
    ("name", "steps", "guidance", "text", "size"),
    [
        ("flux-dev", 28, 3.5, 512, (864, 1152)),
        ("flux-schnell", 4, 0.0, 256, (864, 1152)),
        ("mini-dev", 28, 3.5, 40, (128, 128)),
        ("mini-schnell", 4, 0.0, 40, (128, 128)),
    ],
)
def test_defaults(name, steps, guidance, text, size):
    spec = BACKBONES[name]
    assert (spec.num_inference_steps, spec.guidance_scale, spec.max_sequence_length) == (steps, guidance, text)
    assert (spec.width, spec.height) == size
    assert spec.license and spec.source


@pytest.mark.parametrize("name", FLUX)
def test_schedule_equals_the_published_scheduler(name, goldens):
    spec = BACKBONES[name]
    text = (goldens.model(f"scheduler_{spec.variant}") / "scheduler_config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    assert {field: getattr(spec, field) for field in SCHEDULE_FIELDS} == {
        field: config[field] for field in SCHEDULE_FIELDS
    }


@pytest.mark.parametrize("variant", ["dev", "schnell"])
def test_variant_from_a_config(variant, goldens):
    config = json.loads((goldens.model(f"{variant}_5x9") / "config.json").read_text(encoding="utf-8"))
    assert variant_of(config) == variant
    assert published(variant).guidance_embeds is config["guidance_embeds"]


@pytest.mark.parametrize(
    ("keys", "variant"),
    [
        (["single_blocks.0.linear1.weight", "guidance_in.in_layer.weight"], "dev"),
        (["model.diffusion_model.single_blocks.0.linear1.weight"], "schnell"),
        (["single_transformer_blocks.0.proj_mlp.weight", "time_text_embed.guidance_embedder.linear_1.bias"], "dev"),
        (["single_transformer_blocks.0.proj_mlp.weight", "time_text_embed.text_embedder.linear_1.bias"], "schnell"),
    ],
)
def test_variant_from_keys(keys, variant):
    assert variant_of(keys) == variant
    assert variant_of(dict.fromkeys(keys)) == variant


def test_variant_from_a_host_config():
    assert variant_of({"guidance_embed": False, "depth": 19}) == "schnell"
    assert variant_of({"guidance_embed": True, "depth": 19}) == "dev"


def test_weights_of_another_model_are_refused():
    with pytest.raises(WeightsError, match=r"Expected a FLUX transformer.*conv_in\.weight"):
        variant_of(["conv_in.weight", "conv_out.weight"])
    with pytest.raises(WeightsError, match="found nothing"):
        variant_of([])


def test_an_unknown_name_lists_the_known():
    with pytest.raises(
        SettingsError, match=re.escape("'flux-pro'") + ".*flux-dev, flux-schnell, mini-dev, mini-schnell"
    ):
        get_backbone("flux-pro")
    assert get_backbone("mini-dev") is BACKBONES["mini-dev"]


def test_specs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BACKBONES["flux-dev"].shift = 1.0  # type: ignore[misc]


def test_a_family_is_told_by_name_or_folder(tmp_path):
    (tmp_path / "unet").mkdir()
    assert family_of(tmp_path) == family_of("sdxl-turbo") == "sdxl"
    assert family_of(tmp_path / "unet") == family_of("mini-dev") == "flux"
