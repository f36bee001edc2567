"""Names of the original FLUX layout, against diffusers' own conversion (which knows the full width only)."""

import pytest
import torch

from infusenet.weights.original import is_original, to_diffusers


def test_the_original_layout_is_renamed_as_diffusers_renames_it():
    from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers

    width, shapes = 3072, {}
    for name, rows in (
        ("img_mod.lin", 6),
        ("img_attn.qkv", 3),
        ("img_attn.proj", 1),
        ("img_mlp.0", 4),
        ("img_mlp.2", 1),
    ):
        for side in ("img", "txt"):
            shapes[f"double_blocks.0.{name.replace('img', side)}"] = rows * width
    for name, rows in (("modulation.lin", 3), ("linear1", 7), ("linear2", 1)):
        shapes[f"single_blocks.0.{name}"] = rows * width
    for name in ("time_in", "vector_in", "guidance_in"):
        shapes |= {f"{name}.in_layer": width, f"{name}.out_layer": width}
    shapes |= {"txt_in": width, "img_in": width, "final_layer.linear": 64, "final_layer.adaLN_modulation.1": 2 * width}
    state = {}
    for i, (name, rows) in enumerate(shapes.items()):
        state[f"{name}.bias"] = torch.arange(rows) + 100_000 * i
        state[f"{name}.weight"] = state[f"{name}.bias"][:, None].expand(rows, 2)
    for block, sides in (("double_blocks.0", ("img_attn.norm", "txt_attn.norm")), ("single_blocks.0", ("norm",))):
        for i, side in enumerate(sides):
            for j, kind in enumerate(("query", "key")):
                state[f"{block}.{side}.{kind}_norm.scale"] = torch.arange(128) + 1000 * (2 * i + j)
    want = convert_flux_transformer_checkpoint_to_diffusers(dict(state))
    got = to_diffusers(state)
    assert got.keys() == want.keys()
    assert all(torch.equal(got[key], want[key]) for key in want)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_layout_is_told_by_its_names(prefix):
    assert is_original({f"{prefix}double_blocks.0.img_mod.lin.weight": 0, f"{prefix}single_blocks.0.linear1.weight": 0})
    assert not is_original(
        {"transformer_blocks.0.norm1.linear.weight": 0, "single_transformer_blocks.0.proj_mlp.bias": 0}
    )


def test_unknown_names_are_kept_for_the_check_to_list():
    given = {"double_blocks.0.img_mod.lin.weight": torch.zeros(6, 1), "single_blocks.0.surprise.weight": torch.zeros(1)}
    assert set(to_diffusers(given)) == {"transformer_blocks.0.norm1.linear.weight", "single_blocks.0.surprise.weight"}


def test_of_a_whole_checkpoint_the_transformer_is_taken():
    prefix = "model.diffusion_model."
    given = {f"{prefix}double_blocks.0.img_mlp.0.bias": torch.zeros(1), "vae.decoder.conv_in.bias": torch.zeros(1)}
    assert set(to_diffusers(given)) == {"transformer_blocks.0.ff.net.0.proj.bias"}
