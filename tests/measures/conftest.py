"""The fakes of tests/probe, and tiny CLIP and DINOv2 folders with random weights, as transformers saves them."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

_spec = importlib.util.spec_from_file_location("probe_fixtures", Path(__file__).parents[1] / "probe" / "conftest.py")
assert _spec is not None and _spec.loader is not None
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)
globals().update({name: value for name, value in vars(_shared).items() if "fixture" in type(value).__name__.lower()})

SIDE, PATCH = 32, 8


def vision_config(**changes: Any) -> dict[str, Any]:
    """A small vision transformer's sizes."""
    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    return {**sizes, "image_size": SIDE, "patch_size": PATCH, "projection_dim": 12, **changes}


def words(folder: Path) -> Any:
    """A tokenizer of letters and their ends, in CLIP's own files."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: place for place, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIPModel with tokenizer and image processor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    folder.mkdir()
    tokenizer = words(folder)
    text = {"hidden_size": 20, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_dim": 12}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(5)
    config = CLIPConfig(text_config=text, vision_config=vision_config(), projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def image_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPVisionModelWithProjection alone, without a preprocessing of its own."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = tmp_path_factory.mktemp("image_encoder")
    torch.manual_seed(6)
    CLIPVisionModelWithProjection(CLIPVisionConfig(**vision_config())).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dinov2Model with its published preprocessing, at a smaller size."""
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dino") / "tiny-dino"
    torch.manual_seed(7)
    sizes = {key: value for key, value in vision_config(image_size=56).items() if key != "projection_dim"}
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(folder)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    crop = {"height": SIDE, "width": SIDE}
    BitImageProcessor(
        size={"shortest_edge": 40}, crop_size=crop, image_mean=mean, image_std=std, resample=3
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Seven smooth colour fields of several shapes."""
    made = []
    for number, (height, width) in enumerate([(64, 64), (48, 80), (80, 48), (33, 47), (32, 32), (100, 41), (20, 30)]):
        random = np.random.default_rng(number)
        coarse = random.uniform(0, 255, (4, 4, 3)).astype(np.uint8)
        made.append(np.kron(coarse, np.ones((-(-height // 4), -(-width // 4), 1), np.uint8))[:height, :width])
    return made
