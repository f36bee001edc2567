"""The whole way from photos to tokens, with a detector whose answers are known and small random networks."""

import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from infusenet.adapters.infusenet.arcface import IRSE, crops_to_input
from infusenet.adapters.infusenet.encoder import IdentityEncoder, fused, torch_device
from infusenet.adapters.infusenet.resampler import Resampler
from infusenet.errors import FaceError, NotFiniteError, PictureError, SettingsError, WeightsError
from infusenet.faces.align import norm_crop

Scene = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, pack: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    arcface = IRSE((16, 16, 16, 16))
    for parameter in arcface.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    save_file(arcface.state_dict(), folder / "arcface.safetensors")
    resampler = Resampler(dim=48, depth=2, dim_head=16, heads=3, output_dim=40)
    torch.save({"image_proj": resampler.state_dict()}, folder / "image_proj_model.bin")
    return {
        "image_proj": folder / "image_proj_model.bin",
        "arcface": folder / "arcface.safetensors",
        "face_pack": pack,
    }


@pytest.fixture(scope="module")
def encoder(files: dict[str, Path]) -> IdentityEncoder:
    return IdentityEncoder.from_files(**files)


@pytest.mark.exact
def test_one_photo_becomes_eight_tokens(encoder: IdentityEncoder, scene: Scene) -> None:
    picture = scene((64, 56, 32))
    identity = encoder.encode([picture])
    (face,) = encoder.detect(picture)
    crop = norm_crop(np.ascontiguousarray(picture[..., ::-1]), face.kps)
    assert np.array_equal(identity.faces, crop[None])  # BGR
    with torch.no_grad():
        embedding = encoder.recognizer(crops_to_input(crop[None]))
        tokens = encoder.projector(embedding[:, None])
    assert torch.allclose(identity.embedding, embedding, atol=1e-6)
    assert torch.allclose(identity.tokens, tokens, atol=1e-5)
    assert identity.tokens.shape == (1, 8, 40)
    assert identity.embedding.shape == (1, 512)
    assert (identity.notices, identity.source) == ((), "1 photo")
    assert encoder.token_width == 40


def test_several_photos_are_fused(encoder: IdentityEncoder, scene: Scene) -> None:
    pictures = [scene((64, 56, 32)), scene((48, 64, 24)), scene((72, 72, 40))]
    apart = encoder.encode(pictures, fuse=False)
    together = encoder.encode(pictures)
    assert apart.tokens.shape == (3, 8, 40)
    assert torch.allclose(apart.embedding.norm(dim=1), torch.ones(3), atol=1e-5)
    mean = apart.embedding.double().mean(0)
    assert torch.allclose(together.embedding[0].double(), mean / mean.norm(), atol=1e-6)
    assert together.tokens.shape == (1, 8, 40)
    assert len(together.faces) == 3
    for number, picture in enumerate(pictures):
        assert torch.allclose(encoder.encode([picture]).tokens[0], apart.tokens[number], atol=1e-4)


def test_faces_that_cancel_out_are_not_fused() -> None:
    unit = torch.nn.functional.normalize(torch.randn(1, 512), dim=1)
    with pytest.raises(FaceError, match="nothing in common"):
        fused(torch.cat([unit, -unit]))


def test_pictures_without_a_face_are_named(encoder: IdentityEncoder, scene: Scene) -> None:
    good, empty, small = scene((64, 56, 32)), scene(), scene((64, 56, 16))
    with pytest.raises(FaceError, match=r"The picture \(128x128\): no face was found"):
        encoder.encode([empty])
    with pytest.raises(FaceError, match=r"Picture 2 \(128x128\): no face was found"):
        encoder.encode([good, empty])
    with pytest.raises(FaceError, match=r"Picture 1 \(128x128\): the face is only 3[1-3] pixels wide"):
        encoder.encode([small, good])
    kept = encoder.encode([empty, good, small], on_no_face="skip")
    assert torch.allclose(kept.tokens, encoder.encode([good]).tokens, atol=1e-5)
    assert len(kept.faces) == 1
    assert [notice.split(" (")[0] for notice in kept.notices] == ["Left out: Picture 1", "Left out: Picture 3"]
    with pytest.raises(FaceError, match="None of the 2 pictures has a usable face"):
        encoder.encode([empty, small], on_no_face="skip")


