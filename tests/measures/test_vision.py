"""CLIP image, DINOv2 and CLIP text against the same numbers computed through transformers itself."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infusenet.errors import PictureError, SettingsError, WeightsError
from infusenet.measures import MEASURES, Measure, Reference, comparable
from infusenet.measures.vision import clip_image, clip_text, dino


def cosines(embeddings: torch.Tensor, reference: torch.Tensor) -> list[float]:
    return torch.nn.functional.cosine_similarity(embeddings, reference[None]).tolist()


def by_transformers(folder: Path, kind: str, pictures: list[np.ndarray], processor: str) -> torch.Tensor:
    """Embeddings [n, d], one picture at a time, through transformers' own processor and model."""
    import transformers

    pillow = getattr(transformers, f"{processor}Pil", None)  # as published; torchvision's own filter differs
    prepare = (pillow or getattr(transformers, processor)).from_pretrained(folder)
    network = getattr(transformers, kind).from_pretrained(folder).eval()
    rows = []
    for picture in pictures:
        values = prepare(images=picture, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            made = network(pixel_values=values)
        rows.append(made.image_embeds[0] if "image_embeds" in made else made.pooler_output[0])
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("name", "kind", "processor"),
    [
        ("clip-image", "CLIPVisionModelWithProjection", "CLIPImageProcessor"),
        ("dino", "Dinov2Model", "BitImageProcessor"),
    ],
)
def test_a_picture_scores_what_transformers_says(
    name: str, kind: str, processor: str, clip_folder: Path, dino_folder: Path, pictures: list[np.ndarray]
) -> None:
    folder = clip_folder if name == "clip-image" else dino_folder
    measure = MEASURES[name].load(folder, "cpu")
    embeddings = by_transformers(folder, kind, pictures, processor)
    reference = measure.reference(pictures[:1])
    readings = measure.read(pictures, reference)
    assert [reading.similarity for reading in readings] == pytest.approx(cosines(embeddings, embeddings[0]), abs=1e-5)
    assert readings[0].similarity == pytest.approx(1, abs=1e-6)
    assert len({round(reading.similarity or 0, 3) for reading in readings}) > 4, "the pictures are told apart"
    unit = torch.nn.functional.normalize(embeddings[:3], dim=1).mean(0)
    both = [reading.similarity for reading in measure.read(pictures, measure.reference(pictures[:3]))]
    assert both == pytest.approx(cosines(embeddings, unit), abs=1e-5), "several references are their mean"


def test_an_image_encoder_alone_is_a_clip_too(image_encoder_folder: Path, pictures: list[np.ndarray]) -> None:
    """Without a preprocessing of its own the published one is used."""
    from transformers import CLIPImageProcessor

    size = {"height": 32, "width": 32}
    prepare = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    measure = clip_image(image_encoder_folder)
    shutil.copytree(image_encoder_folder, kept := image_encoder_folder.parent / "with_preprocessing")
    prepare.save_pretrained(kept)
    embeddings = by_transformers(kept, "CLIPVisionModelWithProjection", pictures, "CLIPImageProcessor")
    found = [reading.similarity for reading in measure.read(pictures, measure.reference(pictures[:1]))]
    assert found == pytest.approx(cosines(embeddings, embeddings[0]), abs=1e-5)


def test_a_prompt_scores_what_transformers_says(clip_folder: Path, pictures: list[np.ndarray]) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    network, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), CLIPTokenizer.from_pretrained(clip_folder)
    measure = clip_text(clip_folder)
    images = by_transformers(clip_folder, "CLIPVisionModelWithProjection", pictures, "CLIPImageProcessor")
    for prompt in ("a red cat", "dog"):
        tokens = tokenizer([prompt], return_tensors="pt")
        with torch.no_grad():
            inputs = {key: tokens[key] for key in ("input_ids", "attention_mask")}
            want = network.text_projection(network.text_model(**inputs).pooler_output)[0]
        reference = measure.reference([prompt])
        found = [reading.similarity for reading in measure.read(pictures, reference)]
        assert found == pytest.approx(cosines(images, want), abs=1e-5)
        assert reference.blank is None and reference.crops == () and reference.info.pictures == 0
    assert reference.info.source == "prompt" and measure.impostors(reference, pictures) is None
    together = measure.reference(["a red cat", "dog"])
    alone = [measure.reference([prompt]).embedding for prompt in ("a red cat", "dog")]
    mean = torch.nn.functional.normalize(torch.stack(alone).mean(0), dim=0)
    assert torch.allclose(together.embedding, mean, atol=1e-5), "padding changes nothing"


