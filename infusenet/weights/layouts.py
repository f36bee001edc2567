"""What a weight file seems to hold, told from the names and shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "module.", "first_stage_model.")
"""What other programs put before the keys."""

_DTYPES = {
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float64": "fp64",
    "float8_e4m3fn": "fp8 e4m3fn",
    "float8_e5m2": "fp8 e5m2",
}


class Shaped(Protocol):
    """A tensor, or what a file's header says about one."""

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def dtype(self) -> object: ...


class TensorInfo(NamedTuple):
    """One tensor as a file's header names it; `dtype` is torch's name, as "bfloat16"."""

    shape: tuple[int, ...]
    dtype: str


Shapes = Mapping[str, Shaped]


def describe_keys(tensors: Shapes) -> str:
    """What a set of named tensors seems to be, as "FLUX.1 dev transformer, bf16, 11.9 B parameters"."""
    if not tensors:
        return "a file without tensors"
    bare = {_bare(key): value for key, value in tensors.items()}
    name = next((name for matches, name in _rules() if (matches(bare))), None)
    try:
        title = name(bare) if name else f"an unknown network (first key {next(iter(tensors))!r:.80})"
    except (IndexError, ValueError):
        title = "a known network's names with other shapes"
    return f"{title}, {_main_dtype(tensors)}, {_amount(tensors)}"


def count_blocks(tensors: Mapping[str, object], stem: str) -> int:
    """How many numbered blocks follow a stem, as `transformer_blocks.` in `transformer_blocks.3.norm1`; 0 if none."""
    numbers = {key[len(stem) :].split(".", 1)[0] for key in tensors if key.startswith(stem)}
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)


def depth_of(tensors: Mapping[str, object], stem: str) -> int:
    """`count_blocks`, to build as many.

    Raises:
        ValueError: there are fewer tensors than that.
    """
    count = count_blocks(tensors, stem)
    if count > len(tensors):
        raise ValueError(f"{stem}{count - 1} is numbered beyond its {len(tensors)} tensors")
    return count


def _bare(key: str) -> str:
    return next((key[len(prefix) :] for prefix in PREFIXES if key.startswith(prefix)), key)


def _main_dtype(tensors: Shapes) -> str:
    """The dtype that most of the numbers have."""
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[str(tensor.dtype).removeprefix("torch.")] += math.prod(tensor.shape) + 1
    name = sizes.most_common(1)[0][0]
    return _DTYPES.get(name, name)


def _amount(tensors: Shapes) -> str:
    count = sum(math.prod(tensor.shape) for tensor in tensors.values())
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            digits = 2 if count / size < 10 else 1
            return f"{count / size:.{digits}f} {unit} parameters"
    return f"{count} parameters"


def _rules() -> list[tuple[Callable[[Shapes], bool], Callable[[Shapes], str]]]:
    """Marks of the known layouts, the most telling first."""
    return [
        (_any("ip_adapter."), _just("an IP-Adapter")),
        (_any("lora_"), _just("a LoRA")),
        (_starts("pulid_"), _just("PuLID weights")),
        (_has("controlnet_x_embedder.weight"), _controlnet),
        (_starts("controlnet_blocks."), _just("a FLUX ControlNet of another layout")),
        (_starts("single_transformer_blocks.", "transformer_blocks."), _flux("time_text_embed.guidance_embedder.")),
        (_starts("double_blocks.", "single_blocks."), _flux("guidance_in.")),
        (_has("latents", "proj_in.weight", "proj_out.weight"), _resampler),
        (_has("image_proj.latents"), _just("an image_proj Resampler with the prefix image_proj.")),
        (_has("input_layer.0.weight", "output_layer.3.weight"), _irse),
        (_starts("body.0.res_layer."), _just("a part of an ArcFace IR-SE recognizer")),
        (_starts("encoder.block.0.layer.0.SelfAttention."), _just("T5 text encoder")),
        (_starts("text_model."), _just("CLIP text encoder")),
        (_has("embeddings.position_embedding.weight", "embeddings.token_embedding.weight"), _just("CLIP text encoder")),
        (_starts("vision_model."), _just("CLIP vision encoder")),
        (_starts("input_blocks."), _just("a Stable Diffusion UNet or checkpoint")),
        (_has("decoder.conv_in.weight"), _vae),
        (_starts("decoder.layers."), _just("a tiny autoencoder (TAESD)")),
        (_starts("taesd_"), _just("a tiny autoencoder (TAESD)")),
        (_starts("down_blocks.", "up_blocks."), _just("a Stable Diffusion UNet")),
        (_starts("joint_blocks."), _just("a Stable Diffusion 3 transformer")),
    ]


def _any(part: str) -> Callable[[Shapes], bool]:
    return lambda tensors: any(part in key for key in tensors)


def _has(*names: str) -> Callable[[Shapes], bool]:
    return lambda tensors: all(name in tensors for name in names)


def _starts(*stems: str) -> Callable[[Shapes], bool]:
    return lambda tensors: all(any(key.startswith(stem) for key in tensors) for stem in stems)


def _just(name: str) -> Callable[[Shapes], str]:
    return lambda tensors: name


def _flux(guidance: str) -> Callable[[Shapes], str]:
    def name(tensors: Shapes) -> str:
        variant = "dev" if any(key.startswith(guidance) for key in tensors) else "schnell"
        depth = count_blocks(tensors, "transformer_blocks.") or count_blocks(tensors, "double_blocks.")
        extent = "" if depth == 19 else f" of {depth} double blocks"
        packed = (
            " in an all-in-one checkpoint" if any(re.match(r"text_encoders\.|vae\.", key) for key in tensors) else ""
        )
        return f"FLUX.1 {variant} transformer{extent}{packed}"

    return name


def _controlnet(tensors: Shapes) -> str:
    double = count_blocks(tensors, "transformer_blocks.")
    single = count_blocks(tensors, "single_transformer_blocks.")
    if any(key.startswith("controlnet_mode_embedder.") for key in tensors):
        return f"a FLUX Union ControlNet ({double} double, {single} single blocks)"
    return f"InfuseNet ({double} double, {single} single blocks)"


def _resampler(tensors: Shapes) -> str:
    width_in, (queries, _) = tensors["proj_in.weight"].shape[-1], tensors["latents"].shape[-2:]
    return f"image_proj Resampler ({width_in} -> {queries} x {tensors['proj_out.weight'].shape[0]})"


def _irse(tensors: Shapes) -> str:
    stem = tensors["input_layer.0.weight"].shape[0]
    size = "IR-SE50" if stem == 64 and count_blocks(tensors, "body.") == 24 else f"IR-SE recognizer of width {stem}"
    return f"ArcFace {size}"


def _vae(tensors: Shapes) -> str:
    shape = tensors["decoder.conv_in.weight"].shape
    channels = shape[1] if len(shape) > 1 else 0
    return "FLUX VAE" if channels == 16 else f"a VAE with {channels} latent channels"
