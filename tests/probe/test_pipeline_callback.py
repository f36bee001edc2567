"""The recorder as diffusers' callback: packed predictions, the scheduler's own noise levels."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

SIGMAS = torch.tensor([1.0, 0.5, 0.0])


def packed(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, 2h, 2w] -> [B, h*w, 4*C], written out token by token."""
    batch, channels, height, width = latents.shape
    tokens = []
    for row in range(0, height, 2):
        for column in range(0, width, 2):
            tokens.append(latents[:, :, row : row + 2, column : column + 2].reshape(batch, channels * 4))
    return torch.stack(tokens, dim=1)


@pytest.fixture
def pipe() -> Any:
    return SimpleNamespace(scheduler=SimpleNamespace(sigmas=SIGMAS), spec=SimpleNamespace(height=32, width=48))


@pytest.fixture
def steps() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(2, 3, 4, 6, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("told", [True, False])
def test_predictions_are_unpacked_and_counted_from_one(make: Any, pipe: Any, steps: list[Any], told: bool) -> None:
    recorder = make(quality=False)
    if told:
        recorder.start(height=32, width=48)
    assert recorder.tensor_inputs == ("denoised",)
    for i, denoised in enumerate(steps):
        assert recorder.pipeline_callback(pipe, i, None, {"denoised": packed(denoised)}) == {}
        assert torch.equal(recorder._session.store.get(i + 1), denoised)
    trace = recorder.finish()
    assert [(record.step, record.sigma) for record in trace.records] == [(1, 1.0), (2, 0.5)]
    assert trace.sigmas == (1.0, 0.5, 0.0) and trace.status == "complete" and trace.batch == 2


def test_a_run_that_ends_early_is_marked(make: Any, pipe: Any, steps: list[Any]) -> None:
    recorder = make()
    recorder.pipeline_callback(pipe, 0, None, {"denoised": packed(steps[0])})
    assert recorder.finish().status == "interrupted"


def test_a_wrong_size_is_reported_not_raised(make: Any, pipe: Any, steps: list[Any]) -> None:
    recorder = make()
    recorder.start(height=64, width=64)
    for i, denoised in enumerate(steps):
        recorder.pipeline_callback(pipe, i, None, {"denoised": packed(denoised)})
    trace = recorder.finish()
    assert trace.status == "failed" and "64x64" in (trace.reason or "")


def test_a_missing_tensor_is_reported(make: Any, pipe: Any) -> None:
    recorder = make()
    recorder.pipeline_callback(pipe, 0, None, {"latents": torch.zeros(1)})
    assert "denoised" in (recorder.finish().reason or "")
