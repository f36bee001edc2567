"""Weight files with something wrong: tensors, headers and indexes changed, bytes cut, pickles that want more."""

from __future__ import annotations

import errno
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import safetensors.torch
import torch
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from infusenet import miniature

from .odd import Change, changed, changes

SEEDS = {
    "resampler": miniature.IMAGE_PROJ,
    "arcface": miniature.ARCFACE,
    "infusenet": miniature.INFUSENET / "diffusion_pytorch_model.safetensors",
}
DTYPES = ("bool", "uint8", "int8", "int32", "int64", "complex64", "float16", "bfloat16", "float64", "float8_e4m3fn",
          "float8_e5m2")  # fmt: skip
NAMES = ("", "x", "latents", "layers.99.0.to_q.weight", "layers..weight", "layers.x.0",
"body.9999999.res_layer.1.weight",
         "body.-1.x", "body.٣.x", "transformer_blocks.²", "transformer_blocks.999999999.x", "module.x",
         "image_proj.latents", "__metadata__",
         "a\x1b[31m", "a\nb", "state_dict", "n" * 3000, "lora_", "double_blocks.0.img_attn.qkv.weight")  # fmt: skip
TENSOR_OPERATIONS = ("dtype", "all dtype", "reshape", "flat", "scalar", "empty", "drop", "rename", "add", "scale",
"all scale",
                     "nan", "inf", "zero", "all zero", "prefix", "short", "long")  # fmt: skip
FORMATS = ("safetensors", "safetensors", "pickle", "legacy pickle", "wrapped pickle", "shards")
PICKLES = ("itself", "code", "mkdir", "bomb", "list", "nested", "numbers", "not a pickle", "zip of text", "subclass")
WANTS = {
    "memory": lambda: MemoryError(),
    "no memory": lambda: OSError(errno.ENOMEM, "Cannot allocate memory"),
    "files": lambda: OSError(errno.EMFILE, "Too many open files"),
    "threads": lambda: RuntimeError("can't start new thread"),
    "foreign": lambda: SafetensorError("Error while deserializing: I/O error: Cannot allocate memory (os error 12)"),
    "allocator": lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 400 bytes"),
}
READERS = {"open": ("memory", "no memory", "files"), "load_file": tuple(WANTS), "load": tuple(WANTS)}
"""What may fail, and how: a file that is opened or read through `open`, safetensors, torch."""


@dataclass(frozen=True)
class Broken:
    """How a weight file is made; see `write`."""

    seed: str
    format: str = "safetensors"
    tensors: tuple[tuple[str, int, Any], ...] = ()  # operation, a number that chooses the tensor, a value
    header: tuple[Change, ...] = ()  # what is done to the header's JSON, or to the index's
    cut: float | None = None
    pickle: str | None = None
    want: tuple[str, str, int] | None = None  # what fails in reading, how, and at which call

    def __repr__(self) -> str:
        changes = {name: value for name, value in vars(self).items() if value not in (None, (), "safetensors")}
        return f"Broken({changes})"

    @property
    def unharmed(self) -> bool:
        return not (self.tensors or self.header or self.cut is not None or self.pickle)


def broken_files() -> st.SearchStrategy[Broken]:
    seeds = st.sampled_from(("resampler", "resampler", "arcface", "infusenet"))
    value = st.sampled_from((*DTYPES, *NAMES, 1e30, 1e38, -1e3, 0.0, 1e-30))
    operations = st.tuples(st.sampled_from(TENSOR_OPERATIONS), st.integers(0, 500), value)
    tensors = st.lists(operations, min_size=1, max_size=2).map(tuple)
    header = changes().map(tuple)
    wants = st.sampled_from([(reader, error) for reader, errors in READERS.items() for error in errors])
    wants = st.tuples(wants, st.integers(1, 6)).map(lambda drawn: (*drawn[0], drawn[1] if drawn[0][0] == "open" else 1))
    return st.one_of(
        st.builds(Broken, seeds, st.sampled_from(FORMATS), tensors),
        st.builds(Broken, seeds, st.just("safetensors"), tensors),
        st.builds(Broken, seeds, st.sampled_from(("safetensors", "shards")), header=header),
        st.builds(Broken, seeds, st.sampled_from(FORMATS), cut=st.floats(0, 1, exclude_max=True)),
        st.builds(Broken, seeds, pickle=st.sampled_from(PICKLES)),
        st.builds(Broken, seeds, st.sampled_from(FORMATS), want=wants),
    )


def write(broken: Broken, folder: Path) -> Path:
    """The file, or the folder where there are shards."""
    path = folder / {"resampler": "image_proj_model", "arcface": "recognition_arcface_ir_se50"}.get(broken.seed, "sim")
    if broken.pickle is not None:
        return _pickled(broken.pickle, path.with_suffix(".bin"), folder)
    if not broken.tensors and not broken.header and broken.format == "safetensors":
        path = path.with_suffix(".safetensors")
        path.write_bytes(SEEDS[broken.seed].read_bytes())
    else:
        state = _changed_tensors(_state(broken.seed), broken.tensors)
        path = _saved(state, broken, path)
    if broken.header and broken.format == "safetensors":
        content = path.read_bytes()
        end = 8 + struct.unpack("<Q", content[:8])[0]
        text = changed(json.loads(content[8:end]), list(broken.header))
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[end:])
    if broken.cut is not None:
        for file in [path] if path.is_file() else sorted(path.glob("*.safetensors"))[:1]:
            file.write_bytes(file.read_bytes()[: int(file.stat().st_size * broken.cut)])
    return path


