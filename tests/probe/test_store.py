"""Latents come back as they were, from memory or from files."""

from pathlib import Path

import pytest
import torch

from infusenet.probe.store import LatentStore


def step(value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((2, 4, 3, 5), value, dtype=dtype)  # 480 bytes in float32


@pytest.mark.parametrize("limit", [0, 1000, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_latents_come_back_exactly(limit: int, dtype: torch.dtype, tmp_path: Path) -> None:
    store = LatentStore(limit, tmp_path)
    for i in range(1, 5):
        latents = step(i / 3, dtype)
        store.put(i, latents)
        latents.zero_()
    assert store.steps == [1, 2, 3, 4]
    for i in range(1, 5):
        assert torch.equal(store.get(i), step(i / 3, dtype)) and store.get(i).dtype == dtype
    assert store.bytes_in_memory <= limit
    store.clear()
    assert store.steps == [] and list(tmp_path.iterdir()) == [] and store.bytes_in_memory == 0


def test_only_what_exceeds_the_limit_goes_to_files(tmp_path: Path) -> None:
    store = LatentStore(1000, tmp_path)
    for i in range(1, 5):
        store.put(i, step(i))
    assert store.bytes_in_memory == 960 and len(list(tmp_path.rglob("*.safetensors"))) == 2
    store.drop(1)
    store.put(5, step(5))
    assert store.bytes_in_memory == 960 and len(list(tmp_path.rglob("*.safetensors"))) == 2
    store.drop(4)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    with pytest.raises(KeyError):
        store.get(4)


def test_a_repeated_step_replaces_the_first(tmp_path: Path) -> None:
    for limit in (0, 10_000):
        store = LatentStore(limit, tmp_path)
        store.put(1, step(1))
        store.put(1, step(2))
        assert store.steps == [1] and float(store.get(1).max()) == 2
        assert store.bytes_in_memory in (0, 480)
        store.clear()


def test_two_stores_share_a_folder(tmp_path: Path) -> None:
    one, other = LatentStore(0, tmp_path), LatentStore(0, tmp_path)
    one.put(1, step(1))
    other.put(1, step(2))
    one.clear()
    assert float(other.get(1).max()) == 2