def test_a_long_prompt_is_cut_and_the_record_says_so(clip_folder: Path, caplog: Any) -> None:
    measure = clip_text(clip_folder)
    long, start = "a b c d e f g h i j k l m n o p q r", "a b c d e f g h i j k l m n"
    reference = measure.reference([long], source="the request")
    assert reference.info.source == "the request; its first 14 of 18 tokens" and "at most 14 tokens" in caplog.text
    assert torch.allclose(reference.embedding, measure.reference([start]).embedding, atol=1e-6)


@pytest.mark.parametrize("given", [[], [""], ["  "], [np.zeros((4, 4, 3), np.uint8)]])
def test_no_prompt_is_refused(clip_folder: Path, given: list[Any]) -> None:
    with pytest.raises(SettingsError, match="compares pictures with a prompt"):
        clip_text(clip_folder).reference(given)


def test_batches_and_repetitions_change_nothing(clip_folder: Path, pictures: list[np.ndarray]) -> None:
    measure = clip_image(clip_folder)
    many = [pictures[place % 7] for place in range(20)]
    reference = measure.reference(pictures[:1])
    found = [reading.similarity for reading in measure.read(many, reference)]
    assert found == [reading.similarity for reading in measure.read(many, reference)], "the same, to the last bit"
    singles = [measure.read([picture], reference)[0].similarity for picture in many]
    assert found == pytest.approx(singles, abs=1e-6)


def test_the_name_and_the_rule_tell_the_weights(clip_folder: Path, dino_folder: Path, tmp_path: Path) -> None:
    import hashlib

    digest = hashlib.sha256((clip_folder / "model.safetensors").read_bytes()).hexdigest()[:12]
    one = clip_image(clip_folder)
    assert one.name == f"tiny-clip {digest} (cpu)"
    assert one.rule.name == "clip-image 1" and one.rule.parameters["network"] == f"tiny-clip {digest}"
    other = shutil.copytree(clip_folder, tmp_path / "tiny-clip")
    from safetensors.torch import load_file, save_file

    state = load_file(other / "model.safetensors")
    state["visual_projection.weight"] = state["visual_projection.weight"] + 0.1
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SettingsError, match="measured by different rules"):
        comparable([one.rule, clip_image(other).rule], "Two runs")
    with pytest.raises(SettingsError, match=r"Two runs were measured by different rules.*clip-image 1.*dino 1"):
        comparable([one.rule, dino(dino_folder).rule], "Two runs")


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(("name", "needs"), [("clip-image", "CLIP"), ("dino", "DINOv2"), ("clip-text", "whole CLIP")])
def test_another_models_folder_is_refused(
    name: str, needs: str, clip_folder: Path, dino_folder: Path, image_encoder_folder: Path
) -> None:
    wrong = {"clip-image": dino_folder, "dino": clip_folder, "clip-text": image_encoder_folder}[name]
    with pytest.raises(WeightsError, match=rf"holds a model of type '\w+'. Expected a {needs} model.*another folder"):
        MEASURES[name].load(wrong, "cpu")


@pytest.mark.parametrize("name", ["clip-image", "dino", "clip-text"])
def test_a_folder_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config.json cannot be read.*Choose the folder"):
        MEASURES[name].load(tmp_path / "nowhere", "cpu")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match="is not a model configuration"):
        MEASURES[name].load(tmp_path, "cpu")


@pytest.fixture
def copied(clip_folder: Path, tmp_path: Path) -> Path:
    """A copy of the CLIP folder, to be damaged."""
    return shutil.copytree(clip_folder, tmp_path / "copied")