@cache
def _state(seed: str) -> dict[str, torch.Tensor]:
    return load_file(SEEDS[seed])


def _saved(state: dict[str, torch.Tensor], broken: Broken, path: Path) -> Path:
    if broken.format == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    elif broken.format == "shards":
        path.mkdir()
        names = sorted(state)
        halves = {"one-00001.safetensors": names[: len(names) // 2], "two-00002.safetensors": names[len(names) // 2 :]}
        for file, keys in halves.items():
            save_file({key: state[key] for key in keys}, path / file)
        index = {"metadata": {}, "weight_map": {key: file for file, keys in halves.items() for key in keys}}
        (path / "model.safetensors.index.json").write_bytes(changed(index, list(broken.header)))
        if broken.seed == "infusenet":
            (path / "config.json").write_bytes((miniature.INFUSENET / "config.json").read_bytes())
    else:
        path = path.with_suffix(".bin")
        held = {"image_proj": state} if broken.format == "wrapped pickle" else state
        torch.save(held, path, _use_new_zipfile_serialization=broken.format != "legacy pickle")
    return path


def _changed_tensors(state: dict[str, torch.Tensor], operations: tuple[tuple[str, int, Any], ...]) -> dict[str, Any]:
    state = dict(state)
    for operation, number, value in operations:
        if not state:
            break
        key = sorted(state)[number % len(state)]
        tensor = state[key]
        every = list(state) if operation.startswith("all ") or operation == "prefix" else [key]
        factor = value if isinstance(value, float) else 1e30
        dtype = getattr(torch, value if value in DTYPES else "int32")
        name = value if isinstance(value, str) and value not in DTYPES else "x"
        for each in every:
            old = state[each].real if state[each].is_complex() else state[each]
            match operation.removeprefix("all "):
                case "dtype":
                    state[each] = old.float().to(dtype)
                case "scale":
                    state[each] = old.float() * factor
                case "zero":
                    state[each] = torch.zeros_like(old)
                case "prefix":
                    state[f"{name}{each}"[:2000]] = state.pop(each)
        match operation:
            case "reshape":
                state[key] = tensor.reshape(-1, *tensor.shape[:1]) if tensor.numel() and tensor.ndim else tensor[None]
            case "flat":
                state[key] = tensor.flatten()
            case "scalar":
                state[key] = torch.tensor(1.0)
            case "empty":
                state[key] = tensor.flatten()[:0]
            case "short" | "long":
                rows = tensor if tensor.ndim else tensor[None]
                state[key] = rows[:-1].clone() if operation == "short" else torch.cat([rows, rows])
            case "drop":
                del state[key]
            case "rename":
                state[name] = state.pop(key)
            case "add":
                state[name] = torch.ones(2)
            case "nan" | "inf" if tensor.numel() and tensor.is_floating_point():
                spoilt = tensor.clone().flatten()
                spoilt[number % len(spoilt)] = float(operation)
                state[key] = spoilt.reshape(tensor.shape)
    if "__metadata__" in state:
        state["metadata"] = state.pop("__metadata__")
    return {key: value.contiguous().clone() for key, value in state.items()}


class Calls:
    """Pickled, it asks for a function to be called."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def _pickled(what: str, path: Path, folder: Path) -> Path:
    import os

    held: Any = {"latents": torch.ones(2)}
    match what:
        case "itself":
            held["model"] = held
        case "code":
            held["x"] = Calls(eval, f"open({str(folder / 'ran')!r}, 'w')")
        case "mkdir":
            path.write_bytes(pickle.dumps(Calls(os.mkdir, str(folder / "ran")), protocol=2))
            return path
        case "bomb":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
                packed.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
                packed.writestr("archive/data/0", b"\0" * 30_000_000)
            return path
        case "list":
            held = [torch.ones(2)]
        case "nested":
            for _ in range(200):
                held = {"model": held}
        case "numbers":
            held = {1: torch.ones(2), None: torch.ones(1), "s": "text"}
        case "not a pickle":
            path.write_bytes(b"\x80\x04" + bytes(range(256)))
            return path
        case "zip of text":
            with zipfile.ZipFile(path, "w") as packed:
                packed.writestr("archive/data.pkl", "no pickle")
            return path
        case "subclass":
            held = {"latents": torch.nn.Parameter(torch.ones(2)), "sparse": torch.eye(3).to_sparse()}
    torch.save(held, path)
    return path


@contextmanager
def in_want(want: tuple[str, str, int] | None) -> Iterator[list[bool]]:
    """While it lasts, one call of a reader fails for want of something; tells whether it did."""
    happened: list[bool] = []
    if want is None:
        yield happened
        return
    reader, error, turn = want
    left = [turn]

    def failing(original: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                happened.append(True)
                raise WANTS[error]()
            return original(*arguments, **options)

        return call

    owner, name = {
        "open": (Path, "open"),
        "load_file": (safetensors.torch, "load_file"),
        "load": (torch, "load"),
    }[reader]
    with mock.patch.object(owner, name, failing(getattr(owner, name))):
        yield happened
