"""Weight files: read safely, named for what they seem to be, and checked before they are used.

Safetensors files, single or sharded by an index, and PyTorch pickles; see `formats` for how they are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import WeightsError, raise_if_in_want, reason_of
from .formats import AGAIN, file_kind, first_few, other_kind, read_pickle, read_safetensors, reading, safetensors_header
from .layouts import Shapes, TensorInfo, describe_keys

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Module = TypeVar("Module", bound=torch.nn.Module)

_NOT_CHECKED = "num_batches_tracked"


def weight_files(path: str | Path) -> list[Path]:
    """The files that hold a model's tensors: the file itself, or in a folder the shards of its index, or its one file.

    Raises:
        WeightsError: nothing there, a shard missing, or several files of which none is the obvious one.
    """
    path = Path(path)
    if os.path.isfile(path):  # Path.is_file breaks off at a name that is too long
        return [path]
    if not os.path.isdir(path):
        raise WeightsError(
            f"There is no weight file {path}. Check the path; `infusenet models` lists where to get files."
        )
    indexes = sorted(path.glob("*.safetensors.index*.json")) or sorted(path.glob("*.bin.index*.json"))
    if indexes:
        return _shards(indexes[0])
    names = ("*.safetensors", "*.bin", "*.pth", "*.pt")
    found = next((files for pattern in names if (files := sorted(path.glob(pattern)))), [])
    if len(found) == 1:
        return found
    if not found and (path / "model_index.json").is_file():
        parts = first_few(sorted(part.name for part in path.iterdir() if part.is_dir()))
        raise WeightsError(f"{path} is a whole diffusers pipeline. Choose the folder of one of its parts ({parts}).")
    if not found:
        raise WeightsError(
            f"The folder {path} holds no weight file. Expected a *.safetensors file, or shards with their "
            "*.safetensors.index.json. Choose the folder or file that holds the weights."
        )
    raise WeightsError(
        f"The folder {path} holds several weight files ({first_few(f.name for f in found)}). Choose one of them."
    )


def read_header(path: str | Path) -> dict[str, TensorInfo]:
    """Names, shapes and dtypes of a model's tensors, without reading them where the format allows.

    Raises:
        WeightsError: missing, truncated, damaged, or not a weight file.
    """
    header: dict[str, TensorInfo] = {}
    for file in weight_files(path):
        with reading(file):
            if file_kind(file) == "safetensors":
                header |= safetensors_header(file)
            else:
                held = read_pickle(file)
                header |= {k: TensorInfo(tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in held.items()}
    return _unprefixed(header)


def read_weights(path: str | Path, *, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """A model's tensors by name, in the dtype of the file.

    Args:
        path: a safetensors file, a PyTorch pickle (`.bin`, `.pth`), or a folder with one of them or with shards.
        device: where the tensors are put. On the CPU they are mapped from the file, not copied.

    Returns:
        The state dict. Wrapping keys such as `image_proj` or `state_dict` are taken off.

    Raises:
        WeightsError: missing, truncated, damaged, not a weight file, or a pickle that wants to run code.
    """
    state: dict[str, Tensor] = {}
    for file in weight_files(path):
        with reading(file):
            state |= read_safetensors(file, device) if file_kind(file) == "safetensors" else read_pickle(file, device)
    return _unprefixed(state)


def describe(path: str | Path) -> str:
    """What a file or folder seems to hold, in a few words; never raises for a file's content."""
    try:
        return describe_keys(read_header(path))
    except WeightsError as error:
        file = Path(path)
        return (file.is_file() and other_kind(file)) or str(error)


def check(state: Shapes, expected: Mapping[str, Any], path: object, what: str, *, optional: str = _NOT_CHECKED) -> None:
    """Make sure that tensors have the expected names and shapes and, where their values are at hand, are finite.

    Args:
        state: a state dict, or a header from `read_header` (then values are not looked at).
        expected: shapes by name: tuples, or anything with a `.shape`, as another state dict.
        path: named in the error.
        what: what was expected, as "InfuseNet".
        optional: keys ending in this may be missing.

    Raises:
        WeightsError: lists missing, unexpected and wrongly shaped keys, or tensors that are not finite.
    """
    wanted = {key: tuple(getattr(shape, "shape", shape)) for key, shape in expected.items()}
    missing = [key for key in wanted if key not in state and not key.endswith(optional)]
    unexpected = [key for key in state if key not in wanted]
    wrong = [
        f"{key}: expected {wanted[key]}, found {tuple(tensor.shape)}"
        for key, tensor in state.items()
        if key in wanted and tuple(tensor.shape) != wanted[key]
    ]
    if missing or unexpected or wrong:
        found = (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (wrong, "with another shape"),
        )
        lists = "; ".join(f"{len(keys)} {word} ({first_few(keys)})" for keys, word in found if keys)
        raise WeightsError(
            f"{path} is not the right file: expected {what}, but it seems to be {describe_keys(state)}. Of "
            f"{len(wanted)} tensors: {lists}. Choose another file. If this is the right one, download it again."
        )
    whole = [f"{key}: {_kind(state[key])}" for key in wanted if key in state and not _is_fitting(key, state[key])]
    if whole:
        raise WeightsError(
            f"{path} holds integers, booleans or complex numbers where {what} has floating-point weights, in "
            f"{len(whole)} of {len(state)} tensors ({first_few(whole)}). {AGAIN}"
        )
    _check_finite(state, path, what)


