"""What makes mini-sdxl's pictures: its UNet with the text encoders, FaceID on it, and the few-step LoRA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from .. import sdxl
from . import fast
from .generation import Draw
from .loop import Plan, Run, train

SDXL_CROPS = Plan(steps=2500, batch=192, lr=1.5e-3, ema=0.998, decay=1e-4, betas=(0.9, 0.99))
SDXL_WHOLE = Plan(steps=2500, batch=96, lr=8e-4, ema=0.998, decay=1e-4, betas=(0.9, 0.99))
NOISE = Plan(steps=14746, batch=512, lr=1e-3, floor=0.03)
FACEID = (  # a warm restart, from where the first ended
    Plan(steps=12870, batch=512, lr=1e-3),
    Plan(steps=8200, batch=512, lr=8e-4),
)
FEW_STEPS = Plan(steps=924, batch=512, lr=1e-3, ema=0.998)

GUIDED = 3.5  # the classifier-free guidance that the few-step LoRA is distilled at
GRID = (999, 749, 499, 249, -1)  # DDIM's trailing timesteps of four steps; -1 is the end
TEACHER_STEPS = 4  # of the UNet in one of the LoRA's four


@dataclass
class Material:
    """Everything mini-sdxl learns from, on the device. n people, V views, C captions.

    latents: [n,V,4,16,16] bf16, normalised; captions: [n,V,C,40] int16 CLIP ids; embeddings: [n,V,512] bf16 of the
    conditioning recognizer; weights: [n,V,16,16]; reference: [n,V] bool, views that may serve as a reference photo;
    empty: [40], the tokens of no text.
    """

    latents: Tensor
    captions: Tensor
    embeddings: Tensor
    weights: Tensor
    reference: Tensor
    empty: Tensor


Texts = tuple[Tensor, Tensor]  # states [N,77,CONTEXT], pooled [N,TEXT_WIDTH]


class Text(nn.Module):
    """Both text encoders: token ids [N,T], padded with the end token here, -> (states, pooled), as SDXL reads them."""

    def __init__(self, vocabulary: int, ids: tuple[int, int]) -> None:
        super().__init__()
        self.clip, self.clip_2 = sdxl.text_encoders(vocabulary, ids)
        self.end = ids[1]

    def forward(self, ids: Tensor) -> Texts:
        ids = F.pad(ids.long(), (0, sdxl.TEXT_TOKENS - ids.shape[1]), value=self.end)
        states, _ = fast.clip_states(self.clip, ids, self.end)
        states_2, pooled = fast.clip_states(self.clip_2, ids, self.end)
        return torch.cat([states, states_2], 2), self.clip_2.text_projection(pooled)


@cache
def alphas(device: torch.device) -> Tensor:
    """Cumulative alphas [1000 + 1]; the last entry, index -1, is the end as SDXL's DDIM has it: the first one's."""
    table = sdxl.few_step_scheduler().alphas_cumprod.float()
    return torch.cat([table, table[:1]]).to(device)


@cache
def _sizes(device: torch.device) -> Tensor:
    return torch.tensor([sdxl.SIZE_CONDITION], device=device)


Weights = dict[str, Tensor]  # of a UNet, some of them: `Lora.merged`


def denoise(
    unet: Any, x: Tensor, t: Tensor, texts: Texts, tokens: Tensor | None = None, weights: Weights | None = None
) -> Tensor:
    """The UNet: latents [N,4,16,16] at timesteps t [N] -> noise [N,4,16,16], float32.

    Args:
        unet: bound to a FaceID where `tokens` are given.
        tokens: identity tokens [N,4,CONTEXT].
        weights: instead of the UNet's own.
    """
    states, pooled = texts
    context = states if tokens is None else (states, [tokens])
    added = {"text_embeds": pooled, "time_ids": _sizes(x.device).expand(len(x), -1)}
    given = {"added_cond_kwargs": added, "return_dict": False}
    out: Tensor = functional_call(unet, weights or {}, (x, t, context), given)[0]
    return out.float()


def landing(t: int, after: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(a, b) of DDIM's step from t to `after`: x_after = a x + b noise."""
    now, then = alphas(device)[t], alphas(device)[after]
    a = (then / now).sqrt()
    return a, (1 - then).sqrt() - a * (1 - now).sqrt()


@torch.no_grad()
def sample(
    unet: Any,
    x: Tensor,
    texts: Texts,
    grid: Sequence[int],
    *,
    guidance: float = 1.0,
    tokens: tuple[Tensor, Tensor] | None = None,
    weights: Weights | None = None,
) -> Tensor:
    """DDIM along timesteps that end with -1 or any other; guidance against zeroed texts, as SDXL's empty prompt.

    Args:
        tokens: (of the identity, of none).
        weights: instead of the UNet's own.
    """
    nothing = (torch.zeros_like(texts[0]), torch.zeros_like(texts[1]))
    for now, after in pairwise(grid):
        t = torch.full((len(x),), now, device=x.device)
        noise = denoise(unet, x, t, texts, tokens and tokens[0], weights)
        if guidance != 1:
            without = denoise(unet, x, t, nothing, tokens and tokens[1], weights)
            noise = without + guidance * (noise - without)
        a, b = landing(now, after, x.device)
        x = a * x + b * noise
    return x


