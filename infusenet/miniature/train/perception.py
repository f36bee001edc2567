"""What looks at pictures: the autoencoder, the three recognizers, the judge. (The face detector: detector.py.)"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...adapters.infusenet.arcface import IRSE
from .. import faces, networks
from .bank import Bank, align
from .loop import Plan, Run, train

log = logging.getLogger(__name__)

CROPS = Plan(steps=5600, batch=192, lr=2e-3, ema=0.998, decay=1e-4, betas=(0.9, 0.99))
WHOLE = Plan(steps=1600, batch=96, lr=5e-4, ema=0.998, decay=1e-4, betas=(0.9, 0.99))
CONDITIONING = Plan(steps=5000, batch=512, lr=3e-3, ema=0.0, decay=0.02, betas=(0.9, 0.98), clip=5.0, floor=0.01)
MEASURING = Plan(steps=6000, batch=512, lr=3e-3, ema=0.0, decay=0.02, betas=(0.9, 0.98), clip=5.0, floor=0.01)
JUDGING = Plan(steps=6000, batch=512, lr=2e-3, ema=0.0, decay=0.02, betas=(0.9, 0.98), clip=5.0, floor=0.01)
JUDGE = Plan(steps=2500, batch=512, lr=2e-3, ema=0.0, decay=0.05, floor=0.01)


def channels_last(x: Tensor) -> Tensor:
    """The memory layout in which convolutions are fast on a GPU."""
    return x.contiguous(memory_format=torch.channels_last)


# ------------------------------------------------------------------------------------------ autoencoder


def _reconstruction(vae: Any, x: Tensor, weight: Tensor, run: Run) -> Tensor:
    """Weighted L1 + gradient L1 + squared error + a weak pull of the posterior to the unit normal."""
    with run.autocast():
        mean, logvar = vae.quant_conv(vae.encoder(channels_last(x * 2 - 1))).float().chunk(2, 1)
        logvar = logvar.clamp(-20, 10)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        out = vae.decoder(vae.post_quant_conv(z))
    d = out.float() * 0.5 + 0.5 - x
    absolute = (d.abs() * weight).mean()
    edges = ((d[..., 1:] - d[..., :-1]).abs() * weight[..., 1:]).mean()
    edges = edges + ((d[..., 1:, :] - d[..., :-1, :]).abs() * weight[..., 1:, :]).mean()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    price = 1e-3 * vae.config.latent_channels / networks.LATENT_CHANNELS  # the same for each number of the latents
    loss = absolute + edges + 2 * (d.square() * weight).mean() + price * divergence
    return torch.stack([loss, absolute.detach(), d.square().mean().detach(), divergence.detach()])


def train_autoencoder(
    run: Run, bank: Bank, vae: Any = None, name: str = "vae", plans: tuple[Plan, Plan] | None = None
) -> Any:
    """Random crops first (fast), whole pictures last; then the latent format is folded into the quant convs."""
    run.seed(11)
    first, last = plans or (CROPS, WHOLE)
    vae = (vae or networks.autoencoder()).to(run.device)
    vae = vae.to(memory_format=torch.channels_last)
    pictures = bank.images.view(-1, 3, networks.SIZE, networks.SIZE)
    rows = (torch.arange(networks.SIZE, device=run.device) + 0.5) / networks.SIZE * 2 - 1
    weight = 1 + 1.5 * torch.exp(-((rows[None, :] / 0.5) ** 2) - (((rows[:, None] + 0.1) / 0.6) ** 2))
    side = networks.SIZE // 2
    window = torch.arange(side, device=run.device)
    channel = torch.arange(3, device=run.device)[None, :, None, None]

    def crops() -> Tensor:
        i = torch.randint(0, len(pictures), (first.batch,), device=run.device)
        corner = (torch.rand(2, first.batch, 2, device=run.device).mean(2) * (side // 4 + 1)).long() * 4
        corner = corner.clamp(max=side)
        y = (corner[0, :, None] + window)[:, None, :, None]
        x = (corner[1, :, None] + window)[:, None, None, :]
        picture = pictures[i[:, None, None, None], channel, y, x].float() / 255
        return _reconstruction(vae, picture, weight[y, x], run)

    def whole() -> Tensor:
        i = torch.randint(0, len(pictures), (last.batch,), device=run.device)
        return _reconstruction(vae, pictures[i].float() / 255, weight, run)

    cropped = f"{name}-crops"
    if not run.has(cropped):
        train(run, cropped, first, [vae], crops)
        run.save(cropped, vae)
    vae = run.load(cropped, vae).requires_grad_(True)
    train(run, name, last, [vae], whole)
    fold_latent_format(vae, pictures[:4096])
    run.save(name, vae)
    return vae


def latent_format(vae: Any) -> tuple[float, float]:
    """(scale, shift) of an autoencoder: normalised = (latent - shift) * scale."""
    return vae.config.scaling_factor, vae.config.shift_factor or 0.0


@torch.no_grad()
def fold_latent_format(vae: Any, pictures: Tensor) -> None:
    """Make `(latent - shift) * scale` have mean 0 and deviation 1, by the 1 x 1 quant convs: exact."""
    scale, shift = latent_format(vae)
    means = torch.cat([vae.quant_conv(vae.encoder(p.float() / 127.5 - 1)).chunk(2, 1)[0] for p in pictures.split(256)])
    mean, std = means.mean(), means.std()
    gain = 1 / (std * scale)
    offset = shift - mean * gain
    after, before = vae.quant_conv, vae.post_quant_conv
    half = vae.config.latent_channels
    after.weight[:half] *= gain
    after.bias[:half] = after.bias[:half] * gain + offset
    after.bias[half:] += 2 * gain.log()  # the log-variances of the scaled latents
    before.bias += -(before.weight.sum((1, 2, 3)) * offset / gain)
    before.weight /= gain
    log.info("latents: mean %.4f, deviation %.4f before folding", mean, std)


@torch.no_grad()
def encode(vae: Any, pictures: Tensor) -> Tensor:
    """uint8 pictures [N,3,S,S] -> normalised latents [N,C,S/8,S/8], the posterior's mode."""
    scale, shift = latent_format(vae)
    mean = vae.quant_conv(vae.encoder(pictures.float() / 127.5 - 1)).chunk(2, 1)[0]
    out: Tensor = (mean.float() - shift) * scale
    return out


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """Normalised latents -> pictures [N,3,S,S] in 0..1."""
    scale, shift = latent_format(vae)
    z = latents / scale + shift
    out: Tensor = (vae.decoder(vae.post_quant_conv(z)).float() * 0.5 + 0.5).clamp(0, 1)
    return out