def _kind(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _is_fitting(key: str, tensor: Any) -> bool:
    """Whether a tensor's numbers are of the kind that weights are; counters of batches are whole."""
    return "float" in _kind(tensor) or key.endswith(_NOT_CHECKED)


def misfit(tensors: Shapes, path: object, what: str, error: Exception, expected: str) -> str:
    """The message for a file from whose names and shapes a network's sizes cannot be read."""
    reason = (
        f"the tensor {error.args[0]} is missing" if isinstance(error, KeyError) else f"its sizes disagree ({error})"
    )
    return f"{path} does not hold {what}: {reason}. It seems to be {describe_keys(tensors)}. Expected {expected}."


def load_module(build: Callable[[Shapes], Module], path: str | Path, what: str) -> Module:
    """Build a network to a file's measure and fill it; names and shapes are checked before anything is allocated.

    Args:
        build: makes the untrained network from names and shapes; called with the meta device as the default.
        path: the weight file or folder.
        what: what was expected, for errors.

    Returns:
        The network in the file's own dtypes, on the CPU, in evaluation mode, without gradients.

    Raises:
        WeightsError: see `read_weights` and `check`.
    """
    _fitting(build, read_header(path), path, what)
    return load_checked(build, read_weights(path), path, what)


def load_checked(build: Callable[[Shapes], Module], state: Mapping[str, Tensor], path: object, what: str) -> Module:
    """As `load_module`, for a state dict at hand."""
    import torch

    network = _fitting(build, state, path, what)
    filled = dict(state)
    for key, tensor in network.state_dict().items():
        if key.endswith(_NOT_CHECKED) and key not in filled:
            filled[key] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    network.load_state_dict(filled, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def _fitting(build: Callable[[Shapes], Module], tensors: Shapes, path: object, what: str) -> Module:
    """A network without memory whose keys and shapes equal those given."""
    import torch

    with torch.device("meta"):
        network = build(tensors)
    check(tensors, network.state_dict(), path, what)
    return network


def _shards(index: Path) -> list[Path]:
    """The files that an index names, all of them present."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise_if_in_want(error, index)
        raise WeightsError(f"The shard index {index} cannot be read ({reason_of(error)}). {AGAIN}") from error
    if any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise WeightsError(f"The shard index {index} names files outside its own folder. {AGAIN}")
    missing = [name for name in names if not os.path.isfile(index.parent / name)]  # of any name
    if missing:
        raise WeightsError(
            f"{len(missing)} of {len(names)} shards named by {index} are missing ({first_few(missing)}). Put them "
            "next to the index."
        )
    return [index.parent / name for name in names]


_Value = TypeVar("_Value")


def _unprefixed(tensors: dict[str, _Value]) -> dict[str, _Value]:
    """Without `image_proj.` or `module.` if every key has it (a converted file)."""
    for prefix in ("image_proj.", "module."):
        if tensors and all(key.startswith(prefix) for key in tensors):
            return {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _check_finite(state: Shapes, path: object, what: str) -> None:
    """Raise if a tensor at hand holds NaN or infinity, or if all of them are zero."""
    if all(isinstance(tensor, TensorInfo) for tensor in state.values()):
        return
    import torch

    bad = [key for key, value in state.items() if isinstance(value, torch.Tensor) and not _finite(value)]
    if bad:
        raise WeightsError(
            f"{path} holds NaN or infinity in {len(bad)} of {len(state)} tensors ({first_few(bad)}), so it cannot "
            f"be used as {what}. {AGAIN}"
        )
    held = [value for value in state.values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    if held and all(_is_blank(value) for value in held):
        raise WeightsError(
            f"{path} holds only zeros, like an interrupted download, so it cannot be used as {what}. {AGAIN}"
        )


def _is_blank(tensor: Tensor) -> bool:
    """Whether all its values are zero; the first weights of a whole file tell."""
    return not tensor.is_meta and not bool(tensor.detach().float().any())


def _finite(tensor: Tensor) -> bool:
    """Whether all values are finite, for every floating dtype, without a copy. A meta tensor counts as finite."""
    import torch

    if tensor.is_meta or not tensor.is_floating_point():
        return True
    if tensor.element_size() == 1:  # fp8: few operations exist, so look at the bits
        bits = tensor.detach().view(torch.uint8) & 0x7F
        first_bad = 0x7C if tensor.dtype == torch.float8_e5m2 else 0x7F
        return not tensor.numel() or int(bits.max()) < first_bad
    # a sum is the quickest pass over all values; where it overflows, look at each
    return bool(torch.isfinite(tensor.detach().sum())) or bool(torch.isfinite(tensor).all())
