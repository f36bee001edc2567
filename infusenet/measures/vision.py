"""Measures of whole pictures by published networks: CLIP image, DINOv2, CLIP text.

All are read from a local folder as transformers saves it; nothing is downloaded. What the numbers are:

- `clip_image`: cosine of the projected image embeddings (CLIP-I).
- `dino`: cosine of the class tokens after the last layer norm (the DINO score, with DINOv2).
- `clip_text`: cosine of a prompt's and a picture's projected embeddings (CLIP-T).

They depend on the network, so each rule names its weights: numbers of two networks are refused side by side.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import WeightsError
from ..weights.pretrained import config_of, load_tokenizer, load_whole, torch_device, weight_files
from .base import Pixels, Rule
from .whole import PictureMeasure, PromptMeasure

log = logging.getLogger(__name__)

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP = {"clip": "CLIPModel", "clip_vision_model": "CLIPVisionModelWithProjection"}
_DINO = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}
_BICUBIC = 3  # as Pillow and transformers number it


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is brought to a network's input: shorter side, middle, mean and deviation of its channels.

    Attributes:
        shorter: pixels of the shorter side after resizing; the shape stays.
        crop: side of the square that is cut from the middle, pixels; at most `shorter`.
        mean, std: of the channels, for values 0..1.
        resample: Pillow's number of the filter; 3 is bicubic.
    """

    shorter: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: int = _BICUBIC

    def __call__(self, picture: Pixels) -> Tensor:
        """RGB uint8 [H, W, 3] -> float32 [3, crop, crop]."""
        from PIL import Image

        height, width = picture.shape[:2]
        least, scale = min(height, width), self.shorter
        size = (int(scale * width / least), int(scale * height / least))
        image = Image.fromarray(np.ascontiguousarray(picture))
        pixels = np.asarray(image if image.size == size else image.resize(size, Image.Resampling(self.resample)))
        top, left = (pixels.shape[0] - self.crop) // 2, (pixels.shape[1] - self.crop) // 2
        middle = pixels[top : top + self.crop, left : left + self.crop].astype(np.float32) / 255
        normal = (middle - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))

    def __str__(self) -> str:
        filter_name = "bicubic" if self.resample == _BICUBIC else f"filter {self.resample}"
        return f"shorter side {self.shorter}, {filter_name}, middle {self.crop}"


def preprocessing_of(folder: Path, published: Preprocessing) -> Preprocessing:
    """A folder's preprocessing, from preprocessor_config.json; the published one where it has none.

    Raises:
        WeightsError: it is damaged, or asks for something else than a resized middle square.
    """
    found: Any = None
    for name, inside in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        path = folder / name
        if found is None and path.is_file():
            try:
                whole = json.loads(path.read_text(encoding="utf-8"))
                found = whole if inside is None else whole.get(inside)
            except (OSError, ValueError, AttributeError) as error:
                raise WeightsError(f"{path} cannot be read ({error}). Download it again or delete it.") from error
    if found is None:
        return published
    try:
        return _preprocessing(found, published)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder} asks for unknown preprocessing ({error}). Expected a shorter side, a centre crop, a mean and "
            "a standard deviation. Use the folder as it was published."
        ) from error


def _preprocessing(config: Mapping[str, Any], published: Preprocessing) -> Preprocessing:
    steps = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
    left_out = [name for name in steps if config.get(name, True) is False]
    if left_out or abs(float(config.get("rescale_factor") or 1 / 255) * 255 - 1) > 1e-6:
        raise ValueError(f"{', '.join(left_out) or 'rescale_factor'} is not as published")
    size, crop = config.get("size", published.shorter), config.get("crop_size", published.crop)
    shorter = int(size["shortest_edge"] if isinstance(size, dict) else size)
    sides = {int(side) for side in crop.values()} if isinstance(crop, dict) else {int(crop)}
    if len(sides) != 1 or max(sides) > shorter:
        raise ValueError(f"size {size} and crop_size {crop}")
    mean, std = (tuple(map(float, config.get(f"image_{name}", getattr(published, name)))) for name in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"mean {mean} and deviation {std}")
    return Preprocessing(shorter, sides.pop(), mean, std, int(config.get("resample", published.resample)))


# ------------------------------------------------------------------------------------------ the measures


def clip_image(folder: str | Path, *, device: str = "cpu") -> PictureMeasure:
    """CLIP-I: how alike the content of pictures is to CLIP.

    Args:
        folder: a CLIPModel's or CLIPVisionModelWithProjection's, as transformers saves it.
        device: "cpu", "cuda", "cuda:N" or "auto"; computed in float32.

    Raises:
        WeightsError: it holds another model, or not all of its weights.
        SettingsError: there is no such device.
    """
    path = Path(folder)
    kind, config = _kind_of(path, _CLIP, "a CLIP model with an image encoder (model_type clip or clip_vision_model)")
    network = _network(kind, path, device)
    prepare = _clip_preprocessing(path, config)
    label = _label(path)
    rule = Rule("clip-image 1", {"network": label, "embedding": "projected", "input": str(prepare)}, "picture")
    return PictureMeasure(_name(label, network), rule, _embedder(network, prepare, _clip_pictures))


