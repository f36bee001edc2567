"""The judging recognizer: shipped, small, of other people than the other two, and able to tell unseen ones apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infusenet import miniature
from infusenet.faces import FaceRecognizer
from infusenet.miniature import faces, networks
from infusenet.miniature.evaluation import subjects

PEOPLE = 30
SEED = 9900  # of the people looked at here


@pytest.fixture(scope="module")
def recognizer() -> FaceRecognizer:
    return miniature.judging_recognizer()


def drawn(identities: dict[str, torch.Tensor], generator: torch.Generator, **kind: Any) -> subjects.Pictures:
    return subjects.as_pictures(faces.render(identities, faces.sample_scenes(PEOPLE, generator, **kind)).images)


@pytest.fixture(scope="module")
def cosines(recognizer: FaceRecognizer) -> np.ndarray:
    """[scenes, references] of 30 people."""
    generator = torch.Generator().manual_seed(SEED)
    identities = faces.sample_identities(PEOPLE, generator)
    reference, scene = drawn(identities, generator, plain=True), drawn(identities, generator, styled=0.0)
    embedded = [np.stack([recognizer.embed_picture(p) for p in pictures]) for pictures in (reference, scene)]
    return embedded[1] @ embedded[0].T


def test_the_file_is_small_and_is_no_part_of_the_face_pack(recognizer: FaceRecognizer) -> None:
    assert miniature.JUDGING_RECOGNIZER.stat().st_size <= 800_000
    assert recognizer.path == miniature.JUDGING_RECOGNIZER
    assert recognizer.detector.path.parent == miniature.FACE_PACK
    assert FaceRecognizer.from_pack(miniature.FACE_PACK).path.name == "rec_mini.onnx"  # the one that measures, as ever
    assert recognizer._width == networks.JudgingRecognizer.dim


def test_unseen_people_are_told_apart(cosines: np.ndarray) -> None:
    own, others = np.diag(cosines), cosines[~np.eye(PEOPLE, dtype=bool)]
    assert (cosines.argmax(1) == np.arange(PEOPLE)).mean() >= 0.95
    assert own.mean() > 0.7
    assert abs(others.mean()) < 0.05 and others.std() < 0.15


def test_a_blank_crop_is_nobody(recognizer: FaceRecognizer) -> None:
    people = recognizer.embed([recognizer.crop(p, f.kps) for p in subjects.references(8) for f in recognizer.detect(p)])
    blank = recognizer.embed(subjects.blank_crops())
    assert np.isfinite(blank).all() and (blank @ people.T).max() < 0.45


class TestTraining:
    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        pytest.importorskip("diffusers")

    def test_nobody_is_learnt_from_twice(self) -> None:
        """By the seeds and numbers of the training program, two recognizers and the held-out people share nobody."""
        from infusenet.demo.run import FIRST_SEED
        from infusenet.miniature.people import _UNSEEN
        from infusenet.miniature.train import bank, stages

        def persons(seed: int, count: int) -> set[tuple[float, ...]]:
            identities, _ = bank.draw_parameters(count, seed, views=1)
            columns = [identities[name].tolist() for name in ("face_width", "jaw", "skin", "eye_size")]
            return set(zip(*columns, strict=True))

        mine = persons(stages.JUDGING_SEED, stages.PEOPLE // 2)
        assert len(mine) == stages.PEOPLE // 2
        assert not mine & persons(stages.SEED, stages.PEOPLE)
        held_out = (stages.HELD_OUT, stages.HELD_OUT + 100, subjects.PERCEIVED, subjects.IDENTIFIED, SEED)
        for seed in (*held_out, FIRST_SEED, _UNSEEN):
            assert not mine & persons(seed, 1024), seed

    def test_it_is_trained_alone_by_the_command(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        from infusenet.faces.backends import PackFile, backend_of, open_network
        from infusenet.miniature.train.__main__ import main

        run, out = tmp_path / "run", tmp_path / "weights"
        options = ["--only", "judging", "--people", "8", "--scale", "0.0003", "--device", "cpu"]
        assert main(["--folder", str(run), "--export", str(out), *options]) == 0
        assert sorted(path.name for path in run.iterdir()) == ["judging.safetensors"]
        path = out / miniature.JUDGING_RECOGNIZER.relative_to(miniature.WEIGHTS)
        assert [file for file in out.rglob("*") if file.is_file()] == [path]
        net = networks.JudgingRecognizer().eval()
        net.load_state_dict(load_file(run / "judging.safetensors"))
        crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
        written = open_network(PackFile(path, backend_of(path)), "recognition", "cpu").get_feat(list(crops))
        with torch.no_grad():
            rgb = torch.from_numpy(crops[..., ::-1].copy()).permute(0, 3, 1, 2)
            kept = net(rgb.float() / 127.5 - 1).numpy()
        np.testing.assert_allclose(written, kept, atol=0.01 * np.abs(kept).max())  # weights of 16 bits in the file
