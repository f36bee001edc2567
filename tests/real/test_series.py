"""Denoising-like series of real photographs: what a probe would see while FLUX makes a photograph.

The predictions are those of a noise model, not of FLUX: a photograph is encoded by the real TAEF1 (FLUX's own latent
space), noised at dev's 28 levels, and the best linear estimate under the photograph's own spectrum (Wiener) is what a
step "believes". The first are blank, then coarse, then sharp, as a sampler's predictions are. In pixels the same with
white and with coarse noise. All go through the probe's recorder, the first through TAEF1's decoder.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from infusenet.backbones import get_backbone
from infusenet.faces import FaceRecognizer
from infusenet.measures import measure_of
from infusenet.measures.lines import bar_of
from infusenet.probe import ProbeRecorder, Reference, Trace
from infusenet.probe.drift import analyse
from infusenet.probe.stopping import is_on_course, should_stop
from infusenet.sampling import flux_sigmas

SIDE, STEPS = 384, 28
FILES = Path(os.environ.get("INFUSENET_REAL") or Path(__file__).parents[3] / "shared" / "real") / "vae_approx"
PEOPLE = {"person_b_1": "person_b_2", "obama": "obama2"}  # the picture: its reference
OTHERS = ("person_a_2", "person_b_2", "obama3", "impostor_2", "biden", "astronaut")
SAME = {"person_b_1": "person_b_2", "obama": "obama3"}  # never their own impostors
BACK_FILLED = 0.025


@pytest.fixture(scope="module")
def taef1() -> Any:
    """FLUX's tiny autoencoder, from the layout that ComfyUI reads."""
    if not (FILES / "taef1_decoder.safetensors").is_file():
        pytest.skip(f"no real TAEF1 in {FILES}; INFUSENET_REAL names the folder that holds vae_approx")
    from diffusers import AutoencoderTiny
    from safetensors.torch import load_file

    network = AutoencoderTiny(latent_channels=16)
    state = {f"encoder.layers.{key}": value for key, value in load_file(FILES / "taef1_encoder.safetensors").items()}
    for key, value in load_file(FILES / "taef1_decoder.safetensors").items():
        place, _, rest = key.partition(".")
        state[f"decoder.layers.{int(place) - 1}.{rest}"] = value  # the published one begins with a clamp
    network.load_state_dict(state)
    return network.eval()


@pytest.fixture(scope="module", params=["scrfd", "yunet"])
def recognizer(request: pytest.FixtureRequest, scrfd_file: Path, zoo: Path, sface: FaceRecognizer) -> FaceRecognizer:
    """SFace behind each of the two detectors."""
    if request.param == "yunet":
        return sface
    return FaceRecognizer.from_files(scrfd_file, next(zoo.glob("*sface*.onnx")))


def squared(picture: np.ndarray) -> np.ndarray:
    """A photograph at a size whose latents are small: the middle square, SIDE pixels a side."""
    from PIL import Image

    short = min(picture.shape[:2])
    top, left = (picture.shape[0] - short) // 2, (picture.shape[1] - short) // 2
    square = Image.fromarray(picture[top : top + short, left : left + short])
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def as_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def power(signal: Tensor) -> Tensor:
    """The power of a signal [1, C, h, w] by frequency, averaged over directions."""
    height, width = signal.shape[-2:]
    square = torch.fft.fft2(signal).abs().square() / (height * width)
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
    ring = ((rows**2 + columns**2).sqrt() * 64).round().long().flatten()
    count = torch.bincount(ring).float()
    rings = [torch.zeros_like(count).index_add(0, ring, channel.flatten()) / count for channel in square[0]]
    return torch.stack([values[ring].reshape(height, width) for values in rings])[None]


def predictions(clean: Tensor, sigmas: Tensor, noise: Tensor) -> Iterator[Tensor]:
    """The best linear estimate of `clean` from (1 - sigma) clean + sigma noise, at each noise level."""
    mean = clean.mean((2, 3), keepdim=True)
    signal, strength = power(clean - mean), power(noise)
    for sigma in sigmas.tolist():
        seen = (1 - sigma) * (clean - mean) + sigma * noise
        gain = signal * (1 - sigma) / ((1 - sigma) ** 2 * signal + sigma**2 * strength + 1e-12)
        yield mean + torch.fft.ifft2(torch.fft.fft2(seen) * gain).real


