"""Damaged weight files through the nodes that load them: the very weights, or one clear refusal."""

import pytest
import torch

hypothesis = pytest.importorskip("hypothesis", reason="the attacks need hypothesis: pip install hypothesis")
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.attack

NEAR = 0.1  # of a weight's norm: as far as fp8 may be
DTYPES = ("int32", "int64", "uint8", "bool", "complex64", "float64", "float16", "bfloat16", "float8_e4m3fn")
DAMAGES = st.one_of(
    st.tuples(st.just("dtype"), st.sampled_from(DTYPES)),
    st.tuples(st.just("fill"), st.sampled_from([float("nan"), float("inf"), -float("inf")])),
    st.tuples(st.sampled_from(["flat", "empty", "missing", "renamed", "another", "larger"]), st.none()),
    st.tuples(st.sampled_from(["cut", "changed byte", "header"]), st.floats(0, 1, exclude_max=True)),
)


@pytest.fixture(scope="module")
def attacks(sibling):
    return sibling("attacks")


@pytest.fixture
def loads(pack, run):
    """By kind: the shipped file, and what a node makes of a file's name, as tensors."""
    shipped = pack.module("infusenet.miniature")
    encoder = {"arcface": "miniature", "face_pack": "miniature", "device": "cpu"}
    return {
        "InfuseNet": (
            shipped.INFUSENET / "diffusion_pytorch_model.safetensors",
            lambda name: run("LoadInfuseNet", infusenet=name, weight_dtype="default")[0].control_model.state_dict(),
        ),
        "Resampler": (
            shipped.IMAGE_PROJ,
            lambda name: run("LoadIdentityEncoder", image_proj=name, **encoder)[0].projector.state_dict(),
        ),
    }


def damage_tensors(state, place, kind, how):
    """A file's tensors, one of them as none should be."""
    name = sorted(state)[int(place * len(state))]
    tensor = state[name]
    changed = {
        "dtype": lambda: tensor.to(getattr(torch, how)), "fill": lambda: torch.full_like(tensor, how),
        "flat": lambda: tensor.flatten()[:-1], "empty": lambda: tensor[:0], "larger": lambda: torch.cat([tensor] * 2),
    }  # fmt: skip
    others = {key: value for key, value in state.items() if key != name}
    if kind in ("missing", "renamed"):
        return others | ({} if kind == "missing" else {f"{name}_": tensor})
    return state | ({"another": tensor.clone()} if kind == "another" else {name: changed[kind]().contiguous()})


def damage_bytes(whole, kind, how):
    """A file's bytes, some of them as none should be."""
    header = int.from_bytes(whole[:8], "little") + 8
    if kind == "cut":
        return whole[: int(how * len(whole))]
    place = int(how * header) if kind == "header" else header + int(how * (len(whole) - header))
    return whole[:place] + bytes([whole[place] ^ 0x7F]) + whole[place + 1 :]


@pytest.mark.parametrize("kind", ["InfuseNet", "Resampler"])
def test_a_damaged_file_is_refused(kind, pack, loads, attacks, folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folders("infinite_you", tmp_path)
    file, load = loads[kind]
    state, whole = load_file(file), file.read_bytes()
    (tmp_path / "whole.safetensors").write_bytes(whole)
    want = {key: value.float().clone() for key, value in load("whole.safetensors").items()}
    tally, error = attacks.Tally(f"a file of {kind}"), pack.module("infusenet.errors").InfuseNetError

    @attacks.attack(damage=DAMAGES, place=st.floats(0, 1, exclude_max=True))
    def one(damage, place):
        path, (what, how) = tmp_path / "damaged.safetensors", damage
        path.unlink(missing_ok=True)
        if what in ("cut", "changed byte", "header"):
            path.write_bytes(damage_bytes(whole, what, how))
        else:
            save_file(damage_tensors(state, place, what, how), path)

        def right(made):
            far = [key for key, value in made.items() if not near(value.float(), want[key])]
            return f"other weights than the file's: {what}" if far and what != "changed byte" else None

        tally.judge((damage, place), lambda: load(path.name), right, error)

    one()
    tally.close()


def near(value, want):
    """Whether weights are the same, but for what fp8 rounds."""
    return bool(torch.isfinite(value).all()) and float((value - want).norm()) <= NEAR * float(want.norm()) + 1e-6
