"""A run whose numbers overflow is an error with a word, never a black picture."""

import numpy as np
import pytest
import torch

from infusenet import IdentityEncoder, load_pipeline, miniature
from infusenet.errors import NotFiniteError, SettingsError
from infusenet.generate import GenerateRequest, generate
from infusenet.miniature.people import drawn_reference


@pytest.fixture(scope="module")
def identity():
    encoder = IdentityEncoder.from_files(miniature.IMAGE_PROJ, miniature.ARCFACE, miniature.FACE_PACK)
    return encoder.encode([drawn_reference(0)])


@pytest.fixture
def pipeline():
    return load_pipeline("mini-schnell")


def scaled(module: torch.nn.Module, factor: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor)


def test_weights_that_overflow(pipeline, identity) -> None:
    scaled(pipeline.controlnet, 1e30)
    with pytest.raises(NotFiniteError, match="infinity in the latents"):
        generate(pipeline, identity, GenerateRequest("a portrait of a person", steps=1))


def test_an_autoencoder_that_overflows(pipeline, identity) -> None:
    scaled(pipeline.vae.decoder, 1e30)
    with pytest.raises(NotFiniteError, match="infinity in the decoded picture"):
        generate(pipeline, identity, GenerateRequest("a portrait of a person", steps=1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tokens_that_are_no_numbers(pipeline, identity, value: float) -> None:
    tokens = identity.tokens.clone()
    tokens[0, 0, 0] = value
    with pytest.raises(NotFiniteError, match="infinity in the identity tokens"):
        pipeline("a portrait of a person", identity=tokens, num_inference_steps=1)


@pytest.mark.parametrize("name", ["guidance", "true_cfg", "strength"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30, 1e308])
def test_settings_that_would_overflow_are_refused_where_they_enter(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=name):
        GenerateRequest("a portrait of a person", **{name: value})


@pytest.mark.parametrize("settings", [{"steps": 1_000_000_000}, {"size": (100_000, 100_000)}, {"size": (64, 8)}])
def test_what_would_never_end_is_refused(settings) -> None:
    with pytest.raises(SettingsError, match="Expected"):
        GenerateRequest("a portrait of a person", **settings)


def test_a_usual_run_is_not_disturbed(pipeline, identity) -> None:
    picture = generate(pipeline, identity, GenerateRequest("a portrait of a person", steps=1)).picture
    assert np.asarray(picture).std() > 1


def test_a_prompt_that_is_no_text() -> None:
    with pytest.raises(SettingsError, match="a prompt in UTF-8 text"):
        GenerateRequest("\udcff\udcfe")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--backbone", "", "--face", "f.png"], "argument --backbone: expected a name or a path, got nothing"),
        (["--backbone", "mini-dev", "--face", ""], "argument --face: expected a name or a path, got nothing"),
        (["--backbone", "mini-dev", "--face", "f.png", "--which-face", "\u00b2"], "argument --which-face: expected"),
    ],
)
def test_the_option_is_named(capsys, arguments, told) -> None:
    from infusenet.cli import main

    with pytest.raises(SystemExit, match="2"):
        main(["generate", *arguments, "--prompt", "a person", "--out", "x.png"])
    assert told in capsys.readouterr().err


def test_a_device_that_is_not_there(capsys) -> None:
    from infusenet.weights.pretrained import torch_device

    if torch.backends.mps.is_available():
        pytest.skip("here is an Apple GPU")
    with pytest.raises(SettingsError, match="no Apple GPU"):
        torch_device("mps")


@pytest.mark.parametrize("seed", [-1, 12345678901234567890123])
def test_a_seed_that_is_none(tmp_path, seed) -> None:
    from infusenet.demo.run import run_demo

    with pytest.raises(SettingsError, match="Expected a seed"):
        run_demo(tmp_path, seed=seed)
