"""Weight files: what cannot be used is said, and what was loaded gives finite numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from infusenet import IdentityEncoder, load_pipeline, miniature, weights
from infusenet.adapters.infusenet.arcface import IRSE
from infusenet.adapters.infusenet.model import InfuseNetModel
from infusenet.adapters.infusenet.resampler import Resampler
from infusenet.errors import InfuseNetError, MachineError
from infusenet.files import open_picture
from infusenet.generate import GenerateRequest, generate

from .odd import changed, changes
from .oracle import Place, command, expect
from .weight_files import Broken, broken_files, in_want, write


@pytest.fixture(scope="module")
def whole(face) -> SimpleNamespace:
    """A miniature in order, one part of which is exchanged."""
    encoder = IdentityEncoder.from_files(miniature.IMAGE_PROJ, miniature.ARCFACE, miniature.FACE_PACK)
    pipeline, photo = load_pipeline("mini-schnell"), open_picture(face)
    return SimpleNamespace(
        encoder=encoder, pipeline=pipeline, photo=photo, identity=encoder.encode([photo]), network=pipeline.controlnet
    )


def use(seed: str, path: Path, whole: SimpleNamespace) -> None:
    """Load a part, and let it work once."""
    encoder = whole.encoder
    if seed == "infusenet":
        network = InfuseNetModel.beside(whole.pipeline.transformer, path)
        check_module(network)
        whole.pipeline.register_modules(controlnet=network)
        try:
            request = GenerateRequest("a person", steps=1, size=(64, 64))
            picture = generate(whole.pipeline, whole.identity, request).picture
        finally:
            whole.pipeline.register_modules(controlnet=whole.network)
        expect(float(picture.std()) > 0, "the picture is of one colour")
        return
    part = {"resampler": Resampler, "arcface": IRSE}[seed].from_file(path)
    check_module(part)
    parts = (encoder.recognizer, part.float()) if seed == "resampler" else (part, encoder.projector)
    identity = IdentityEncoder(encoder.detector, *parts).encode([whole.photo])
    expect(bool(identity.tokens.isfinite().all()), "the tokens are not finite")
    expect(identity.tokens.ndim == 3 and float(identity.tokens.std()) > 0, "the tokens say nothing")


def check_module(network: torch.nn.Module) -> None:
    for name, parameter in network.named_parameters():
        expect(parameter.is_floating_point(), f"{name} is of {parameter.dtype}")
        expect(bool(parameter.float().isfinite().all()), f"{name} is not finite")


def test_weights(attack: Callable[..., None], whole: SimpleNamespace) -> None:
    def case(place: Place, broken: Broken) -> Callable[[], None]:
        path = write(broken, place.given)

        def act() -> None:
            with in_want(broken.want) as happened:
                try:
                    look(path)
                    use(broken.seed, path, whole)
                except InfuseNetError as error:
                    told = isinstance(error, MachineError)
                    expect(not happened or told, f"want is told as another fault: {error}")
                    expect(not broken.unharmed or bool(happened), f"whole weights are refused: {error}")
                    raise
                expect(not happened, "a reader failed, and nobody said so")

        return act

    attack(broken_files(), case)


def look(path: Path) -> None:
    """All that only reads: header, tensors and words say the same."""
    weights.describe(path)
    header, state = weights.read_header(path), weights.read_weights(path)
    expect(header.keys() == state.keys(), "the header names other tensors than the file holds")
    for name, tensor in state.items():
        expect(header[name].shape == tuple(tensor.shape), f"the header tells another shape of {name}")


def test_models_command(attack: Callable[..., None]) -> None:
    """`infusenet models` lists whatever lies there, and never stops at it."""

    def case(place: Place, broken: Broken) -> Callable[[], None]:
        path = write(broken, place.given)

        def act() -> None:
            with in_want(broken.want):
                said = command("models", str(place.given))
            expect(path.name in said or broken.seed != "resampler" or path.is_dir(), "what lies there is not listed")
            expect(said.replace("\n", "").isprintable(), "what is listed holds what a terminal obeys")

        return act

    attack(broken_files(), case, share=0.3)


def test_config(attack: Callable[..., None], whole: SimpleNamespace) -> None:
    """A folder's config.json, changed."""
    config = miniature.INFUSENET / "config.json"

    def case(place: Place, wanted: Any) -> Callable[[], None]:
        folder = place.given / "InfuseNetModel"
        folder.mkdir()
        (folder / "config.json").write_bytes(changed(json.loads(config.read_text()), wanted))
        (folder / "diffusion_pytorch_model.safetensors").symlink_to(
            miniature.INFUSENET / "diffusion_pytorch_model.safetensors"
        )
        return lambda: use("infusenet", folder, whole)

    attack(changes() | st.just([]), case, share=0.3)