@torch.no_grad()
def reconstruct_views(run: Run, vae: Any, bank: Bank, views: tuple[int, ...], batch: int = 1024) -> None:
    """Replace some views by what the autoencoder makes of them: recognizers must know its blur."""
    for view in views:
        for start in range(0, len(bank), batch):
            rows = slice(start, start + batch)
            with run.autocast():
                pictures = decode(vae, encode(vae, bank.images[rows, view]))
            bank.images[rows, view] = faces.to_uint8(pictures)


# ------------------------------------------------------------------------------------------ recognizers


def disturb(crops: Tensor) -> Tensor:
    """Blur, contrast, colour and noise, each drawn per crop; 0..1 in and out."""
    count, device = len(crops), crops.device
    draw = torch.rand(count, 1, 1, 1, device=device)
    crops = torch.where(draw < 0.2, F.avg_pool2d(crops, 3, 1, 1), crops)
    crops = torch.where(draw < 0.06, F.avg_pool2d(crops, 5, 1, 2), crops)
    crops = (crops - 0.5) * (1 + 0.1 * torch.randn(count, 1, 1, 1, device=device)) + 0.5
    crops = crops + 0.04 * torch.randn(count, 3, 1, 1, device=device)
    noise = 0.03 * torch.rand(count, 1, 1, 1, device=device) * torch.randn_like(crops)
    return (crops + noise).clamp(0, 1)


def _crops(bank: Bank, person: Tensor, view: Tensor) -> Tensor:
    """Aligned, disturbed crops of drawn pictures: [N,3,112,112] in -1..1, RGB. Landmarks err as a detector's do."""
    at = bank.landmarks[person, view]
    at = at + 0.9 * torch.randn_like(at) + 1.2 * torch.randn(len(at), 1, 2, device=at.device)
    return disturb(align(bank.images[person, view].float() / 255, at)) * 2 - 1


