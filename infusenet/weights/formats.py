"""The two formats of weight files, told apart by their content, and what else may lie in their place.

Pickles are only ever read with `weights_only=True`: code in them is refused, never run.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WeightsError, one_line, raise_if_in_want, reason_of
from .layouts import TensorInfo

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_MAX_HEADER = 100_000_000
_SHOWN = 4
_MOST_PACKED = 2  # times its size that a zip may unpack to
AGAIN = "Download it again and compare its size with the source's."
_WRAPPERS = ("image_proj", "state_dict", "model", "params_ema", "params")
_IP_ADAPTER = ("image_proj", "ip_adapter")
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64}
_BITS |= {"F8_E4M3": 8, "F8_E5M2": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64}
_TORCH_NAMES = {
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "I32": "int32",
    "U8": "uint8",
    "I8": "int8",
    "BOOL": "bool",
}
_MAGIC = (
    (b"GGUF", "a GGUF file (quantised; load it with ComfyUI-GGUF's own loader)"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself (run: git lfs pull)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """While it lasts, what the system says of a file is told in words: want of something, or that it may not be read.

    Raises:
        MachineError: memory or open files are lacking.
        WeightsError: the file cannot be read.
    """
    try:
        yield
    except (OSError, MemoryError) as error:
        raise_if_in_want(error, path)
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path} cannot be read ({reason}). Check its permissions and the disk.") from error


def file_kind(path: Path) -> str:
    """ "safetensors" or "pickle", told from the first bytes.

    Raises:
        WeightsError: neither.
    """
    other = other_kind(path)
    if other:
        raise WeightsError(
            f"{path} is not a weight file: it seems to be {other}. Expected safetensors or a PyTorch pickle. {AGAIN}"
        )
    with path.open("rb") as file:
        start = file.read(9)
    return "safetensors" if len(start) == 9 and start[8:9] == b"{" else "pickle"


def other_kind(path: Path) -> str | None:
    """What a file that is neither safetensors nor a pickle seems to be; None if it may be one of them."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise_if_in_want(error, path)
        return f"unreadable ({error.strerror})"
    if not start:
        return "an empty file"
    named = next((name for magic, name in _MAGIC if start.startswith(magic)), None)
    if named:
        return named
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML page (an error or log-in page saved instead of the file)"
    if path.suffix.lower() == ".onnx":
        return "an ONNX network"
    if start.startswith((b"PK\x03\x04", b"\x80")) or start[8:9] == b"{":
        return None
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start):
        return f"a text file ({start[:40].decode('ascii').strip()!r})"
    return "an unknown kind of file"


def safetensors_header(path: Path) -> dict[str, TensorInfo]:
    """The header of one safetensors file, checked against the file's size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MAX_HEADER:
            raise WeightsError(f"{path} is damaged: its header claims {length} bytes. {AGAIN}")
        text = file.read(length)
    if len(text) < length:
        raise WeightsError(f"{path} is incomplete: it ends within its header, after {size} bytes. {AGAIN}")
    try:
        entries = json.loads(text)
        entries.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        header = {
            key: TensorInfo(tuple(entry["shape"]), _TORCH_NAMES.get(entry["dtype"], entry["dtype"].lower()))
            for key, entry in entries.items()
        }
        uneven = [key for key, entry in entries.items() if not _spans(entry)]
        needed = 8 + length + end
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: its header cannot be read ({reason_of(error)}). {AGAIN}") from error
    if size < needed:
        raise WeightsError(f"{path} is incomplete: {size / 1e6:.1f} of {needed / 1e6:.1f} MB are there. {AGAIN}")
    if size > needed or uneven:
        detail = f"sizes of {first_few(uneven)}" if uneven else f"{size - needed} bytes too many"
        raise WeightsError(f"{path} is damaged: {detail}. {AGAIN}")
    return header


def _spans(entry: dict[str, Any]) -> bool:
    """Whether a header entry's bytes match its shape and dtype (unknown dtypes are left to the reader)."""
    begin, end = entry["data_offsets"]
    bits = _BITS.get(entry["dtype"])
    return bits is None or (end - begin) * 8 == math.prod(entry["shape"]) * bits


def read_safetensors(path: Path, device: str | torch.device) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    safetensors_header(path)  # its errors are clearer
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError, MemoryError, RuntimeError) as error:
        raise_if_in_want(error, path)
        raise WeightsError(f"{path} cannot be read ({one_line(error, 100)}). {AGAIN}") from error


def _refuse_bomb(path: Path) -> None:
    """PyTorch packs nothing: a zip that unpacks to more than it is would fill the memory, for no reason of its own."""
    try:
        with zipfile.ZipFile(path) as held:
            unpacked = sum(entry.file_size for entry in held.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return  # damaged: its reader says how
    if unpacked > path.stat().st_size * _MOST_PACKED:
        raise WeightsError(
            f"{path} was refused because it is compressed and would unpack to {unpacked / 1000000.0:,.0f} MB. "
            f"PyTorch does not write such files. {AGAIN}"
        )


def read_pickle(path: Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """The state dict in a PyTorch pickle; nothing in it is run."""
    import torch

    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        _refuse_bomb(path)
    try:
        if path.suffix == ".safetensors":  # misnamed: given the name, torch would read it as what it is not
            with path.open("rb") as file:
                held = torch.load(file, map_location=device, weights_only=True)
        else:
            held = torch.load(str(path), map_location=device, weights_only=True, mmap=zipped or None)
    except pickle.UnpicklingError as error:
        raise WeightsError(_pickle_complaint(path, str(error))) from error
    except Exception as error:  # damaged bytes raise anything: struct.error, EOFError
        raise_if_in_want(error, path)
        reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        raise WeightsError(f"{path} is incomplete, damaged, or not a PyTorch file ({reason}). {AGAIN}") from error
    state = _unwrapped(held)
    if not state:
        raise WeightsError(
            f"{path} is a pickle without named tensors (it holds {type(held).__name__}). Expected a state dict. "
            "Choose the right file."
        )
    return state


def _pickle_complaint(path: Path, error: str) -> str:
    named = re.search(r"GLOBAL (\S+)", error)
    if named:
        return (
            f"{path} was refused: it asks for {named[1]}, which could run code. Nothing in it was run. Weights need "
            "no code. Get the file from its original source, if possible as safetensors."
        )
    return (
        f"{path} was refused: it is not a plain pickle of tensors, or it is damaged or incomplete. Nothing in it "
        f"was run. {AGAIN}"
    )


def _unwrapped(held: object) -> dict[str, Tensor]:
    """The state dict inside what a pickle holds: bare, or under one of the usual keys; of an IP-Adapter both parts."""
    import torch

    if isinstance(held, Mapping) and all(isinstance(held.get(part), Mapping) for part in _IP_ADAPTER):
        return {
            f"{part}.{key}": value for part in _IP_ADAPTER for key, value in _unwrapped({"model": held[part]}).items()
        }
    for _ in _WRAPPERS:  # at most once each: a pickle may contain itself
        inner = (held.get(key) for key in _WRAPPERS) if isinstance(held, Mapping) else ()
        held = next((one for one in inner if isinstance(one, Mapping)), held)
    if not isinstance(held, Mapping):
        return {}
    return {str(key): value for key, value in held.items() if isinstance(value, torch.Tensor)}


def first_few(items: Iterable[object]) -> str:
    """The first few of a list."""
    every = list(items)
    return ", ".join(one_line(item, 100) for item in every[:_SHOWN]) + (", ..." if len(every) > _SHOWN else "")
