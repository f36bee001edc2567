"""The face detector with five landmarks, in SCRFD's manner: three strides, two anchors a cell."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import faces, networks
from .bank import Bank, take
from .loop import Plan, Run, train
from .perception import channels_last, disturb

DETECTOR = Plan(steps=14000, batch=256, lr=2e-3, ema=0.0, decay=0.01, betas=(0.9, 0.98), floor=0.01)


def _composed(bank: Bank, empty: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures of one face, shrunk, turned and shifted over an empty scene; a quarter of them without a face.

    Returns:
        pictures [N,3,S,S] 0..1, boxes [N,4], landmarks [N,5,2], shown [N] bool.
    """
    device, side = bank.images.device, networks.SIZE
    person = torch.randint(0, len(bank), (count,), device=device)
    view = torch.randint(0, bank.images.shape[1], (count,), device=device)
    front = bank.images[person, view].float() / 255
    back = empty[torch.randint(0, len(empty), (count,), device=device)].float() / 255
    whole = torch.rand(count, device=device) < 0.5
    zoom = torch.where(
        whole, 0.95 + 0.25 * torch.rand(count, device=device), 0.35 + 0.7 * torch.rand(count, device=device)
    )
    angle = 0.12 * torch.randn(count, device=device)
    room = (1 - zoom).abs() + 0.12
    shift = (torch.rand(count, 2, device=device) * 2 - 1) * torch.where(whole, 0.12 * torch.ones_like(room), room)[
        :, None
    ]
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    # output -> input, in normalised coordinates
    linear = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    theta = torch.cat([linear, -(linear @ shift[:, :, None])], 2)
    grid = F.affine_grid(theta, list(front.shape), align_corners=False)
    inside = (grid.abs() <= 1).all(-1)[:, None]
    picture = torch.where(inside, F.grid_sample(front, grid, padding_mode="border", align_corners=False), back)
    forward = torch.stack(
        [
            torch.stack([angle.cos() * zoom, -angle.sin() * zoom], 1),
            torch.stack([angle.sin() * zoom, angle.cos() * zoom], 1),
        ],
        1,
    )

    def move(points: Tensor) -> Tensor:
        unit = (points + 0.5) / side * 2 - 1
        moved = unit @ forward.transpose(1, 2) + shift[:, None]
        return (moved + 1) / 2 * side - 0.5

    box = bank.boxes[person, view]
    x0, y0, x1, y1 = box.unbind(1)
    corners = move(torch.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1).view(-1, 4, 2))
    centre = corners.mean(1)
    half = (box[:, 2:] - box[:, :2]) * zoom[:, None] / 2
    shown = torch.rand(count, device=device) > 0.25
    picture = torch.where(shown[:, None, None, None], picture, back)
    return disturb(picture), torch.cat([centre - half, centre + half], 1), move(bank.landmarks[person, view]), shown


_RANGES = ((0.0, 40.0), (28.0, 84.0), (60.0, 1e9))  # face sizes in pixels that each stride answers for


def _detection_loss(
    levels: list[tuple[Tensor, Tensor, Tensor]], boxes: Tensor, points: Tensor, shown: Tensor
) -> Tensor:
    """Focal score loss everywhere; GIoU-like box and landmark losses where a cell lies at the face's centre."""
    size = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    total = torch.zeros((), device=boxes.device)
    found = torch.zeros((), device=boxes.device)
    error = torch.zeros((), device=boxes.device)
    for stride, (low, high), (score, distance, landmark) in zip(networks.STRIDES, _RANGES, levels, strict=True):
        h, w = score.shape[-2:]
        y = torch.arange(h, device=boxes.device)[:, None] * stride
        x = torch.arange(w, device=boxes.device)[None, :] * stride
        dx, dy = x[None] - centre[:, 0, None, None], y[None] - centre[:, 1, None, None]
        reach = torch.clamp(size / 5, min=0.75 * stride)[:, None, None]
        own = ((size >= low) & (size < high) & shown)[:, None, None]
        positive = own & (dx.abs() <= reach) & (dy.abs() <= reach)
        near = own & (dx.abs() <= 2 * reach) & (dy.abs() <= 2 * reach) & ~positive
        mask = positive[:, None].expand_as(score).float()
        p = score.float().sigmoid()
        focal = -(
            mask * (1 - p) ** 2 * F.logsigmoid(score.float()) + 3 * (1 - mask) * p**2 * F.logsigmoid(-score.float())
        )
        focal = focal * (1 - near[:, None].float())
        weight = mask / mask.sum().clamp(min=1)
        sides = [boxes[:, k, None, None] for k in range(4)]
        target = torch.stack(torch.broadcast_tensors(x - sides[0], y - sides[1], sides[2] - x, sides[3] - y), 1)
        unit = size[:, None, None, None, None]
        box_error = ((distance.float() * stride - target[:, None]).abs() / unit).mean(2)
        grid = torch.stack([x.expand(h, w), y.expand(h, w)], 0).float()
        aim = points.permute(0, 2, 1)[:, :, :, None, None] - grid[None, :, None]
        aim = aim.permute(0, 2, 1, 3, 4).flatten(1, 2)  # [N,10,h,w], x and y of each point in turn
        point_error = ((landmark.float() * stride - aim[:, None]).abs() / unit).mean(2)
        total = (
            total
            + focal.sum() / mask.sum().clamp(min=1)
            + 6 * (box_error * weight).sum()
            + 20 * (point_error * weight).sum()
        )
        found = found + (p * weight).sum() / 3
        error = error + (point_error * weight).sum() / 3
    return torch.stack([total, found.detach(), error.detach()])


def train_detector(run: Run, bank: Bank) -> None:
    """A face detector with five landmarks, on composed pictures and their blurred and noisy versions."""
    run.seed(31)
    net: Any = networks.FaceDetectorNet()
    net = net.to(run.device).to(memory_format=torch.channels_last).train()
    with torch.no_grad():
        for head in net.heads:
            head[-1].bias.view(networks.ANCHORS, 15)[:, 0] = -4.0  # faces are rare
        empty = torch.cat(
            [faces.to_uint8(faces.render_scene(take(s, slice(0, 4096)))) for s in _on(run, bank, range(1, 4))]
        )

    def loss() -> Tensor:
        picture, boxes, points, shown = _composed(bank, empty, DETECTOR.batch)
        with run.autocast():
            levels = net(channels_last(picture * 255 / 128 - 127.5 / 128))
        return _detection_loss(levels, boxes, points, shown)

    train(run, "detector", DETECTOR, [net], loss)
    run.save("detector", net)


def _on(run: Run, bank: Bank, views: range) -> list[dict[str, Tensor]]:
    return [{k: v.to(run.device) for k, v in bank.scenes[view].items()} for view in views]
