"""What makes pictures: mini-dev, its guidance, InfuseNet with its Resampler, and mini-schnell."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...adapters.infusenet.resampler import Resampler
from .. import networks
from . import fast
from .loop import Plan, Run, train

log = logging.getLogger(__name__)

FLOW = Plan(steps=24000, batch=512, lr=1e-3, floor=0.03)
GUIDANCE = Plan(steps=1500, batch=512, lr=3e-4, ema=0.998)
ADAPTER = (  # warm restarts, each from where the one before ended
    Plan(steps=18000, batch=512, lr=1e-3),
    Plan(steps=12320, batch=512, lr=6e-4),
    Plan(steps=11000, batch=512, lr=8e-4),
)
SCHNELL = Plan(steps=2000, batch=512, lr=4e-4, ema=0.998)
TEACHER_STEPS = 4  # of mini-dev in one of mini-schnell's four

GUIDED = 3.5  # FLUX's default; mini-schnell is distilled at it
# diffusers' schedule shift at 64 tokens, from FLUX.1 dev's published settings
TIME_SHIFT = math.exp(0.5 + (networks.TOKENS - 256) * (1.15 - 0.5) / (4096 - 256))
BLACK, KEYPOINTS = 0.5, 1.0  # below BLACK the control image is black, else the target's five keypoints


@dataclass
class Material:
    """Everything generation learns from, on the device. n people, V views, C captions, L = 64 tokens.

    latents, control: [n, V, 64, 64] bf16 packed, normalised; captions: [n, V, C, 2, T] int16;
    embeddings: [n, V, 512] bf16 of the conditioning recognizer; weights: [n, V, 64]; reference: [n, V] bool,
    views that may serve as a reference photo; black: [1, 64, 64]; empty: [2, T], the tokens of no text.
    """

    latents: Tensor
    control: Tensor
    captions: Tensor
    embeddings: Tensor
    weights: Tensor
    reference: Tensor
    black: Tensor
    empty: Tensor
    clip_end: int


class Text(nn.Module):
    """Both text encoders: token ids [N,2,T] -> (T5 states [N,T,96], CLIP pooled [N,64])."""

    def __init__(self, vocabularies: tuple[int, int], clip_ids: tuple[int, int]) -> None:
        super().__init__()
        self.clip, self.t5 = networks.text_encoders(*vocabularies, clip_ids)
        self.end = clip_ids[1]

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return fast.t5(self.t5, ids[:, 1].long()), fast.clip(self.clip, ids[:, 0].long(), self.end)


def pack(latents: Tensor) -> Tensor:
    """[N,16,16,16] -> [N,64,64], channel slowest within a token, as FLUX."""
    n, c, h, w = latents.shape
    return latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w // 4, c * 4)


def unpack(tokens: Tensor) -> Tensor:
    """The inverse of `pack` for square pictures."""
    n, length, width = tokens.shape
    side = math.isqrt(length)
    return (
        tokens.view(n, side, side, width // 4, 2, 2)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(n, width // 4, side * 2, side * 2)
    )


def sigmas(steps: int, shifted: bool) -> list[float]:
    """FLUX's schedule at this size: dev's shifted one or schnell's even one; ends in 0."""
    t = torch.linspace(1, 1 / steps, steps)
    if shifted:
        t = TIME_SHIFT * t / (1 + (TIME_SHIFT - 1) * t)
    return [*t.tolist(), 0.0]


def _times(count: int, device: torch.device) -> Tensor:
    """Logit-normal times, a few uniform ones, shifted as the sampler's are."""
    u = torch.sigmoid(torch.randn(count, device=device))
    u = torch.where(torch.rand(count, device=device) < 0.15, torch.rand(count, device=device), u)
    return (TIME_SHIFT * u / (1 + (TIME_SHIFT - 1) * u)).clamp(1e-3, 1.0)