def noise_like(clean: Tensor, kind: str) -> Tensor:
    """White noise, or noise of eight-pixel blotches, of deviation 1."""
    generator = torch.Generator().manual_seed(1)
    if kind != "coarse":
        return torch.randn(clean.shape, generator=generator)
    small = torch.randn((1, clean.shape[1], clean.shape[2] // 8, clean.shape[3] // 8), generator=generator)
    noise = torch.nn.functional.interpolate(small, size=clean.shape[2:], mode="bilinear")
    return noise / noise.std()


def watched(
    recognizer: FaceRecognizer, reference: Reference, clean: Tensor, noise: Tensor, decode: Any, **options: Any
) -> tuple[Trace, list[Tensor]]:
    """A probe on the series."""
    sigmas = flux_sigmas(STEPS, get_backbone("flux-dev"), image_seq_len=(SIDE // 16) ** 2)
    shown = list(predictions(clean, sigmas[:-1], noise))
    recorder = ProbeRecorder(recognizer, reference, decode, batch_size=1, quality=False, **options)
    recorder.start(sigmas)
    for step, prediction in enumerate(shown, 1):
        recorder.on_step(step, sigmas[step - 1], prediction)
    return recorder.finish(latents=clean), shown


def check(trace: Trace) -> int:
    """What must hold of every such series; gives back the first step in which the face was seen."""
    seen = [record.step for record in trace.records if record.found[0]]
    first, blank = seen[0], trace.blank
    assert trace.final is not None and trace.final.found == (True,) and blank is not None and blank.std is not None
    assert first > 3, "the first predictions are blank"
    figures = analyse(trace)
    assert figures.peak is not None and figures.peak.step in {*seen, trace.final.step}
    assert figures.peak.step >= STEPS - 3, "a series that only grows sharper ends at its best"
    assert figures.formed is None or figures.formed >= first
    assert figures.drift is not None and figures.drift <= 0.03
    assert all(trace.mean(record) is None for record in trace.records if record.step < first)
    values: list[float | None] = []
    for record in trace.records:
        values.append(trace.mean(record))
        assert should_stop(values) is None or record.step > first, "never before a face is seen"
        if is_on_course([values[-1]], bar_of(trace.strangers, trace.blank)):
            assert record.step >= first, "nor is a run cut short"
    return first


@pytest.mark.slow
@pytest.mark.parametrize(("recognizer", "who"), [*zip(("yunet", "scrfd"), PEOPLE)], indirect=["recognizer"])
def test_a_photograph_that_forms_in_fluxs_latent_space(
    who: str, recognizer: FaceRecognizer, photos: dict[str, np.ndarray], taef1: Any
) -> None:
    measure = measure_of(recognizer)
    reference = measure.reference([photos[PEOPLE[who]]])
    others = measure.impostors(reference, [photos[name] for name in OTHERS if name != SAME[who] and name in photos])

    def decode(latents: Tensor) -> Tensor:
        return (taef1.decode(latents).sample / 2 + 0.5).clamp(0, 1)

    with torch.no_grad():
        clean = taef1.encode(as_tensor(squared(photos[who])) * 2 - 1).latents
        trace, shown = watched(recognizer, reference, clean, noise_like(clean, "white"), decode, strangers=others)
        first = check(trace)
        assert others is not None and others.count == 5 and reference.blank is not None
        unseen = [record for record in trace.records if record.step < first]
        assert all(record.alignment == ("back-filled",) for record in unseen), "hollow points, for the eye"
        levels = [record.similarity[0] for record in unseen]
        assert max(levels) - min(levels) > 0.1, "the U that is no identity stays visible"
        # where the photograph itself has the face, in which nothing is blurred and no autoencoder was
        (face,) = recognizer.detect(squared(photos[who]))[:1]
        true = np.asarray(face.kps, np.float32) / SIDE
        errors = []
        for record in unseen:
            pixels = (decode(shown[record.step - 1])[0].permute(1, 2, 0) * 255).round().byte().numpy()
            crop = recognizer.crop(pixels, true * SIDE)
            embedding = torch.as_tensor(recognizer.embed(crop[None]))[0]
            errors.append(abs(float(embedding @ reference.embedding) - record.similarity[0]))
        print(f"{who}: seen from step {first}, back-filled error {np.mean(errors):.3f} (largest {max(errors):.3f})")
        assert np.mean(errors) <= BACK_FILLED


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["white", "coarse"])
@pytest.mark.parametrize("fallback", [False, True])
def test_a_photograph_that_forms_in_pixels(
    kind: str, fallback: bool, recognizer: FaceRecognizer, photos: dict[str, np.ndarray]
) -> None:
    reference = measure_of(recognizer).reference([photos["person_b_2"]])
    clean = as_tensor(squared(photos["person_b_1"])) * 2 - 1
    pose = np.full((5, 2), 0.5) + np.array([[-0.1, -0.1], [0.1, -0.1], [0, 0], [-0.08, 0.1], [0.08, 0.1]])

    def decode(latents: Tensor) -> Tensor:
        return (latents / 2 + 0.5).clamp(0, 1)

    options = {"fallback_kps": pose} if fallback else {}
    trace, _ = watched(recognizer, reference, clean, noise_like(clean, kind) * 1.5, decode, when="live", **options)
    first = check(trace)
    kinds = {record.alignment[0] for record in trace.records if record.step < first}
    assert kinds == {"carried" if fallback else "back-filled"}