Logits = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(cosines to all centres [N, C], the own person's index [N, 1], margin []) -> logits [N, C], still without scale."""


def arc_margin(cosine: Tensor, own: Tensor, margin: Tensor) -> Tensor:
    """ArcFace: an angle is added; beyond pi/2 the cosine's own margin keeps it monotone."""
    mine = cosine.gather(1, own).clamp(-0.9999, 0.9999)
    return cosine.scatter(1, own, torch.where(mine > -0.5, torch.cos(torch.acos(mine) + margin), mine - margin))


def cos_margin(cosine: Tensor, own: Tensor, margin: Tensor) -> Tensor:
    """CosFace: the own cosine counts less by the margin."""
    return cosine.scatter(1, own, cosine.gather(1, own).clamp(-0.9999, 0.9999) - margin)


def circle(cosine: Tensor, own: Tensor, margin: Tensor) -> Tensor:
    """Circle loss: each cosine pulls the harder, the further it is from where it should be (1 for the own, 0 else)."""
    mine = cosine.gather(1, own)
    others = (cosine.detach() + margin).clamp(min=0) * (cosine - margin)
    return others.scatter(1, own, (1 + margin - mine.detach()).clamp(min=0) * (mine - 1 + margin))


def _train_recognizer(
    run: Run,
    name: str,
    net: Any,
    dim: int,
    people: slice,
    bank: Bank,
    plan: Plan,
    *,
    logits: Logits,
    scale: float,
    margin: float,
    ramp: float = 0.35,
    bgr: bool = False,
) -> None:
    """Teach a recognizer to tell `people` apart; the margin grows during the first `ramp` of the steps."""
    low, high = people.start, people.stop
    net = net.to(run.device).to(memory_format=torch.channels_last).train()
    centres = nn.ParameterList([nn.Parameter(torch.randn(high - low, dim, device=run.device) * 0.05)])
    now = torch.zeros((), device=run.device)
    embed: Any = getattr(net, "features", net)

    def loss() -> Tensor:
        i = torch.randint(0, high - low, (plan.batch,), device=run.device)
        view = torch.randint(0, bank.images.shape[1], (plan.batch,), device=run.device)
        crops = _crops(bank, i + low, view)
        if bgr:
            crops = crops.flip(1)
        with run.autocast():
            embedding = F.normalize(embed(channels_last(crops)).float(), dim=1)
            cosine = (embedding @ F.normalize(centres[0], dim=1).T).float()
        entropy = F.cross_entropy(logits(cosine, i[:, None], now) * scale, i)
        own = cosine.detach().gather(1, i[:, None]).mean()
        right = (cosine.detach().argmax(1) == i).float().mean()
        return torch.stack([entropy, own, right])

    groups: list[dict[str, Any]] = [
        {"params": list(net.parameters())},
        {"params": list(centres.parameters()), "weight_decay": 0.0, "mul": 3.0},
    ]

    def before(done: float) -> None:
        now.fill_(margin * (min(1.0, done / ramp) if ramp else 1.0))

    train(run, name, plan, [net, centres], loss, groups=groups, before=before)
    run.save(name, net)


def train_conditioning(run: Run, bank: Bank) -> None:
    """The recognizer that InfuseNet is conditioned on: a narrow IR-SE, ArcFace, BGR, the first half of the people."""
    run.seed(21)
    net = IRSE(networks.IRSE_WIDTHS, networks.EMBEDDING, squeeze=4)
    dropout: Any = net.output_layer[1]
    dropout.p = 0.0  # a narrow net needs none
    people = slice(0, len(bank) // 2)
    _train_recognizer(
        run, "arcface", net, 512, people, bank, CONDITIONING, logits=arc_margin, scale=28.0, margin=0.35, bgr=True
    )


def train_measuring(run: Run, bank: Bank) -> None:
    """The recognizer that measures: another architecture, loss and seed, the other half of the people."""
    run.seed(22)
    people = slice(len(bank) // 2, len(bank))
    net = networks.MeasuringRecognizer()
    _train_recognizer(
        run, "recognizer", net, net.dim, people, bank, MEASURING, logits=cos_margin, scale=24.0, margin=0.30
    )


def train_judging(run: Run, bank: Bank) -> None:
    """The recognizer that judges: a third architecture, loss and seed, and a bank of people of its own."""
    run.seed(23)
    net = networks.JudgingRecognizer()
    everyone = slice(0, len(bank))
    _train_recognizer(
        run, "judging", net, net.dim, everyone, bank, JUDGING, logits=circle, scale=64.0, margin=0.25, ramp=0.0
    )


# ------------------------------------------------------------------------------------------ judge


def train_judge(run: Run, bank: Bank) -> None:
    """Reads scene and style back from pictures: what a prompt asked for, measured."""
    run.seed(41)
    net: Any = networks.Judge()
    net = net.to(run.device).to(memory_format=torch.channels_last).train()
    truth = {k: bank.attribute(k) for k in networks.JUDGED}

    def loss() -> Tensor:
        i = torch.randint(0, len(bank), (JUDGE.batch,), device=run.device)
        view = torch.randint(0, bank.images.shape[1], (JUDGE.batch,), device=run.device)
        x = disturb(bank.images[i, view].float() / 255) * 2 - 1
        with run.autocast():
            answers = net(channels_last(x))
        losses = [F.cross_entropy(answers[k].float(), truth[k][i, view]) for k in networks.JUDGED]
        right = [(answers[k].argmax(1) == truth[k][i, view]).float().mean() for k in networks.JUDGED]
        return torch.stack([torch.stack(losses).sum(), *right])

    train(run, "judge", JUDGE, [net], loss)
    run.save("judge", net)
