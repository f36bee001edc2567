"""The training pictures: people in scenes, drawn anew from a seed at each run, kept on the device."""

from __future__ import annotations

import logging
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...faces.align import TEMPLATE
from .. import captions, faces, networks
from ..tokens import encode

log = logging.getLogger(__name__)

VIEWS = 8  # pictures of each person; view 0 is a plain reference photo
CAPTIONS = 2  # captions of each picture
NAMED = 0.3  # share of captions that mention hair or beard
_LEVELS = ("minimal", "portrait", "scene", "scene", "detailed", "detailed", "complex", "complex")

Params = dict[str, Tensor]


def take(params: Params, index: Any) -> Params:
    """The rows `index` of every parameter."""
    return {k: v[index] for k, v in params.items()}


def draw_parameters(people: int, seed: int, views: int = VIEWS, styled: float = 0.3) -> tuple[Params, list[Params]]:
    """Identities and, for each view, scenes: a plain one first. CPU tensors, the same for the same seed."""
    g = torch.Generator().manual_seed(seed)
    identities = faces.sample_identities(people, g)
    scenes = [faces.sample_scenes(people, g, plain=True)]
    scenes += [faces.sample_scenes(people, g, styled=styled) for _ in range(views - 1)]
    return identities, scenes


@dataclass
class Bank:
    """Pictures [n, views, 3, S, S] uint8, landmarks [n, views, 5, 2], boxes [n, views, 4], and what they show."""

    images: Tensor
    landmarks: Tensor
    boxes: Tensor
    identities: Params
    scenes: list[Params]

    def __len__(self) -> int:
        return self.images.shape[0]

    def attribute(self, name: str) -> Tensor:
        """A scene parameter of every picture: [n, views], on the pictures' device."""
        return torch.stack([s[name] for s in self.scenes], 1).to(self.images.device)


@torch.no_grad()
def draw(identities: Params, scenes: list[Params], device: torch.device, batch: int = 512) -> Bank:
    """Draw every person in each of their scenes."""
    people, views = len(next(iter(identities.values()))), len(scenes)
    images = torch.empty(people, views, 3, networks.SIZE, networks.SIZE, dtype=torch.uint8, device=device)
    landmarks = torch.empty(people, views, 5, 2, device=device)
    boxes = torch.empty(people, views, 4, device=device)
    on_device = {k: v.to(device) for k, v in identities.items()}
    for view, scene in enumerate(scenes):
        scene = {k: v.to(device) for k, v in scene.items()}
        for start in range(0, people, batch):
            rows = slice(start, start + batch)
            drawn = faces.render(take(on_device, rows), take(scene, rows))
            images[rows, view] = faces.to_uint8(drawn.images)
            landmarks[rows, view], boxes[rows, view] = drawn.landmarks, drawn.boxes
    return Bank(images, landmarks, boxes, identities, scenes)


@cache
def _template(device: torch.device) -> Tensor:
    """ArcFace's five points as complex numbers; made once a device, since a CUDA graph cannot copy from the host."""
    return torch.view_as_complex(torch.tensor(TEMPLATE, device=device).contiguous())


def align(images: Tensor, landmarks: Tensor, side: int = 112) -> Tensor:
    """ArcFace's aligned crops, batched and on the device: the least-squares similarity to the five-point template.

    Args:
        images: [N, 3, H, W] float.
        landmarks: [N, 5, 2] pixels.
        side: of the crop.

    Returns:
        [N, 3, side, side], zero outside the picture (as insightface's norm_crop).
    """
    count, _, height, width = images.shape
    target = _template(images.device)
    points = torch.view_as_complex(landmarks.float().contiguous())
    t_mean, p_mean = target.mean(), points.mean(1, keepdim=True)
    p, t = points - p_mean, (target - t_mean)[None]
    scale = (p.conj() * t).sum(1, keepdim=True) / p.abs().square().sum(1, keepdim=True)
    rows = torch.arange(side, device=images.device, dtype=torch.float32)
    grid = torch.complex(rows[None, :].expand(side, side), rows[:, None].expand(side, side)).reshape(1, -1)
    source = (grid - t_mean) / scale + p_mean
    x = (source.real + 0.5) / width * 2 - 1
    y = (source.imag + 0.5) / height * 2 - 1
    sample = torch.stack([x, y], -1).view(count, side, side, 2)
    return F.grid_sample(images, sample.to(images.dtype), padding_mode="zeros", align_corners=False)


def token_weights(boxes: Tensor, extra: float = 2.0, cell: int = 16) -> Tensor:
    """1 + extra x the share of each cell x cell patch that the (slightly grown) face box covers: [..., patches]."""
    grow = 0.12 * (boxes[..., 2:] - boxes[..., :2])
    low, high = boxes[..., :2] - grow, boxes[..., 2:] + grow
    edges = torch.arange(networks.SIZE // cell, device=boxes.device) * float(cell)

    def covered(axis: int) -> Tensor:
        end = torch.minimum(high[..., axis, None], edges + cell)
        return (end - torch.maximum(low[..., axis, None], edges)).clamp(min=0) / cell

    share = covered(1)[..., :, None] * covered(0)[..., None, :]
    return 1 + extra * share.flatten(-2)


def _write(job: tuple[int, dict[str, list[Any]]]) -> np.ndarray[Any, Any]:
    start, rows = job
    rng = random.Random(start * 7 + 1)
    texts = []
    count = len(next(iter(rows.values())))
    for r in range(count):
        one = {k: v[r] for k, v in rows.items()}
        for _ in range(CAPTIONS):
            level = "style" if one["style"] and rng.random() < 0.5 else rng.choice(_LEVELS)
            texts.append(captions.caption(one, one if rng.random() < NAMED else None, level, rng))
    return encode(texts).reshape(count, CAPTIONS, 2, networks.TEXT_LENGTH)


def write_captions(identities: Params, scenes: list[Params], workers: int) -> Tensor:
    """Token ids of the captions of all pictures: int16 [n, views, CAPTIONS, 2 (CLIP, T5), TEXT_LENGTH]."""
    people, views = len(next(iter(identities.values()))), len(scenes)
    columns: dict[str, list[Any]] = {k: torch.stack([s[k] for s in scenes], 1).flatten().tolist() for k in scenes[0]}
    columns.update({k: v.repeat_interleave(views).tolist() for k, v in identities.items()})
    step = 4096
    jobs = [(i, {k: v[i : i + step] for k, v in columns.items()}) for i in range(0, people * views, step)]
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            parts = list(pool.map(_write, jobs))
    else:
        parts = [_write(job) for job in jobs]
    return torch.from_numpy(np.concatenate(parts)).view(people, views, CAPTIONS, 2, networks.TEXT_LENGTH)