@pytest.mark.exact
def test_of_several_faces_the_largest_is_taken_with_a_notice(
    encoder: IdentityEncoder, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    picture = scene((32, 64, 24), (88, 64, 30))
    with caplog.at_level(logging.WARNING):
        largest = encoder.encode([picture])
    assert "2 faces, and the largest was used" in caplog.text
    assert "0 to 1" in largest.notices[0]
    right, left = encoder.encode([picture], face=1), encoder.encode([picture], face=0)
    assert torch.equal(largest.tokens, right.tokens)
    assert not torch.equal(largest.tokens, left.tokens)
    assert not right.notices
    with pytest.raises(FaceError, match="there is no face 2"):
        encoder.encode([picture], face=2)


def test_degenerate_landmarks_do_not_pass(
    encoder: IdentityEncoder, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = np.array([[10, 10, 90, 90, 0.9]], np.float32)
    points = np.full((1, 5, 2), 50, np.float32)
    monkeypatch.setattr(encoder.detector._model, "detect", lambda *args, **kwargs: (boxes, points))
    with pytest.raises(FaceError, match="fall on one point"):
        encoder.encode([scene()])


def test_odd_calls(encoder: IdentityEncoder, scene: Scene) -> None:
    with pytest.raises(SettingsError, match="at least one photo"):
        encoder.encode([])
    with pytest.raises(SettingsError, match="on_no_face"):
        encoder.encode([scene()], on_no_face="ignore")
    with pytest.raises(SettingsError, match="counted from the left"):
        encoder.encode([scene((64, 56, 32))], face="second")
    with pytest.raises(PictureError, match="Expected a picture"):
        encoder.encode([np.zeros((8, 8, 3), np.float32)])


@pytest.mark.exact
def test_the_recognizer_stays_float32_whatever_the_tokens_are(
    files: dict[str, Path], encoder: IdentityEncoder, scene: Scene
) -> None:
    half = IdentityEncoder.from_files(**files, dtype=torch.bfloat16)
    identity = half.encode([scene((64, 56, 32))])
    full = encoder.encode([scene((64, 56, 32))])
    assert identity.tokens.dtype == torch.bfloat16
    assert torch.equal(identity.embedding, full.embedding)
    with torch.no_grad():
        assert torch.equal(identity.tokens, half.projector(full.embedding.to(torch.bfloat16)[:, None]))


def test_parts_that_do_not_fit_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    save_file(IRSE((16, 16, 16, 16), embedding=256).state_dict(), tmp_path / "arcface.safetensors")
    with pytest.raises(WeightsError, match="embeddings have 256 numbers, but the Resampler expects 512"):
        IdentityEncoder.from_files(**{**files, "arcface": tmp_path / "arcface.safetensors"})
    with pytest.raises(WeightsError, match="ArcFace IR-SE recognizer of width 16"):
        IdentityEncoder.from_files(**{**files, "image_proj": files["arcface"]})
    with pytest.raises(WeightsError, match="image_proj Resampler"):
        IdentityEncoder.from_files(**{**files, "arcface": files["image_proj"]})


def test_damaged_recognizers_do_not_pass(
    encoder: IdentityEncoder, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "embed", lambda crops: torch.full((1, 512), float("nan")))
    with pytest.raises(WeightsError, match="embedding is not finite"):
        encoder.encode([scene((64, 56, 32))])


def test_an_identity_does_not_show_its_numbers(encoder: IdentityEncoder, scene: Scene) -> None:
    assert "tensor(" not in repr(encoder.encode([scene((64, 56, 32))], source="portrait.jpg"))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == torch_device("cpu") == torch.device("cpu")
    with pytest.raises(SettingsError, match="finds no GPU"):
        torch_device("cuda")
    with pytest.raises(SettingsError, match="Expected the device"):
        torch_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device("auto") == torch.device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu(files: dict[str, Path], encoder: IdentityEncoder, scene: Scene) -> None:
    on_gpu = IdentityEncoder.from_files(**files, device="cuda")
    assert (on_gpu.device.type, on_gpu.dtype) == ("cuda", torch.bfloat16)
    identity = on_gpu.encode([scene((64, 56, 32))])
    assert identity.tokens.device.type == "cpu"
    assert torch.allclose(identity.embedding, encoder.encode([scene((64, 56, 32))]).embedding, atol=1e-2)


def test_no_network_is_tried(files: dict[str, Path], scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("tried to reach the network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    IdentityEncoder.from_files(**files).encode([scene((64, 56, 32))])


def test_importing_the_package_loads_none_of_the_large_libraries() -> None:
    code = (
        "import sys, infusenet.faces, infusenet.weights, infusenet.files, infusenet.faces.align\n"
        "print([m for m in ('torch', 'insightface', 'onnxruntime', 'cv2', 'diffusers', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.exact
def test_faces_are_read_from_any(encoder: IdentityEncoder, scene: Scene, kps_of: Any) -> None:
    rgb = scene((64, 56, 32))
    rgba = np.dstack([rgb, np.full((128, 128), 255, np.uint8)])
    assert torch.equal(encoder.encode([rgba]).tokens, encoder.encode([rgb]).tokens)


def test_a_photo_on_its_side_is_turned_with_a_notice(
    encoder: IdentityEncoder, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright, lying = scene((64, 56, 32)), np.ascontiguousarray(np.rot90(scene((64, 56, 32))))
    inner = encoder.detector.detect
    monkeypatch.setattr(
        encoder.detector, "detect", lambda rgb, **options: inner(rgb, **options) if np.array_equal(rgb, upright) else []
    )
    found = encoder.encode([lying])
    assert np.array_equal(found.faces, encoder.encode([upright]).faces)
    assert found.notices == (
        "The picture (128x128) was turned by 270 degrees (counter-clockwise) because its face is found best that way.",
    )


def test_tokens_that_overflow_are_refused(files: dict[str, Path], scene: Scene) -> None:
    encoder = IdentityEncoder.from_files(**files)
    with torch.no_grad():
        encoder.projector.proj_in.weight.mul_(1e38)
    with pytest.raises(NotFiniteError, match="identity tokens"):
        encoder.encode([scene((64, 56, 32))])