def dino(folder: str | Path, *, device: str = "cpu") -> PictureMeasure:
    """The DINO score, with DINOv2: how alike objects and scenes are, whatever they are called.

    Args:
        folder: a Dinov2Model's (or one with registers), as transformers saves it.
        device: "cpu", "cuda", "cuda:N" or "auto"; computed in float32.

    Raises:
        WeightsError: it holds another model, or not all of its weights.
        SettingsError: there is no such device.
    """
    path = Path(folder)
    kind, config = _kind_of(path, _DINO, "a DINOv2 model (model_type dinov2)")
    network = _network(kind, path, device)
    prepare = preprocessing_of(path, Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_STD))
    patch = int(config.get("patch_size", 14))
    if prepare.crop % patch:
        raise WeightsError(
            f"{path}: its preprocessing makes pictures of {prepare.crop} pixels, which is not a "
            f"multiple of its patch size {patch}. Download the folder again."
        )
    label = _label(path)
    rule = Rule("dino 1", {"network": label, "embedding": "class token", "input": str(prepare)}, "picture")
    return PictureMeasure(_name(label, network), rule, _embedder(network, prepare, _class_token))


def clip_text(folder: str | Path, *, device: str = "cpu") -> PromptMeasure:
    """CLIP-T: how well pictures fit a prompt. Its `reference` takes prompts.

    A prompt longer than the text encoder takes (77 tokens, start and end included) is compared by its beginning; the
    reference's `info.source` says so.

    Args:
        folder: a whole CLIPModel's with its tokenizer, as transformers saves it.
        device: "cpu", "cuda", "cuda:N" or "auto"; computed in float32.

    Raises:
        WeightsError: it holds another model, not all of its weights, or no tokenizer.
        SettingsError: there is no such device.
    """
    path = Path(folder)
    kind, config = _kind_of(path, {"clip": _CLIP["clip"]}, "a whole CLIP model (model_type clip)")
    network = _network(kind, path, device, text=True)
    tokenizer = _tokenizer(path, int(network.config.text_config.vocab_size))
    prepare = _clip_preprocessing(path, config)
    label = _label(path)
    rule = Rule("clip-text 1", {"network": label, "embedding": "projected", "input": str(prepare)}, "prompt")
    embed = _embedder(network, prepare, _clip_pictures)
    return PromptMeasure(_name(label, network), rule, embed, lambda prompts: _prompts(network, tokenizer, prompts))


# ------------------------------------------------------------------------------------------ folders


def _kind_of(folder: Path, kinds: Mapping[str, str], expected: str) -> tuple[str, dict[str, Any]]:
    """The class that a folder's configuration asks for, and the configuration."""
    config = config_of(folder)
    found = config.get("model_type")
    if found not in kinds:
        raise WeightsError(f"{folder} holds a model of type {found!r}. Expected {expected}. Choose another folder.")
    return kinds[str(found)], config


def _network(kind: str, folder: Path, device: str, *, text: bool = False) -> Any:
    """The whole network in float32; of a CLIPModel the text part is dropped unless it is wanted."""
    import transformers

    weight_files(folder)
    network = load_whole(getattr(transformers, kind), folder, torch.float32, torch_device(device))
    if kind == "CLIPModel" and not text:
        del network.text_model, network.text_projection
    return network


def _clip_preprocessing(folder: Path, config: Mapping[str, Any]) -> Preprocessing:
    size = int(config.get("vision_config", config).get("image_size", 224))
    prepare = preprocessing_of(folder, Preprocessing(size, size, CLIP_MEAN, CLIP_STD))
    if prepare.crop != size:
        raise WeightsError(
            f"{folder}: the network expects pictures of {size} pixels, but the preprocessing makes {prepare.crop}. "
            "Download the folder again."
        )
    return prepare


def _tokenizer(folder: Path, words: int) -> Any:
    import transformers

    tokenizer = load_tokenizer(transformers.CLIPTokenizer, folder)
    if len(tokenizer) > words:
        raise WeightsError(
            f"{folder}: the tokenizer has {len(tokenizer)} words, but the text encoder has {words}. Download the "
            "folder again."
        )
    return tokenizer


def _label(folder: Path) -> str:
    """A folder's name and the start of its weights' sha256: of the file, or of its shards' digests."""
    from ..faces.detect import file_sha256

    digests = [file_sha256(path) for path in weight_files(folder)]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return f"{folder.resolve().name} {whole[:12]}"


def _name(label: str, network: Any) -> str:
    return f"{label} ({network.device.type})"


# ------------------------------------------------------------------------------------------ embedding


def _embedder(
    network: Any, prepare: Preprocessing, forward: Callable[[Any, Tensor], Tensor]
) -> Callable[[Sequence[Pixels]], Tensor]:
    """Pictures -> embeddings [n, d]."""

    def embed(pictures: Sequence[Pixels]) -> Tensor:
        with torch.no_grad(), _exact(network.device):
            return forward(network, torch.stack([prepare(picture) for picture in pictures]).to(network.device))

    return embed


def _clip_pictures(network: Any, pictures: Tensor) -> Tensor:
    return network.visual_projection(network.vision_model(pixel_values=pictures).pooler_output)


def _class_token(network: Any, pictures: Tensor) -> Tensor:
    return network(pixel_values=pictures).last_hidden_state[:, 0]


def _prompts(network: Any, tokenizer: Any, prompts: Sequence[str]) -> tuple[Tensor, str | None]:
    """Embeddings [n, d] of prompts, and how much of them was read where that is not all."""
    most = int(network.config.text_config.max_position_embeddings)
    longest = max(len(tokenizer(prompt, verbose=False)["input_ids"]) for prompt in prompts)
    note = f"its first {most - 2} of {longest - 2} tokens" if longest > most else None
    if note is not None:
        log.warning("CLIP reads at most %d tokens, so this longer prompt is compared by %s.", most - 2, note)
    tokens = tokenizer(list(prompts), padding=True, truncation=True, max_length=most, return_tensors="pt")
    tokens = {name: tokens[name].to(network.device) for name in ("input_ids", "attention_mask")}
    with torch.no_grad(), _exact(network.device):
        return network.text_projection(network.text_model(**tokens).pooler_output), note


def _exact(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """On a GPU, convolutions in whole float32 and by one algorithm, so that a picture has one value."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
