"""One training loop for all stages: a fixed number of steps, resumable, captured in a CUDA graph."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


class OutOfTimeError(Exception):
    """The run's time is up; the stage's state is saved and the next run goes on from it."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast a stage learns."""

    steps: int
    batch: int
    lr: float
    warmup: float = 0.04  # share of the steps
    floor: float = 0.02  # of lr, at the end
    ema: float = 0.999
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0


@dataclass
class Run:
    """Where and until when this process works."""

    folder: Path
    device: torch.device
    deadline: float  # of time.monotonic()
    compile: bool = False

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def autocast(self) -> torch.autocast:
        """bf16 arithmetic on the GPU."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.cuda)

    def part(self, name: str) -> Path:
        """The file of a finished part."""
        return self.folder / f"{name}.safetensors"

    def has(self, *names: str) -> bool:
        return all(self.part(name).exists() for name in names)

    def save(self, name: str, module: nn.Module) -> None:
        """Write a finished part's weights, atomically."""
        from safetensors.torch import save_file

        part = self.part(name)
        partial = part.with_suffix(".partial")
        save_file({k: v.detach().cpu().clone().contiguous() for k, v in module.state_dict().items()}, partial)
        os.replace(partial, part)

    def load(self, name: str, module: Any) -> Any:
        """Read a finished part into a module; the module is frozen, in evaluation mode, and on the device."""
        from safetensors.torch import load_file

        module.load_state_dict(load_file(self.part(name)))
        return module.to(self.device).requires_grad_(False).eval()

    def seed(self, seed: int) -> None:
        """Seed everything that a stage draws from."""
        random.seed(seed)
        torch.manual_seed(seed)


class Average:
    """Exponential moving average of parameters (and a copy of buffers at the end)."""

    def __init__(self, modules: Sequence[nn.Module], decay: float) -> None:
        self.live = [p for m in modules for p in m.parameters() if p.requires_grad]
        self.mean = [p.detach().clone() for p in self.live]
        self.decay = decay

    def update(self, step: int, stride: int) -> None:
        decay = min(self.decay**stride, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.live], 1 - decay)

    def apply(self) -> None:
        with torch.no_grad():
            for live, mean in zip(self.live, self.mean, strict=True):
                live.copy_(mean)


class Captured:
    """A training step without host synchronisation, replayed as a CUDA graph where there is one."""

    def __init__(self, step: Callable[[], Tensor], cuda: bool) -> None:
        self.step = step
        self.graph: Any = None
        if not cuda:
            return
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                step()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.out = step()

    def __call__(self) -> Tensor:
        if self.graph is None:
            return self.step()
        self.graph.replay()
        return self.out


Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]


def optimizer(groups: Groups, plan: Plan, cuda: bool) -> torch.optim.AdamW:
    """AdamW whose learning rate a CUDA graph can read; a group's `mul` scales its rate."""
    given = list(groups)
    listed: list[dict[str, Any]] = [g for g in given if isinstance(g, dict)] or [{"params": given}]
    for group in listed:
        group["params"] = [p for p in group["params"] if p.requires_grad]
        group.setdefault("weight_decay", plan.decay)
        group.setdefault("mul", 1.0)
    rate: Any = torch.tensor(plan.lr, device="cuda") if cuda else plan.lr
    for group in listed:
        group["lr"] = torch.tensor(0.0, device="cuda") if cuda else 0.0
    return torch.optim.AdamW(listed, lr=rate, betas=plan.betas, fused=cuda, capturable=cuda)