def test_missing_weights_are_refused(copied: Path, dino_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for folder, key, load in (
        (copied, "visual_projection.weight", clip_image),
        (copied, "text_projection.weight", clip_text),
        (shutil.copytree(dino_folder, tmp_path / "dino"), "layernorm.weight", dino),
    ):
        state = load_file(folder / "model.safetensors")
        kept = {name: value for name, value in state.items() if name != key}
        assert len(kept) == len(state) - 1, f"{key} was there"
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=rf"1 weights are missing.*{key}"):
            load(folder)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def test_no_weights_at_all_are_refused(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="holds no weights: expected model.safetensors"):
        clip_image(copied)
    (copied / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    with pytest.raises(WeightsError, match="is missing model-00001-of-00002.safetensors"):
        clip_image(copied)


def test_no_tokenizer_is_refused(copied: Path) -> None:
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
        (copied / name).unlink(missing_ok=True)
    clip_image(copied)  # needs none
    with pytest.raises(WeightsError, match=r"is missing vocab.json and merges.txt, or tokenizer.json|cannot be read"):
        clip_text(copied)


def test_a_tokenizer_of_another_size_is_refused(copied: Path) -> None:
    path = copied / "tokenizer.json"
    data = json.loads(path.read_text())
    data["model"]["vocab"] |= {f"word {number}": 1000 + number for number in range(100)}
    path.write_text(json.dumps(data))
    with pytest.raises(WeightsError, match="the tokenizer has 154 words, but the text encoder has 54"):
        clip_text(copied)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"do_center_crop": False}, "do_center_crop is not as published"),
        ({"rescale_factor": 1.0}, "rescale_factor"),
        ({"crop_size": {"height": 16, "width": 16}}, "expects pictures of 32 pixels, but the preprocessing makes 16"),
        ({"crop_size": {"height": 32, "width": 16}}, "crop_size"),
        ({"size": {"height": 32, "width": 32}}, "shortest_edge"),
        ({"image_std": [0.0, 1.0, 1.0]}, "deviation"),
    ],
)
def test_an_unknown_preprocessing_is_refused(copied: Path, change: dict[str, Any], said: str) -> None:
    path = copied / "preprocessor_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | change))
    with pytest.raises(WeightsError, match=said):
        clip_image(copied)


def test_old_preprocessing_files_are_understood(copied: Path, pictures: list[np.ndarray]) -> None:
    """As openai's folders have them: sizes as plain numbers."""
    before = clip_image(copied)
    path = copied / "preprocessor_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"size": 32, "crop_size": 32}))
    after = clip_image(copied)
    reference = before.reference(pictures[:1])
    assert [one.similarity for one in before.read(pictures, reference)] == [
        one.similarity for one in after.read(pictures, reference)
    ]


def test_an_unknown_device_is_refused(clip_folder: Path) -> None:
    with pytest.raises(SettingsError, match='Expected the device "auto", "cpu"'):
        clip_image(clip_folder, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="PyTorch finds no GPU"):
            clip_image(clip_folder, device="cuda")
    assert clip_image(clip_folder, device="auto").name.endswith(f"({'cuda' if torch.cuda.is_available() else 'cpu'})")


def test_weights_that_are_not_finite_are_noticed(copied: Path, pictures: list[np.ndarray]) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(copied / "model.safetensors")
    state["visual_projection.weight"].fill_(float("nan"))
    save_file(state, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PictureError, match="cannot encode the reference"):
        clip_image(copied).reference(pictures[:1])


# ------------------------------------------------------------------------------------------ the registry


def test_the_registry(clip_folder: Path, dino_folder: Path, pictures: list[np.ndarray]) -> None:
    assert list(MEASURES) == ["face", "clip-image", "dino", "clip-text"]
    assert all(spec.name == name and spec.title and spec.needs_folder for name, spec in MEASURES.items())
    assert {name for name, spec in MEASURES.items() if spec.of == "prompt"} == {"clip-text"}
    measures: list[Measure] = [
        MEASURES["clip-image"].load(clip_folder, "cpu"),
        MEASURES["dino"].load(dino_folder, "cpu"),
    ]
    for measure in measures:
        assert Reference.from_pictures(measure, pictures[:1]).similarities(measure, pictures[:1]) == [pytest.approx(1)]


def test_a_face_pack_is_a_measure() -> None:
    from infusenet import miniature
    from infusenet.measures import FaceMeasure

    measure = MEASURES["face"].load(miniature.FACE_PACK, "cpu")
    assert isinstance(measure, FaceMeasure) and measure.rule.name == "face 1" and measure.rule.subject == "face"


def test_importing_the_measures_imports_no_large_library() -> None:
    code = (
        "import sys, infusenet.measures; print([n for n in ('transformers', 'PIL', 'onnxruntime') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