def trailing(steps: int) -> list[int]:
    """DDIM's trailing timesteps, and the end."""
    return [round(1000 - k * 1000 / steps) - 1 for k in range(steps)] + [-1]


def _noised(x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    noise = torch.randn_like(x0)
    at = alphas(x0.device)[t][:, None, None, None]
    return at.sqrt() * x0 + (1 - at).sqrt() * noise, noise


def _some_times(draw: Draw) -> Tensor:
    return torch.randint(0, sdxl.TRAIN_TIMESTEPS, (draw.batch,), device=draw.device)


def _without(texts: Texts, dropped: Tensor) -> Texts:
    keep = (~dropped).to(texts[0].dtype)
    return texts[0] * keep[:, None, None], texts[1] * keep[:, None]


def _error(out: Tensor, noise: Tensor, weights: Tensor) -> Tensor:
    error = (out - noise).square()
    return torch.stack([(error.mean(1) * weights).mean(), error.detach().mean()])


def train_unet(run: Run, m: Material, unet: Any, text: Text) -> None:
    """The noise of uniformly drawn timesteps; 5 % of the texts empty, 5 % zeroed; the text encoders learn along."""
    run.seed(81)
    draw = Draw(m, NOISE.batch)  # type: ignore[arg-type]

    def loss() -> Tensor:
        i, v, c = draw.index()
        ids = torch.where(draw.chance(0.05)[:, None], m.empty.to(m.captions.dtype), m.captions[i, v, c])
        t = _some_times(draw)
        xt, noise = _noised(m.latents[i, v].float(), t)
        with run.autocast():
            out = denoise(unet, xt, t, _without(text(ids), draw.chance(0.05)))
        return _error(out, noise, m.weights[i, v])

    train(run, "sdxl-unet", NOISE, [unet, text], loss)
    run.save("sdxl-text", text)
    run.save("sdxl-unet", unet)


def faceid_part(cycle: int) -> str:
    """What FaceID is called after a cycle: the last one's has the plain name."""
    return "sdxl-faceid" if cycle == len(FACEID) - 1 else f"sdxl-faceid-{cycle + 1}"


def train_faceid(run: Run, m: Material, unet: Any, text: Text, faceid: sdxl.FaceID, cycle: int) -> None:
    """FaceID by the same loss on the frozen UNet, one cycle of `FACEID`.

    The reference is another picture of the person (half the time the plain one); the identity is left out in 5 %, the
    text in 5 %, both in 2 %.
    """
    run.seed(82)
    plan, name = FACEID[cycle], faceid_part(cycle)
    draw = Draw(m, plan.batch)  # type: ignore[arg-type]
    faceid.bind(unet)

    def loss() -> Tensor:
        i, v, c = draw.index()
        other = torch.randint(0, draw.views, (draw.batch,), device=draw.device)
        plain = draw.chance(0.5) | ~m.reference[i, other] | (other == v)
        other = torch.where(plain, 0, other)
        both = draw.chance(0.02)
        known = ~(draw.chance(0.05) | both)
        identity = m.embeddings[i, other].float() * known[:, None]
        t = _some_times(draw)
        xt, noise = _noised(m.latents[i, v].float(), t)
        with run.autocast():
            texts = _without(text(m.captions[i, v, c]), draw.chance(0.05) | both)
            out = denoise(unet, xt, t, texts, faceid.image_proj(identity))
        return _error(out, noise, m.weights[i, v])

    train(run, name, plan, [faceid], loss)
    run.save(name, faceid)


def train_few_steps(run: Run, m: Material, unet: Any, text: Text, lora: sdxl.Lora) -> None:
    """Progressive distillation into the LoRA, on its own states: one of its steps goes where the guided UNet's four go.

    It never sees FaceID, a face embedding, or a recognizer.
    """
    run.seed(83)
    draw = Draw(m, FEW_STEPS.batch)  # type: ignore[arg-type]

    def step(k: int) -> Any:
        now, after = GRID[k], GRID[k + 1]
        teacher = [round(now + (after - now) * j / TEACHER_STEPS) for j in range(TEACHER_STEPS + 1)]
        a, b = landing(now, after, draw.device)

        def loss() -> Tensor:
            i, v, c = draw.index()
            weights = lora.merged(unet)
            x = torch.randn(draw.batch, sdxl.LATENT_CHANNELS, sdxl.SIDE, sdxl.SIDE, device=draw.device)
            with torch.no_grad(), run.autocast():
                texts = text(m.captions[i, v, c])
                x = sample(unet, x, texts, GRID[: k + 1], weights=weights)  # its own way so far
                end = sample(unet, x, texts, teacher, guidance=GUIDED)
            with run.autocast():
                t = torch.full((draw.batch,), now, device=draw.device)
                out = denoise(unet, x, t, texts, weights=weights)
            return (a * x + b * out - end).square().mean()[None]

        return loss

    train(run, "sdxl-lora", FEW_STEPS, [lora], [step(k) for k in range(len(GRID) - 1)])
    run.save("sdxl-lora", lora)
