"""Weight files of every kind, whole and broken; sizes, layouts and dtypes are the published ones where it is cheap."""

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from infusenet import weights
from infusenet.adapters.infusenet.arcface import IRSE
from infusenet.adapters.infusenet.resampler import Resampler
from infusenet.errors import MachineError, WeightsError
from infusenet.weights import layouts

FLUX_NAMES = {
    "x_embedder.weight": (64, 8),
    "transformer_blocks.18.attn.to_q.weight": (4, 4),
    "single_transformer_blocks.37.proj_mlp.weight": (4, 4),
}


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(3, 2, generator=generator),
        "b.bias": torch.randn(4, generator=generator),
    }


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether both hold the same names, dtypes and bits."""

    def bits(tensor: torch.Tensor) -> bytes:
        return tensor.flatten().view(torch.uint8).numpy().tobytes()

    return left.keys() == right.keys() and all(
        left[k].dtype == right[k].dtype and bits(left[k]) == bits(right[k]) for k in left
    )


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_a_single_safetensors_file_is_read_in_its_own_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    held = {key: value.to(dtype) for key, value in state().items()}
    save_file(held, tmp_path / "m.safetensors")
    assert same(weights.read_weights(tmp_path / "m.safetensors"), held)
    header = weights.read_header(tmp_path / "m.safetensors")
    assert header["a.weight"] == ((3, 2), str(dtype).removeprefix("torch."))


@pytest.mark.parametrize("wrapped", [lambda s: s, lambda s: {"image_proj": s}, lambda s: {"epoch": 3, "state_dict": s}])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_is_read_bare_or_wrapped(tmp_path: Path, wrapped: Any, zipped: bool) -> None:
    torch.save(wrapped(state()), tmp_path / "m.bin", _use_new_zipfile_serialization=zipped)
    assert same(weights.read_weights(tmp_path / "m.bin"), state())
    assert weights.read_header(tmp_path / "m.bin")["b.bias"] == ((4,), "float32")


def test_content_decides_not_the_file_name(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "really_safetensors.bin")
    torch.save(state(), tmp_path / "really_pickle.safetensors")
    assert same(weights.read_weights(tmp_path / "really_safetensors.bin"), state())
    assert same(weights.read_weights(tmp_path / "really_pickle.safetensors"), state())


def test_a_prefix_on_every_key_is_taken_off(tmp_path: Path) -> None:
    save_file({f"image_proj.{key}": value for key, value in state().items()}, tmp_path / "m.safetensors")
    assert same(weights.read_weights(tmp_path / "m.safetensors"), state())
    assert set(weights.read_header(tmp_path / "m.safetensors")) == set(state())


def sharded(folder: Path) -> None:
    held = state()
    for number, key in enumerate(held, 1):
        save_file({key: held[key]}, folder / f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors")
    index = {key: f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors" for number, key in enumerate(held, 1)}
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(text)


def test_a_sharded_folder_is_read_through_its_index(tmp_path: Path) -> None:
    sharded(tmp_path)
    save_file({"stray": torch.zeros(1)}, tmp_path / "another.safetensors")
    assert same(weights.read_weights(tmp_path), state())
    assert set(weights.read_header(tmp_path)) == set(state())


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"1 of 2 shards .*00002-of-00002"):
        weights.read_weights(tmp_path)


def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "secret.safetensors")
    inside = tmp_path / "model"
    inside.mkdir()
    index = {"weight_map": {"a.weight": "../secret.safetensors"}}
    (inside / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="outside its own folder"):
        weights.read_weights(inside)


def test_folders_without_one_clear_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no weight file"):
        weights.read_weights(tmp_path)
    with pytest.raises(WeightsError, match="There is no weight file"):
        weights.read_weights(tmp_path / "absent")
    (tmp_path / "transformer").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"whole diffusers pipeline.*\(transformer\)"):
        weights.read_weights(tmp_path)
    save_file(state(), tmp_path / "one.safetensors")
    assert same(weights.read_weights(tmp_path), state())
    save_file(state(), tmp_path / "two.safetensors")
    with pytest.raises(WeightsError, match=r"several weight files \(one.safetensors, two.safetensors\)"):
        weights.read_weights(tmp_path)


def test_a_pickle_may_end_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "legacy.bin"
    torch.save({"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for end in range(1, len(whole) - 8):
        path.write_bytes(whole[:end])
        with pytest.raises(WeightsError, match="Download it again|without named tensors|was refused"):
            weights.read_weights(path)


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.999])
@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "legacy.bin"])
def test_a_truncated_file_says_so(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    held = {f"layer.{n}.weight": torch.randn(20, 20) for n in range(9)}
    if path.suffix == ".safetensors":
        save_file(held, path)
    else:
        torch.save(held, path, _use_new_zipfile_serialization=name == "m.bin")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(WeightsError, match=r"(incomplete|damaged).*Download it again"):
        weights.read_weights(path)
    with pytest.raises(WeightsError, match=r"incomplete|damaged"):
        weights.read_header(path)


def test_a_damaged_header_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for text in (b"{ no json", b'{"a": 3}', b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}}'):
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
        with pytest.raises(WeightsError, match="is damaged"):
            weights.read_weights(path)
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(WeightsError, match="header claims"):
        weights.read_header(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.safetensors", b"<!DOCTYPE html><html>Log in</html>", "an HTML page"),
        ("m.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        ("m.safetensors", b"GGUF\x03\0\0\0", "a GGUF file"),
        ("m.bin", b"", "an empty file"),
        ("m.bin", b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        ("m.onnx", b"\x08\x07\x12\x07pytorch", "an ONNX network"),
        ("m.bin", b"Not Found", "a text file ('Not Found')"),
        ("m.bin", b"\x13\x37\x00\xff" * 9, "an unknown kind of file"),
    ],
)
def test_what_is_no_weight_file_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        weights.read_weights(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert says in weights.describe(path)


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark, path = tmp_path / "ran", tmp_path / "image_proj_model.bin"
    torch.save({"image_proj": state(), "x": Malicious(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"asks for posix.mkdir.*Nothing in it was run"):
        weights.read_weights(path)
    with pytest.raises(WeightsError, match="Nothing in it was run"):
        weights.read_header(path)
    assert "refused" in weights.describe(path)
    assert not mark.exists()
    path.write_bytes(pickle.dumps(Malicious(mark), protocol=2))
    with pytest.raises(WeightsError, match="Nothing in it was run"):
        weights.read_weights(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # the bait does work
    assert mark.exists()


def test_a_pickle_without_tensors_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "m.pt")
    with pytest.raises(WeightsError, match="without named tensors"):
        weights.read_weights(tmp_path / "m.pt")
    torch.save(torch.zeros(2), tmp_path / "m.pt")
    with pytest.raises(WeightsError, match="holds Tensor"):
        weights.read_weights(tmp_path / "m.pt")


def test_check_lists_what_differs() -> None:
    held = state()
    shapes = {key: tuple(value.shape) for key, value in held.items()}
    weights.check(held, shapes, "m.bin", "a test net")
    weights.check(held, {**shapes, "bn.num_batches_tracked": ()}, "m.bin", "a test net")
    with pytest.raises(
        WeightsError, match=r"m\.bin is not the right file: expected a test net.*1 missing \(c\.weight\)"
    ):
        weights.check(held, {**shapes, "c.weight": (1,)}, "m.bin", "a test net")
    with pytest.raises(WeightsError, match=r"1 unexpected \(a\.weight\)"):
        weights.check(held, {"b.bias": (4,)}, "m.bin", "a test net")
    with pytest.raises(WeightsError, match=r"1 with another shape \(a\.weight: expected \(2, 3\), found \(3, 2\)\)"):
        weights.check(held, {**shapes, "a.weight": (2, 3)}, "m.bin", "a test net")
    many = {f"layer.{n}": (1,) for n in range(30)}
    with pytest.raises(WeightsError, match=r"30 missing \(layer\.0, layer\.1, layer\.2, layer\.3, \.\.\.\)"):
        weights.check(held, {**shapes, **many}, "m.bin", "a test net")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.float32, float("nan")),
        (torch.float32, float("inf")),
        (torch.bfloat16, float("nan")),
        (torch.float16, float("-inf")),
        (torch.float8_e4m3fn, float("nan")),
        (torch.float8_e5m2, float("inf")),
    ],
)
def test_values_that_are_not_finite_are_found(dtype: torch.dtype, value: float) -> None:
    clean = torch.linspace(-3e2, 3e2, 70).to(dtype)
    weights.check({"w": clean}, {"w": (70,)}, "m.bin", "a test net")
    broken = clean.float().clone()
    broken[41] = value
    with pytest.raises(WeightsError, match=r"NaN or infinity in 1 of 2 tensors \(w\)"):
        weights.check({"w": broken.to(dtype), "v": clean}, {"w": (70,), "v": (70,)}, "m.bin", "a test net")


def test_large_finite_values_pass() -> None:
    huge = torch.full((1000,), 3e38)
    weights.check({"w": huge}, {"w": (1000,)}, "m.bin", "a test net")


def resampler() -> Resampler:
    torch.manual_seed(0)
    return Resampler(dim=96, depth=2, dim_head=32, heads=3, output_dim=96, ff_mult=2)


def test_a_module_is_built_to_the_files_measure(tmp_path: Path) -> None:
    original = resampler()
    torch.save({"image_proj": original.state_dict()}, tmp_path / "image_proj_model.bin")
    loaded = Resampler.from_file(tmp_path / "image_proj_model.bin")
    assert same(dict(loaded.state_dict()), dict(original.state_dict()))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_missing_batch_counters_are_filled_in(tmp_path: Path) -> None:
    held = {k: v for k, v in IRSE(widths=(16, 16, 16, 16)).state_dict().items() if "num_batches_tracked" not in k}
    save_file(held, tmp_path / "arcface.safetensors")
    loaded = IRSE.from_file(tmp_path / "arcface.safetensors")
    assert len(loaded.state_dict()) == 397
    assert not any(value.is_meta for value in loaded.state_dict().values())


def test_shapes_are_refused_before_anything_is_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = dict(resampler().state_dict())
    held["norm_out.weight"] = torch.zeros(3)
    save_file(held, tmp_path / "m.safetensors")
    monkeypatch.setattr(weights, "read_weights", lambda *args, **kwargs: pytest.fail("read the tensors"))
    with pytest.raises(WeightsError, match=r"norm_out\.weight: expected \(96,\), found \(3,\)"):
        Resampler.from_file(tmp_path / "m.safetensors")


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    held = dict(resampler().state_dict())
    held["proj_in.weight"][0, 0] = float("nan")
    save_file(held, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"NaN or infinity in 1 of 29 tensors \(proj_in\.weight\)"):
        Resampler.from_file(tmp_path / "m.safetensors")


@pytest.mark.parametrize("gone", ["latents", "proj_out.weight", "layers.1.0.to_kv.weight", "norm_out.bias"])
def test_a_resampler_that_lacks_a_key_names_it(tmp_path: Path, gone: str) -> None:
    held = dict(resampler().state_dict())
    del held[gone]
    save_file(held, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError) as caught:
        Resampler.from_file(tmp_path / "m.safetensors")
    assert gone in str(caught.value)


@pytest.mark.parametrize(
    "gone", ["output_layer.3.weight", "body.7.shortcut_layer.0.weight", "body.4.res_layer.5.fc1.weight"]
)
def test_an_arcface_that_lacks_a_key_names_it(tmp_path: Path, gone: str) -> None:
    held = dict(IRSE(widths=(16, 16, 16, 16)).state_dict())
    del held[gone]
    save_file(held, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError) as caught:
        IRSE.from_file(tmp_path / "m.safetensors")
    assert gone in str(caught.value)


def test_swapped_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    save_file(dict(resampler().state_dict()), tmp_path / "proj.safetensors")
    save_file(dict(IRSE(widths=(16, 16, 16, 16)).state_dict()), tmp_path / "arc.safetensors")
    with pytest.raises(
        WeightsError, match=r"proj\.safetensors does not hold an ArcFace.*image_proj Resampler \(512 -> 8 x 96\)"
    ):
        IRSE.from_file(tmp_path / "proj.safetensors")
    with pytest.raises(
        WeightsError, match=r"arc\.safetensors does not hold an identity Resampler.*ArcFace IR-SE recognizer"
    ):
        Resampler.from_file(tmp_path / "arc.safetensors")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (FLUX_NAMES, "FLUX.1 schnell transformer, bf16"),
        ({**FLUX_NAMES, "time_text_embed.guidance_embedder.linear_1.weight": (4, 4)}, "FLUX.1 dev transformer"),
        ({"double_blocks.18.img_attn.qkv.weight": (4, 4), "single_blocks.37.linear1.weight": (4, 4)}, "FLUX.1 schnell"),
        (
            {
                "model.diffusion_model.double_blocks.18.img_attn.qkv.weight": (4, 4),
                "model.diffusion_model.single_blocks.37.linear1.weight": (4, 4),
                "model.diffusion_model.guidance_in.in_layer.weight": (4, 4),
                "text_encoders.t5xxl.logit_scale": (1,),
            },
            "FLUX.1 dev transformer in an all-in-one checkpoint",
        ),
        (
            {
                "transformer_blocks.3.a": (1,),
                "single_transformer_blocks.9.a": (1,),
                "controlnet_x_embedder.weight": (1, 1),
            },
            "InfuseNet (4 double, 10 single blocks)",
        ),
        ({"double_blocks.0.a.lora_A.weight": (4, 4)}, "a LoRA"),
        ({"decoder.conv_in.weight": (512, 16, 3, 3)}, "FLUX VAE"),
        ({"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, "a VAE with 4 latent channels"),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": (4, 4)}, "T5 text encoder"),
        ({"text_model.embeddings.position_embedding.weight": (77, 4)}, "CLIP text encoder"),
        ({"something.else": (2_000_000_000,)}, "unknown network (first key 'something.else'), bf16, 2.00 B parameters"),
    ],
)
def test_layouts_are_recognised(names: dict[str, tuple[int, ...]], says: str) -> None:
    held = {key: torch.empty(shape, dtype=torch.bfloat16, device="meta") for key, shape in names.items()}
    assert says in layouts.describe_keys(held)


def test_published_sizes(tmp_path: Path) -> None:
    with torch.device("meta"):
        arcface, projector = IRSE(), Resampler()
    assert len(arcface.state_dict()) == 397
    assert layouts.describe_keys(arcface.state_dict()) == "ArcFace IR-SE50, fp32, 43.8 M parameters"
    assert "image_proj Resampler (512 -> 8 x 4096), fp32, 84.6 M" in layouts.describe_keys(projector.state_dict())


@pytest.mark.slow
def test_files_of_the_published_size_load(tmp_path: Path) -> None:
    arcface = IRSE()
    torch.save(arcface.state_dict(), tmp_path / "recognition_arcface_ir_se50.pth", _use_new_zipfile_serialization=False)
    assert 174e6 < (tmp_path / "recognition_arcface_ir_se50.pth").stat().st_size < 177e6
    assert same(
        dict(IRSE.from_file(tmp_path / "recognition_arcface_ir_se50.pth").state_dict()), dict(arcface.state_dict())
    )
    del arcface
    torch.save({"image_proj": Resampler().state_dict()}, tmp_path / "image_proj_model.bin")
    assert 337e6 < (tmp_path / "image_proj_model.bin").stat().st_size < 340e6
    loaded: nn.Module = Resampler.from_file(tmp_path / "image_proj_model.bin")
    assert sum(parameter.numel() for parameter in loaded.parameters()) == 84_595_968


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"{}" + b"}" * 5_000,
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": null}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [null, null]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}',
        b'{"a": {"dtype": 4, "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": 4, "data_offsets": [0, 4]}}',
        b"{ null }",
    ],
    ids=lambda text: str(text[:60]),
)
def test_no_header_ends_the_listing(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    assert weights.describe(path)
    with pytest.raises(WeightsError):
        weights.read_header(path)


def test_a_nested_index_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text("[" * 100_000)
    assert "cannot be read" in weights.describe(tmp_path)


def test_a_pickle_that_contains_itself(tmp_path: Path) -> None:
    held: dict[str, Any] = {}
    held["state_dict"] = held
    torch.save(held, tmp_path / "m.pt")
    assert "without named tensors" in weights.describe(tmp_path / "m.pt")


def test_a_zip_that_unpacks_to_much_more_is_refused_before(tmp_path: Path) -> None:
    import zipfile

    torch.save({"weight": torch.zeros(1_000_000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    assert weights.read_weights(tmp_path / "plain.pt")["weight"].shape == (1_000_000,)
    with pytest.raises(WeightsError, match="would unpack to 4 MB"):
        weights.read_weights(tmp_path / "bomb.pt")


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.uint8, torch.complex64])
def test_weights_that_are_no_floating_numbers_are_refused(dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in state().items()}
    with pytest.raises(WeightsError, match="floating-point weights"):
        weights.check(tensors, state(), "m.bin", "a network")
    infos = {name: weights.TensorInfo(tuple(tensor.shape), str(dtype)) for name, tensor in state().items()}
    with pytest.raises(WeightsError, match="floating-point weights"):
        weights.check(infos, state(), "m.bin", "a network")


WANTS = [
    MemoryError(),
    RuntimeError("can't start new thread"),
    OSError(24, "Too many open files"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("pthread_create failed: Resource temporarily unavailable"),
]


@pytest.mark.parametrize("error", WANTS, ids=repr)
def test_want_of_memory_or_threads_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from PIL import Image

    from infusenet import miniature
    from infusenet.errors import MachineError
    from infusenet.faces import FaceDetector
    from infusenet.files import open_picture

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    torch.save(state(), tmp_path / "m.pt")
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    monkeypatch.setattr("onnxruntime.InferenceSession.__init__", fail)
    with pytest.raises(MachineError, match="may be fine"):
        weights.read_weights(tmp_path / "m.pt")
    with pytest.raises(MachineError, match="may be fine"):
        FaceDetector.from_pack(miniature.FACE_PACK)
    if isinstance(error, OSError | MemoryError):
        with pytest.raises(MachineError, match="may be fine"):
            open_picture(tmp_path / "p.png")


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "shards"])
@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files")])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_want_at_any_opening_is_told_as_want(tmp_path: Path, monkeypatch, name, error, turn) -> None:
    path, opened, left = tmp_path / name, Path.open, [turn]
    if name == "shards":
        path.mkdir()
        sharded(path)
    else:
        (save_file if path.suffix == ".safetensors" else torch.save)(state(), path)

    def failing(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise error
        return opened(*arguments, **options)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(MachineError, match="may be fine"):
        weights.read_weights(path)


def test_an_allocator_in_want_is_no_damage(tmp_path: Path, monkeypatch) -> None:
    save_file(state(), tmp_path / "m.safetensors")
    want = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 400 bytes")
    monkeypatch.setattr("safetensors.torch.load_file", lambda *_, **__: (_ for _ in ()).throw(want))
    with pytest.raises(MachineError):
        weights.read_weights(tmp_path / "m.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_nothing_but_zeros_is_a_broken_download(dtype: torch.dtype) -> None:
    blank, shapes = torch.zeros(7).to(dtype), {"v": (7,), "w": (7,)}
    with pytest.raises(WeightsError, match="only zeros"):
        weights.check({"v": blank, "w": blank}, shapes, "m.bin", "a test net")
    weights.check({"v": blank, "w": torch.ones(7).to(dtype)}, shapes, "m.bin", "a test net")


def test_names_are_told_in_short_and_plain() -> None:
    with pytest.raises(WeightsError) as caught:
        weights.check({"n" * 3000: torch.ones(1), "a\x1b[31m": torch.ones(1)}, {}, "m.bin", "a test net")
    assert len(str(caught.value)) < 500 and str(caught.value).isprintable()


def test_known_names_with_other_shapes_are_described() -> None:
    flat = {key: torch.ones(1) for key in ("latents", "proj_in.weight", "proj_out.weight")}
    assert "with other shapes" in layouts.describe_keys(flat)


@pytest.mark.parametrize("far", ["body.9999999.res_layer.1.weight", "body.²", "body.x.y"])
def test_an_arcface_numbered_beyond_its_tensors_is_refused_at_once(tmp_path: Path, far: str) -> None:
    save_file({**IRSE(widths=(16, 16, 16, 16)).state_dict(), far: torch.ones(1)}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"numbered beyond|1 unexpected"):
        IRSE.from_file(tmp_path / "m.safetensors")


def test_a_resampler_numbered_beyond_its_tensors_is_refused_at_once(tmp_path: Path) -> None:
    save_file({**resampler().state_dict(), "layers.999999999.0": torch.ones(1)}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match="numbered beyond its 30 tensors"):
        Resampler.from_file(tmp_path / "m.safetensors")


def test_a_header_that_is_no_text_is_not_quoted(tmp_path: Path) -> None:
    save_file(dict(resampler().state_dict()), tmp_path / "m.safetensors")
    content = bytearray((tmp_path / "m.safetensors").read_bytes())
    content[60] = 0xFF
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"UnicodeDecodeError: .utf-8. codec") as caught:
        weights.read_header(tmp_path / "m.safetensors")
    assert len(str(caught.value)) < 500


def test_a_name_that_is_too_long_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There is no weight file"):
        weights.read_weights(tmp_path / ("a" * 5000))
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "x" * 5000}}))
    with pytest.raises(WeightsError, match="1 of 1 shards") as caught:
        weights.read_weights(tmp_path)
    assert len(str(caught.value)) < 500