def rate(plan: Plan, step: int) -> float:
    """Warm-up, then a cosine down to the floor."""
    done = step / plan.steps
    warm = min(1.0, (step + 1) / max(1.0, plan.warmup * plan.steps))
    return plan.lr * warm * (plan.floor + (1 - plan.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(
    run: Run,
    name: str,
    plan: Plan,
    modules: Sequence[nn.Module],
    loss: Callable[[], Tensor] | Sequence[Callable[[], Tensor]],
    *,
    groups: Groups | None = None,
    before: Callable[[float], None] | None = None,
    every: int = 500,
) -> None:
    """Train `modules` for `plan.steps` steps and leave the averaged weights in them.

    Args:
        run: place and time.
        name: of the stage; its resumable state is `<name>.state.pt`.
        plan: steps and rates.
        modules: what learns (parameters that require gradients, and buffers).
        loss: returns a vector of figures whose first entry is the loss; several are taken in random turn.
        groups: optimizer groups, if not all parameters alike.
        before: called with the share done before each step (a host-side schedule).
        every: steps between log lines.

    Raises:
        OutOfTimeError: time is up; state is saved.
    """
    losses = [loss] if callable(loss) else list(loss)
    opt = optimizer(groups if groups is not None else [p for m in modules for p in m.parameters()], plan, run.cuda)
    learned = [p for g in opt.param_groups for p in g["params"]]
    average = Average(modules, plan.ema)
    state_file = run.folder / f"{name}.state.pt"
    start = 0
    saved: Any = None
    if state_file.exists():
        saved = torch.load(state_file, map_location=run.device, weights_only=True)
        for module, state in zip(modules, saved["modules"], strict=True):
            module.load_state_dict(state)
        start = saved["step"]

    def one(f: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def step() -> Tensor:
            opt.zero_grad(set_to_none=True)
            figures = f()
            figures[0].backward()
            nn.utils.clip_grad_norm_(learned, plan.clip)
            opt.step()
            return figures.detach()

        return step

    clock = time.monotonic()
    before_weights = [[t.detach().clone() for t in (*m.parameters(), *m.buffers())] for m in modules]
    steps = [Captured(one(f), run.cuda) for f in losses]
    with torch.no_grad():  # the captures' warm-up steps must not count
        for module, kept in zip(modules, before_weights, strict=True):
            for tensor, old in zip((*module.parameters(), *module.buffers()), kept, strict=True):
                tensor.copy_(old)
        for state in opt.state.values():
            for value in state.values():
                value.zero_()
        if saved is not None:
            for p, moments in zip(learned, saved["moments"], strict=True):
                for key, value in moments.items():
                    if key in opt.state[p]:  # a captured graph reads this very tensor
                        opt.state[p][key].copy_(value)
                    else:
                        opt.state[p][key] = value
            for mean, value in zip(average.mean, saved["average"], strict=True):
                mean.copy_(value)
    del before_weights, saved
    log.info("%s: %d of %d steps done; prepared in %.0f s", name, start, plan.steps, time.monotonic() - clock)
    choose = random.Random(start)
    clock = time.monotonic()
    for step in range(start, plan.steps):
        now = rate(plan, step)
        for group in opt.param_groups:
            if run.cuda:
                group["lr"].fill_(now * group["mul"])
            else:
                group["lr"] = now * group["mul"]
        if before is not None:
            before(step / plan.steps)
        figures = steps[choose.randrange(len(steps))]()
        if step % 2 == 0:
            average.update(step, 2)
        if step % every == 0 or step + 1 == plan.steps:
            log.info("%s %d %s", name, step, [round(x, 4) for x in figures.tolist()])
        if step % 16 == 0:
            if run.cuda:
                torch.cuda.synchronize()
            if time.monotonic() > run.deadline:
                _save_state(state_file, step + 1, modules, learned, opt, average)
                raise OutOfTimeError(f"{name} stopped at step {step + 1} of {plan.steps}; run again to go on")
    average.apply()
    if run.cuda:
        torch.cuda.synchronize()
    seconds = time.monotonic() - clock
    log.info(
        "%s: %d steps in %.1f s (%.1f a second)", name, plan.steps - start, seconds, (plan.steps - start) / seconds
    )
    state_file.unlink(missing_ok=True)


def _save_state(
    path: Path, step: int, modules: Sequence[nn.Module], learned: list[Any], opt: Any, average: Average
) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "step": step,
            "modules": [m.state_dict() for m in modules],
            "moments": [dict(opt.state[p]) for p in learned],
            "average": average.mean,
        },
        partial,
    )
    os.replace(partial, path)
