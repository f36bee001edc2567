"""Networks in transformers' own folder layout, from a local folder alone, and refused where a weight is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from ..errors import SettingsError, WeightsError, reason_of

_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def config_of(folder: Path) -> dict[str, Any]:
    """A folder's config.json.

    Raises:
        WeightsError: there is no such folder or file, or it is no JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{folder} is not a transformers model folder: its config.json cannot be read ({error}). Choose the "
            "folder that holds config.json and model.safetensors."
        ) from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is not a model configuration. Download the folder again.")
    return config


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights, as transformers chooses them: one, or the shards of an index.

    Raises:
        WeightsError: there is none.
    """
    first = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if first is None:
        raise WeightsError(
            f"{folder} holds no weights: expected {_FILES[0]} next to config.json. Download the folder again."
        )
    if first.suffix != ".json":
        return [first]
    try:
        named = json.loads(first.read_text(encoding="utf-8"))["weight_map"].values()
        shards = [folder / name for name in sorted(set(named))]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{first} is not an index of weights ({reason_of(error)}). Download the folder again."
        ) from error
    missing = [path.name for path in shards if not os.path.isfile(path)]
    if missing:
        raise WeightsError(
            f"{folder} is missing {', '.join(missing)}, listed in {first.name}. Download the folder again."
        )
    return shards


def load_whole(kind: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """A network of transformers, in evaluation mode and without gradients.

    Args:
        kind: the class, as `transformers.CLIPModel`.
        folder: holds config.json and the weights; nothing is downloaded.
        dtype: of its weights.
        device: where it goes.

    Raises:
        WeightsError: the folder cannot be read, or weights are missing or of another shape: transformers would make
            some up.
    """
    import transformers

    dtype_name = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
    shows_bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        network, info = kind.from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True, **{dtype_name: dtype}
        )
    except Exception as error:  # many kinds, all of them about the folder's files
        raise WeightsError(
            f"The {kind.__name__} in {folder} cannot be read ({error}). Download the folder again."
        ) from error
    finally:
        if shows_bars:
            transformers.utils.logging.enable_progress_bar()
    missing = sorted(map(str, info["missing_keys"])) + [str(wrong[0]) for wrong in info["mismatched_keys"]]
    if missing:
        raise WeightsError(
            f"{folder} does not hold a complete {kind.__name__}: {len(missing)} weights are missing or have another "
            f"shape ({', '.join(missing[:3])}). Download the folder again."
        )
    return torch.nn.Module.to(network, device=device).requires_grad_(False).eval()


def load_tokenizer(kind: Any, folder: Path) -> Any:
    """A tokenizer of transformers, refused where its vocabulary is missing: transformers would make an empty one up.

    Args:
        kind: the class, as `transformers.CLIPTokenizer` or `transformers.AutoTokenizer`.
        folder: holds its files; nothing is downloaded.

    Raises:
        WeightsError: the folder cannot be read, or the files that hold the vocabulary are missing.
    """
    try:
        tokenizer = kind.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # many kinds, all of them about the folder's files
        raise WeightsError(f"The tokenizer in {folder} cannot be read ({error}). Download the folder again.") from error
    names = dict(type(tokenizer).vocab_files_names)
    whole = names.pop("tokenizer_file", None)
    missing = [name for name in names.values() if not (folder / name).is_file()]
    if (missing or not names) and not (whole and (folder / whole).is_file()):
        lacking = ", or ".join(filter(None, (" and ".join(missing), whole)))
        raise WeightsError(
            f"The tokenizer in {folder} is missing {lacking or 'its vocabulary'}. Download the folder again."
        )
    return tokenizer


def torch_device(device: str | torch.device) -> torch.device:
    """The device that a name means.

    Raises:
        SettingsError: an unknown name, or a device that is not there.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f'Expected the device "auto", "cpu", "cuda" or "cuda:N", got {str(device)!r}.') from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f'The device "{device}" is not available: PyTorch finds no GPU. Use "cpu" or "auto".')
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(f'The device "{device}" is not available: PyTorch finds no Apple GPU. Use "cpu" or "auto".')
    return place
