"""The goldens' own measure: a check that cannot fail would make every other test worthless."""

import pytest
import torch


@pytest.fixture
def golden(goldens):
    return goldens("cases/dev_batch2")


def test_the_recorded_tensor_itself_passes(golden):
    assert golden.check("step/velocity", golden["step/velocity"].clone()) == 0


def test_a_deviation_is_measured_against_the_rms(golden):
    want = golden["step/velocity"].double()
    moved = want.clone()
    moved.view(-1)[7] += 3e-4 * want.square().mean().sqrt()
    assert golden.check("step/velocity", moved, 4e-4) == pytest.approx(3e-4, rel=1e-6)
    with pytest.raises(AssertionError, match="off by 0.0003"):
        golden.check("step/velocity", moved)


def test_another_shape_or_nan_fails(golden):
    want = golden["step/velocity"]
    with pytest.raises(AssertionError, match="shape"):
        golden.check("step/velocity", want[:1])
    with pytest.raises(AssertionError, match="not finite"):
        golden.check("step/velocity", torch.full_like(want, float("nan")))


def test_zeros_are_compared_absolutely(deviation_of):
    assert deviation_of(torch.full([3], 0.25), torch.zeros(3)) == 0.25
    assert deviation_of(torch.zeros(0), torch.zeros(0)) == 0


def test_every_kept_case_is_run(goldens):
    assert len(goldens.case_names()) >= 5
    assert {"schedules", "windows", "block_mapping"} == {p.stem for p in (goldens.folder / "tables").glob("*.json")}


def test_another_folder_may_be_named(tmp_path):
    import os
    import subprocess
    import sys
    from pathlib import Path

    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "elsewhere.safetensors").write_bytes(b"")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/adapters/test_model.py",
    ]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "INFUSENET_GOLDENS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "[elsewhere]" in done.stdout
    assert "[dev_batch2]" not in done.stdout
