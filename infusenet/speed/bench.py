"""What each saving gains at true size: `python -m infusenet.speed.bench --out FOLDER`.

The networks have the sizes of FLUX.1 and InfuseNet and random weights, one set for all ways, because seconds do not
depend on their values. The ways take turns, round after round, so a card that warms up slows them all. Sampling and
decoding are timed, text encoding is not.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..adapters.infusenet.model import InfuseNetModel
from ..adapters.infusenet.pipeline import InfuseNetPipeline
from ..backbones import BACKBONES
from ..files import write_atomically
from ..guidance.notation import NONE, parse_attention
from .compiled import Speed, speed_up

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """Sizes of the networks, and of the picture."""

    blocks: tuple[int, int] = (19, 38)
    own_blocks: tuple[int, int] = (4, 10)
    heads: int = 24
    head: int = 128
    text: int = 4096
    pooled: int = 768
    vae: tuple[int, ...] = (128, 256, 512, 512)
    width: int = 864
    height: int = 1152


TRUE = Size()
TINY = Size((2, 3), (1, 2), 2, 32, 64, 32, (32, 32, 32, 32), 64, 64)


@dataclass(frozen=True)
class Way:
    """One way to make a picture."""

    backbone: str  # "dev" or "schnell"
    steps: int
    speed: Speed | None = None
    refresh: str = "every step"
    identity: bool = True
    attention: str = NONE  # to the identity, see `guidance.notation.parse_attention`

    @property
    def title(self) -> str:
        """As the table has it."""
        parts = [f"{self.backbone} {self.steps}", self.refresh if self.identity else "without InfuseNet"]
        parts += [] if self.attention == NONE else [f"attention {self.attention}"]
        return ", ".join([*parts, {None: "eager", "compile": "compiled", "fp8": "fp8, compiled"}[self.speed]])


_SCHNELL = [Way("schnell", 4, None, refresh) for refresh in ("every step", "1,3", "1")]
_DEV = [Way("dev", 28, None, refresh) for refresh in ("every step", "every 4")]
_TWO = [Way("schnell", 2, None, refresh) for refresh in ("every step", "1")]
WAYS: tuple[Way, ...] = (
    *[replace(way, speed=speed) for speed in (None, "compile", "fp8") for way in (*_DEV, *_SCHNELL, *_TWO)],
    *[
        replace(way, speed=speed)
        for speed in (None, "compile")
        for way in (
            Way("schnell", 4, identity=False),
            *[Way("schnell", 4, attention=attention) for attention in ("scale 1.55", "soft mask 1.55")],
        )
    ],
)
"""The first is what the others are compared with."""


@dataclass
class Timed:
    """What came of a way."""

    way: Way
    milliseconds: list[float]
    first_seconds: float = 0.0  # of the first picture, which compiles
    working_gib: float = 0.0  # at most, beside the weights

    @property
    def median(self) -> float:
        """Of its rounds, in milliseconds."""
        return statistics.median(self.milliseconds)


def filled(make: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> Any:
    """A network with random weights of a usual size, never zeros: those would multiply faster."""
    with torch.device("meta"):
        network = make()
    network = nn.Module.to_empty(nn.Module.to(network, dtype), device=device)
    for name, weight in network.named_parameters():
        if weight.ndim >= 2:
            nn.init.normal_(weight, std=0.02)
        else:
            nn.init.constant_(weight, float(name.endswith("weight")))
    return network.eval().requires_grad_(False)


def twin(network: Any) -> Any:
    """Another network of the same weights, which lie in memory once."""
    return deepcopy(network, {id(weight): weight for weight in network.parameters()})


class Networks:
    """The networks of all ways; their weights lie in memory once for 16 bits and once for 8."""

    def __init__(self, size: Size, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKL, FluxTransformer2DModel

        sides = {
            "num_attention_heads": size.heads,
            "attention_head_dim": size.head,
            "joint_attention_dim": size.text,
            "pooled_projection_dim": size.pooled,
            "axes_dims_rope": (size.head // 8, size.head * 7 // 16, size.head * 7 // 16),
        }
        double, single = size.blocks
        own_double, own_single = size.own_blocks
        flux = {"num_layers": double, "num_single_layers": single, **sides}
        own = {"num_layers": own_double, "num_single_layers": own_single, "guidance_embeds": True, **sides}
        channels = len(size.vae)
        vae = {
            "block_out_channels": size.vae,
            "down_block_types": ("DownEncoderBlock2D",) * channels,
            "up_block_types": ("UpDecoderBlock2D",) * channels,
            "layers_per_block": 2,
            "latent_channels": 16,
            "scaling_factor": 0.3611,
            "shift_factor": 0.1159,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        }
        self.size, self.device, self.dtype = size, device, dtype
        self._plain = {
            "dev": filled(lambda: FluxTransformer2DModel(guidance_embeds=True, **flux), device, dtype),
            "infusenet": filled(lambda: InfuseNetModel(**own), device, dtype),
            "vae": filled(lambda: AutoencoderKL(**vae), device, dtype),
        }
        self._schnell_of = lambda: FluxTransformer2DModel(guidance_embeds=False, **flux)
        self._kept: dict[Speed | None, dict[str, Any]] = {}
        self._pipelines: dict[tuple[str, Speed | None], InfuseNetPipeline] = {}

    def pipeline(self, backbone: str, speed: Speed | None) -> InfuseNetPipeline:
        """The pipeline of these networks, quiet."""
        if (backbone, speed) not in self._pipelines:
            self._pipelines[backbone, speed] = self._pipeline(backbone, speed)
        return self._pipelines[backbone, speed]

    def _pipeline(self, backbone: str, speed: Speed | None) -> InfuseNetPipeline:
        from diffusers import FlowMatchEulerDiscreteScheduler

        networks, spec = self._of(speed), BACKBONES[f"flux-{backbone}"]
        names = ("use_dynamic_shifting", "shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
        texts = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
        pipeline = InfuseNetPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(**{name: getattr(spec, name) for name in names}),
            vae=networks["vae"],
            transformer=networks[backbone],
            controlnet=networks["infusenet"],
            **texts,
        )
        pipeline._spec = spec
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _of(self, speed: Speed | None) -> dict[str, Any]:
        if speed not in self._kept:
            networks = {name: twin(network) for name, network in self._plain.items()}
            networks["schnell"] = self._schnell(twin(self._plain["dev"]))
            if speed is not None:
                both = {"controlnet": networks["infusenet"], "vae": networks["vae"]}
                speed_up(SimpleNamespace(transformer=networks["dev"], **both), speed, self.device)
                speed_up(
                    SimpleNamespace(transformer=networks["schnell"], controlnet=None, vae=None), speed, self.device
                )
            self._kept[speed] = networks
        return self._kept[speed]

    def _schnell(self, dev: Any) -> Any:
        """schnell around dev's blocks: it lacks the guidance's embedding and nothing else."""
        with torch.device("meta"):
            schnell = self._schnell_of()
        for name, part in dev.named_children():
            if name != "time_text_embed":
                setattr(schnell, name, part)
        schnell.time_text_embed = filled(lambda: schnell.time_text_embed, self.device, self.dtype)
        return schnell.eval()


def picture(networks: Networks, way: Way, inputs: dict[str, Tensor]) -> Tensor:
    """One picture."""
    pipeline, size = networks.pipeline(way.backbone, way.speed), networks.size
    length = BACKBONES[f"flux-{way.backbone}"].max_sequence_length
    images: Tensor = pipeline(
        prompt_embeds=inputs["text"][:, :length],
        pooled_prompt_embeds=inputs["pooled"],
        identity=inputs["identity"] if way.identity else None,
        control_image_latents=inputs["control"] if way.identity else None,
        latents=inputs["noise"],
        width=size.width,
        height=size.height,
        num_inference_steps=way.steps,
        refresh=way.refresh,
        attention=parse_attention(way.attention),
        output_type="pt",
    ).images
    return images


def random_inputs(size: Size, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Embeddings, an identity, a control picture and noise, of the right shapes."""
    tokens = (size.width // 16) * (size.height // 16)
    shapes = {"text": (1, 512, size.text), "pooled": (1, size.pooled), "identity": (1, 8, size.text)}
    shapes |= {"control": (1, tokens, 64), "noise": (1, tokens, 64)}
    return {name: torch.randn(shape, device=device, dtype=dtype) for name, shape in shapes.items()}


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call, the device's work included."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bench(networks: Networks, ways: Sequence[Way], rounds: int, log_to: Callable[[str], object]) -> list[Timed]:
    """Make each way's picture once, which compiles, and then all of them in turns."""
    inputs, device = random_inputs(networks.size, networks.device, networks.dtype), networks.device
    found = [Timed(way, []) for way in ways]
    for one in found:
        few = replace(one.way, steps=min(one.way.steps, 2))  # enough to compile it
        one.first_seconds = timed(lambda few=few: picture(networks, few, inputs), device)  # type: ignore[misc]
        log_to(f"first: {one.way.title} {one.first_seconds:.1f} s")
    for number in range(rounds):
        for one in found:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
                held = torch.cuda.memory_allocated(device)
            seconds = timed(lambda one=one: picture(networks, one.way, inputs), device)  # type: ignore[misc]
            one.milliseconds.append(seconds * 1000)
            if device.type == "cuda":
                one.working_gib = (torch.cuda.max_memory_allocated(device) - held) / 2**30
        log_to(f"round {number + 1} of {rounds}")
    return found


def decode_times(networks: Networks, rounds: int) -> dict[str, float]:
    """Milliseconds of decoding one picture, eager and compiled."""
    size, found = networks.size, {}
    latents = torch.randn(1, 16, size.height // 8, size.width // 8, device=networks.device, dtype=networks.dtype)
    for title, speed in (("eager", None), ("compiled", "compile")):
        vae = networks._of(speed)["vae"]  # type: ignore[arg-type]
        with torch.no_grad():
            seconds = [timed(lambda vae=vae: vae.decode(latents), networks.device) for _ in range(rounds + 1)]  # type: ignore[misc]
        found[title] = statistics.median(seconds[1:]) * 1000
    return found


def table(found: Sequence[Timed]) -> str:
    """The ways as a table of Markdown, each against the first."""
    first = found[0].median
    lines = ["| way | ms | x | GiB besides the weights |", "|---|---|---|---|"]
    lines += [
        f"| {one.way.title} | {one.median:.0f} | {first / one.median:.2f} | {one.working_gib:.1f} |" for one in found
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m infusenet.speed.bench", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where bench.json and bench.md are written"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the command itself")
    parser.add_argument("--without", nargs="*", default=[], choices=("compile", "fp8"), help="leave these ways out")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="TEXT", help="beside the first way, only those with this in their name"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    networks = Networks(TINY if given.tiny else TRUE, device, dtype)
    ways = [way for way in WAYS if way.speed not in given.without]
    ways = [way for way in ways if way is ways[0] or not given.only or any(text in way.title for text in given.only)]
    found = bench(networks, ways, given.rounds, lambda line: sys.stderr.write(f"{line}\n"))
    decode = decode_times(networks, given.rounds) if "compile" not in given.without else {}
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    report = {
        "card": card,
        "torch": torch.__version__,
        "size": asdict(networks.size),
        "decode_ms": decode,
        "ways": [{**asdict(one), "title": one.way.title, "median": one.median} for one in found],
    }
    shown = f"{card}, torch {torch.__version__}, medians of {given.rounds} rounds, sampling and decoding\n\n"
    shown += table(found) + "\n\ndecode, ms: " + ", ".join(f"{title} {ms:.1f}" for title, ms in decode.items()) + "\n"
    given.out.mkdir(parents=True, exist_ok=True)
    write_atomically(given.out / "bench.json", (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(given.out / "bench.md", shown.encode())
    sys.stdout.write(shown)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
