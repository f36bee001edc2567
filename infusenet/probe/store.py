"""Latents of many steps on the CPU, without stalling the sampler and without growing without bound."""

import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor


class LatentStore:
    """Exact copies of latents by step: in memory up to a limit, then in files of a temporary folder.

    From a GPU the copy goes into pinned memory and is not waited for until it is read.

    Args:
        memory_limit: bytes held in memory; what comes after that is written to files.
        folder: where a temporary folder for them is made when it is needed; the system's own by default.
    """

    def __init__(self, memory_limit: int, folder: str | os.PathLike[str] | None = None) -> None:
        self._limit = memory_limit
        self._parent = folder
        self._folder: Path | None = None
        self._held: dict[int, tuple[Tensor, torch.cuda.Event | None]] = {}
        self._filed: dict[int, Path] = {}
        self.bytes_in_memory = 0

    @property
    def steps(self) -> list[int]:
        """The steps held, in order."""
        return sorted({*self._held, *self._filed})

    def put(self, step: int, latents: Tensor) -> None:
        """Keep a copy of `latents` [B, C, h, w] in their own dtype.

        Raises:
            OSError: the temporary folder cannot be written.
        """
        self.drop(step)
        size = latents.numel() * latents.element_size()
        if self.bytes_in_memory + size > self._limit:
            self._filed[step] = self._file(step, latents)
            return
        self._held[step] = copied(latents)
        self.bytes_in_memory += size

    def get(self, step: int) -> Tensor:
        """The latents of a step, on the CPU.

        Raises:
            KeyError: nothing is held for this step.
            OSError: the temporary file has gone.
        """
        if step in self._held:
            latents, copied = self._held[step]
            if copied is not None:
                copied.synchronize()
            return latents
        from safetensors.torch import load_file

        return load_file(self._filed[step])["latents"]

    def drop(self, step: int) -> None:
        """Forget a step, if it is held."""
        held, path = self._held.pop(step, None), self._filed.pop(step, None)
        if held is not None:
            self.bytes_in_memory -= held[0].numel() * held[0].element_size()
        if path is not None:
            path.unlink(missing_ok=True)

    def some(self, limit: int) -> dict[int, Tensor]:
        """The latents of all steps, or of every n-th, counted back from the last, that `limit` bytes have room for."""
        steps = self.steps
        if not steps:
            return {}
        last = self.get(steps[-1])
        room = max(limit // max(last.numel() * last.element_size(), 1), 1)
        every = -(-len(steps) // room)
        kept = {step: self.get(step) for step in sorted(steps[::-every])}
        return {step: one.clone() if one.is_pinned() else one for step, one in kept.items()}

    def clear(self) -> None:
        """Forget everything and remove the temporary folder."""
        self._held.clear()
        self._filed.clear()
        self.bytes_in_memory = 0
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _file(self, step: int, latents: Tensor) -> Path:
        """Write one step's latents into the temporary folder."""
        from safetensors.torch import save_file

        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="infusenet-probe-", dir=self._parent))
        path = self._folder / f"{step}.safetensors"
        save_file({"latents": latents.detach().cpu().contiguous()}, path)
        return path


def copied(latents: Tensor) -> tuple[Tensor, "torch.cuda.Event | None"]:
    """A copy on the CPU, and the event after which it may be read; None where it may be read at once."""
    latents = latents.detach()
    if latents.device.type != "cuda":
        return latents.to("cpu", copy=True), None
    target = torch.empty(latents.shape, dtype=latents.dtype, pin_memory=True)
    target.copy_(latents, non_blocking=True)
    there = torch.cuda.Event()
    there.record(torch.cuda.current_stream(latents.device))
    return target, there