def _noised(x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    noise = torch.randn_like(x0)
    at = t[:, None, None]
    return (1 - at) * x0 + at * noise, noise - x0


class Draw:
    """Random rows of the material."""

    def __init__(self, material: Material, batch: int) -> None:
        self.m, self.batch, self.device = material, batch, material.latents.device
        self.people, self.views = material.latents.shape[:2]

    def index(self) -> tuple[Tensor, Tensor, Tensor]:
        def pick(high: int) -> Tensor:
            return torch.randint(0, high, (self.batch,), device=self.device)

        return pick(self.people), pick(self.views), pick(self.m.captions.shape[2])

    def chance(self, probability: float) -> Tensor:
        return torch.rand(self.batch, device=self.device) < probability


def train_dev(run: Run, m: Material, dev: Any, text: Text) -> None:
    """Flow matching with 10 % empty captions; the text encoders learn along, then they are frozen for ever."""
    run.seed(51)
    if run.compile:
        fast.compile_blocks(dev)
    draw = Draw(m, FLOW.batch)

    def loss() -> Tensor:
        i, v, c = draw.index()
        x0, ids = m.latents[i, v].float(), m.captions[i, v, c]
        ids = torch.where(draw.chance(0.1)[:, None, None], m.empty.to(ids.dtype), ids)
        t = _times(draw.batch, draw.device)
        xt, velocity = _noised(x0, t)
        with run.autocast():
            states, pooled = text(ids)
            out = fast.flux(dev, xt, states, pooled, t, torch.ones_like(t))
        error = (out - velocity).square()
        return torch.stack([(error.mean(2) * m.weights[i, v]).mean(), error.detach().mean()])

    train(run, "dev-flow", FLOW, [dev, text], loss)
    run.save("text", text)
    run.save("dev-flow", dev)


def train_guidance(run: Run, m: Material, dev: Any, teacher: Any, text: Text) -> None:
    """Guidance distillation: one pass with the guidance embedded equals the teacher's two at that scale, 1..6."""
    run.seed(52)
    if run.compile:
        fast.compile_blocks(dev, teacher)
    draw = Draw(m, GUIDANCE.batch)
    empty = m.empty[None].expand(draw.batch, -1, -1)

    def loss() -> Tensor:
        i, v, c = draw.index()
        t = _times(draw.batch, draw.device)
        xt, _ = _noised(m.latents[i, v].float(), t)
        scale = torch.where(draw.chance(0.2), 1.0, 1 + 5 * torch.rand(draw.batch, device=draw.device))
        with torch.no_grad(), run.autocast():
            one = torch.ones_like(t)
            states, pooled = text(m.captions[i, v, c])
            with_text = fast.flux(teacher, xt, states, pooled, t, one)
            no_states, no_pooled = text(empty)
            without = fast.flux(teacher, xt, no_states, no_pooled, t, one)
            target = without + scale[:, None, None] * (with_text - without)
        with run.autocast():
            out = fast.flux(dev, xt, states, pooled, t, scale)
        return torch.stack([(out - target).square().mean(), (with_text - without).square().mean()])

    train(run, "dev", GUIDANCE, [dev], loss)
    run.save("dev", dev)


@dataclass
class TextCache:
    """The frozen encoders' outputs of all captions: states [n,V,C,T,96], pooled [n,V,C,64], bf16; and of no text."""

    states: Tensor
    pooled: Tensor

    def at(self, i: Tensor, v: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """States [N,T,96] and pooled [N,64] of the chosen captions."""
        return self.states[i, v, c].float(), self.pooled[i, v, c].float()

    @classmethod
    @torch.no_grad()
    def of(cls, run: Run, m: Material, text: Text) -> TextCache:
        ids = m.captions.flatten(0, 2)
        states = torch.empty(len(ids), networks.TEXT_LENGTH, networks.T5_WIDTH, dtype=torch.bfloat16, device=run.device)
        pooled = torch.empty(len(ids), networks.CLIP_WIDTH, dtype=torch.bfloat16, device=run.device)
        for start in range(0, len(ids), 8192):
            rows = slice(start, start + 8192)
            with run.autocast():
                states[rows], pooled[rows] = text(ids[rows])
        shape = m.captions.shape[:3]
        return cls(states.view(*shape, *states.shape[1:]), pooled.view(*shape, -1))


def adapter_parts(cycle: int) -> tuple[str, str]:
    """What InfuseNet and the Resampler are called after a cycle: the last one's have the plain names."""
    suffix = "" if cycle == len(ADAPTER) - 1 else f"-{cycle + 1}"
    return f"infusenet{suffix}", f"resampler{suffix}"


def train_adapter(
    run: Run, m: Material, cache: TextCache, dev: Any, adapter: Any, resampler: Resampler, cycle: int
) -> None:
    """InfuseNet and its Resampler by plain flow matching on frozen mini-dev (guidance 1), one cycle of `ADAPTER`.

    The reference is another picture of the same person (half the time the plain one), the control image black or
    the target's keypoints, the identity dropped in 5 %.
    """
    plan, (name, resampler_name) = ADAPTER[cycle], adapter_parts(cycle)
    run.seed(61)
    if run.compile:
        fast.compile_blocks(dev, adapter)
    draw = Draw(m, plan.batch)

    def loss() -> Tensor:
        i, v, c = draw.index()
        other = torch.randint(0, draw.views, (draw.batch,), device=draw.device)
        plain = draw.chance(0.5) | ~m.reference[i, other] | (other == v)
        other = torch.where(plain, 0, other)
        identity = m.embeddings[i, other].float() * (~draw.chance(0.05))[:, None]
        control = torch.where(draw.chance(BLACK)[:, None, None], m.black, m.control[i, v])
        t = _times(draw.batch, draw.device)
        xt, velocity = _noised(m.latents[i, v].float(), t)
        with run.autocast():
            states, pooled = cache.at(i, v, c)
            residuals = fast.infusenet(adapter, xt, control, resampler(identity[:, None]), pooled, t)
            out = fast.flux(dev, xt, states, pooled, t, torch.ones_like(t), residuals)
        error = (out - velocity).square()
        return torch.stack([(error.mean(2) * m.weights[i, v]).mean(), error.detach().mean()])

    train(run, name, plan, [adapter, resampler], loss)
    run.save(name, adapter)
    run.save(resampler_name, resampler)


# ------------------------------------------------------------------------------------------ mini-schnell


def fold_guidance(dev: Any, scale: float = GUIDED) -> dict[str, Tensor]:
    """mini-schnell's start: mini-dev whose guidance embedding, at one scale, is added to the pooled text's bias."""
    embed = dev.time_text_embed
    with torch.no_grad():
        at = torch.tensor([scale * 1000.0], device=dev.device)
        constant = embed.guidance_embedder(embed.time_proj(at))[0]
    state = {k: v.clone() for k, v in dev.state_dict().items() if "guidance_embedder" not in k}
    state["time_text_embed.text_embedder.linear_2.bias"] += constant
    return state


@torch.no_grad()
def sample(
    model: Any,
    x: Tensor,
    states: Tensor,
    pooled: Tensor,
    schedule: list[float],
    *,
    guidance: float | None = None,
    adapter: Any | None = None,
    tokens: Tensor | None = None,
    control: Tensor | None = None,
    strength: float = 1.0,
) -> Tensor:
    """Euler sampling of packed latents [N,64,64] along a schedule."""
    for now, after in pairwise(schedule):
        t = x.new_full((len(x),), now)
        residuals = None
        if adapter is not None and tokens is not None and control is not None and strength != 0:
            double, single = fast.infusenet(adapter, x, control, tokens, pooled, t)
            residuals = ([r * strength for r in double], [r * strength for r in single])
        scale = None if guidance is None else x.new_full((len(x),), guidance)
        x = x + (after - now) * fast.flux(model, x, states, pooled, t, scale, residuals)
    return x


def train_schnell(run: Run, m: Material, cache: TextCache, dev: Any, schnell: Any) -> None:
    """Progressive distillation (Salimans and Ho 2022, in one stage, on its own states).

    One step of mini-schnell goes where `TEACHER_STEPS` of the teacher's go. mini-schnell never sees InfuseNet, a face
    embedding, or a recognizer.
    """
    run.seed(71)
    if run.compile:
        fast.compile_blocks(dev, schnell)
    schnell.load_state_dict(fold_guidance(dev))
    draw = Draw(m, SCHNELL.batch)
    grid = sigmas(4, shifted=False)

    def step(k: int) -> Any:
        now, after = grid[k], grid[k + 1]
        teacher = torch.linspace(now, after, TEACHER_STEPS + 1).tolist()

        def loss() -> Tensor:
            i, v, c = draw.index()
            states, pooled = cache.at(i, v, c)
            x = torch.randn(draw.batch, networks.TOKENS, 64, device=draw.device)
            with torch.no_grad(), run.autocast():
                x = sample(schnell, x, states, pooled, grid[: k + 1])  # its own way so far
                end = sample(dev, x, states, pooled, teacher, guidance=GUIDED)
            with run.autocast():
                out = fast.flux(schnell, x, states, pooled, x.new_full((draw.batch,), now))
            return (out - (x - end) / (now - after)).square().mean()[None]

        return loss

    train(run, "schnell", SCHNELL, [schnell], [step(k) for k in range(4)])
    run.save("schnell", schnell)
