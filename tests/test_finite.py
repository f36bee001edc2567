"""A run whose numbers overflow is an error with a word, never a black picture."""

import numpy as np
import pytest
import torch

from infusenet import IdentityEncoder, load_pipeline, miniature
from infusenet.errors import NotFiniteError
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


@pytest.mark.parametrize("settings", [{"true_cfg": 1e38, "negative": "a person"}, {"strength": 1e38}])
def test_settings_that_overflow(pipeline, identity, settings) -> None:
    with pytest.raises(NotFiniteError, match="latents"):
        generate(pipeline, identity, GenerateRequest("a portrait of a person", steps=2, **settings))


def test_a_usual_run_is_not_disturbed(pipeline, identity) -> None:
    picture = generate(pipeline, identity, GenerateRequest("a portrait of a person", steps=1)).picture
    assert np.asarray(picture).std() > 1
