"""Parts of a diffusers folder, taken from the first of several folders that has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import WeightsError
from .pretrained import load_tokenizer, load_whole

_TOKENIZERS = ("tokenizer", "tokenizer_2")


def part(name: str, lenders: Sequence[Path], of: str) -> Path:
    """The first folder that has a part.

    Args:
        name: the part's folder.
        lenders: where to look, in order.
        of: the model's name, for messages.

    Raises:
        WeightsError: none has it.
    """
    for folder in lenders:
        if (folder / name).is_dir():
            return folder / name
    raise WeightsError(
        f"{name}/ was not found in {', '.join(map(str, lenders))}. Download the whole diffusers {of} folder, or "
        "pass components=, a folder that has it."
    )


def texts(
    second: str, lenders: Sequence[Path], of: str, wanted: bool, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Both text encoders and tokenizers, by the pipeline's names.

    Args:
        second: transformers' class of the second encoder; the first is CLIP's.
        lenders, of: see `part`.
        wanted: else each is None.
        dtype, device: of the encoders.

    Raises:
        WeightsError: a folder or a weight is missing.
    """
    import transformers

    encoders = {"text_encoder": transformers.CLIPTextModel, "text_encoder_2": getattr(transformers, second)}
    if not wanted:
        return dict.fromkeys((*encoders, *_TOKENIZERS))
    found = {name: load_whole(kind, part(name, lenders, of), dtype, device) for name, kind in encoders.items()}
    reader = transformers.AutoTokenizer
    return found | {name: load_tokenizer(reader, part(name, lenders, of)) for name in _TOKENIZERS}
