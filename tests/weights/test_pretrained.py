"""Folders of transformers: what is missing is refused, never made up."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from infusenet import miniature
from infusenet.errors import SettingsError, WeightsError
from infusenet.weights.pretrained import config_of, load_tokenizer, load_whole, torch_device, weight_files

SHIPPED = Path(miniature.__file__).parent / "weights" / "mini-dev"


@pytest.mark.parametrize(("kind", "lacks"), [("CLIPTokenizer", "vocab.json and merges.txt"), ("T5Tokenizer", "spiece")])
def test_a_tokenizer_without_its_vocabulary_is_refused(tmp_path: Path, kind: str, lacks: str) -> None:
    """transformers 5 makes one of two words up."""
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, "model_max_length": 77}))
    with pytest.raises(WeightsError, match=rf"The tokenizer in .* is missing {lacks}|cannot be read"):
        load_tokenizer(transformers.AutoTokenizer, tmp_path)
    with pytest.raises(WeightsError, match=r"cannot be read|is missing"):
        load_tokenizer(getattr(transformers, kind), tmp_path)


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2"])
def test_a_whole_tokenizer_is_read(name: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(transformers.AutoTokenizer, SHIPPED / name)
    assert len(tokenizer) > 50 and len(tokenizer("a portrait of a person")["input_ids"]) > 3
    copied = shutil.copytree(SHIPPED / name, tmp_path / name)
    (copied / "tokenizer.json").unlink()
    (copied / "vocab.json").unlink(missing_ok=True)
    with pytest.raises(WeightsError, match="Download the folder again"):
        load_tokenizer(transformers.AutoTokenizer, copied)


def test_a_network_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copied = shutil.copytree(SHIPPED / "text_encoder", tmp_path / "text_encoder")
    network = load_whole(transformers.CLIPTextModel, copied, torch.float32, torch.device("cpu"))
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())
    (path,) = weight_files(copied)
    state = load_file(path)
    key = next(name for name in state if name.endswith("final_layer_norm.weight"))
    save_file({name: value for name, value in state.items() if name != key}, path, metadata={"format": "pt"})
    with pytest.raises(
        WeightsError, match=r"not hold a complete CLIPTextModel: 1 weights are missing.*final_layer_norm"
    ):
        load_whole(transformers.CLIPTextModel, copied, torch.float32, torch.device("cpu"))
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_whole(transformers.CLIPTextModel, copied, torch.float32, torch.device("cpu"))
    path.unlink()
    with pytest.raises(WeightsError, match="holds no weights"):
        weight_files(copied)


@pytest.mark.parametrize("text", ["not json", "[]"])
def test_a_damaged_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match="config"):
        config_of(tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"weight_map": 3}', "x"])
def test_a_damaged_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(WeightsError, match="not an index of weights"):
        weight_files(tmp_path)


def test_devices_by_name() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    assert torch_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(SettingsError, match="abacus"):
        torch_device("abacus")
