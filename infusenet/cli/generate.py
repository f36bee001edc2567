"""`infusenet generate`: one picture of a person."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..weights import catalogue

if TYPE_CHECKING:
    from ..tune.recipe import Recipe

_GENERATE = """\
examples:
  a picture in 4 steps with the miniature, which knows only drawn faces such as the demo's reference:
    infusenet generate --backbone mini-schnell --face out/reference.png --prompt "a portrait" --out portrait.png
  a photo, with the real models in your folders (see: infusenet models):
    infusenet generate --backbone flux-schnell --face me.jpg --prompt "a chef in a kitchen" --out chef.png
  several photos of the same person make a more reliable identity:
    infusenet generate --backbone flux-dev --face a.jpg b.jpg --prompt "an astronaut" --out astronaut.png
  the head where another photo has it, at the same size:
    infusenet generate --backbone flux-dev --face me.jpg --pose pose.jpg --prompt "a knight" --out knight.png
  with the fastest settings that infusenet tune found:
    infusenet generate --backbone mini-dev --face out/reference.png --prompt "a sketch" --recipe recipe.json --out s.png
  where does the face drift? Writes sketch.trace.json and sketch.drift.png next to the picture:
    infusenet generate --backbone mini-dev --face out/reference.png --prompt "a sketch" --probe --out sketch.png

Use pictures of people who agreed to it. Every picture is marked as AI-generated in its metadata.
"""


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 864x1152, got {text!r}") from None


def _face(text: str) -> str | int:
    if text == "largest" or (text.isascii() and text.isdigit()):
        return text if text == "largest" else int(text)
    raise argparse.ArgumentTypeError(
        f"expected 'largest' or a number counted from the left, starting at 0, got {text!r}"
    )


def _named(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a name or a path, got nothing")
    return text


def _file(text: str) -> Path:
    return Path(_named(text))


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """The arguments of generate, under a command."""
    raw = argparse.RawDescriptionHelpFormatter
    text = "make one picture of the person in your photos, with real or miniature weights"
    usage = "infusenet generate --backbone NAME|PATH --face FILE... --prompt TEXT --out FILE.png [options]"
    make = commands.add_parser("generate", help=text, description=text, formatter_class=raw, parents=[common])
    make.usage, make.epilog = usage, _GENERATE
    need = make.add_argument_group("required")
    need.add_argument(
        "--backbone",
        required=True,
        type=_named,
        metavar="NAME|PATH",
        help="mini-schnell, mini-dev, flux-schnell, flux-dev, or a path; with --adapter ip-adapter-faceid, "
        "mini-sdxl, mini-sdxl-4step, sdxl, sdxl-lcm, sdxl-hyper, sdxl-lightning, sdxl-turbo, or a path",
    )
    need.add_argument(
        "--face",
        required=True,
        nargs="+",
        action="extend",
        type=_file,
        metavar="FILE",
        help="one or more photos of the same person",
    )
    need.add_argument("--prompt", required=True, help="describes the scene")
    need.add_argument("--out", required=True, type=Path, metavar="FILE.png", help="the picture to write")
    tune = make.add_argument_group("settings (default: the backbone's own values)")
    tune.add_argument(
        "--recipe",
        type=Path,
        metavar="FILE",
        help="the recipe.json from infusenet tune. It sets steps, strength, refresh and schedule unless you give "
        "them here",
    )
    tune.add_argument("--steps", type=int, help="4 for schnell, 28 for dev")
    tune.add_argument("--strength", type=float, help="how strongly the identity acts, 0 to 3 (default: 1)")
    tune.add_argument("--guidance", type=float, help="3.5 for dev; schnell ignores it")
    tune.add_argument(
        "--start", type=float, default=0.0, help="when the identity starts to act, as a share of the run (default: 0)"
    )
    tune.add_argument(
        "--end", type=float, default=1.0, help="when the identity stops acting, as a share of the run (default: 1)"
    )
    tune.add_argument(
        "--refresh",
        metavar="WHEN",
        help='when InfuseNet is computed again: "every step" (default), "every 4", "1,3" (those steps) or "adaptive"; '
        "less often is faster, but at some point the picture looks less like the person",
    )
    tune.add_argument(
        "--schedule",
        metavar="WHICH",
        help='noise levels: "exact" (default), "2+4" (the first 2 of the steps, the rest in 4), "adaptive", or a list',
    )
    tune.add_argument("--seed", type=int, default=0, help="the same seed gives the same picture (default: 0)")
    tune.add_argument("--size", type=_size, metavar="WxH", help="pixels, rounded down to multiples of 16")
    tune.add_argument("--negative", metavar="TEXT", help="what to avoid; doubles the time")
    tune.add_argument("--true-cfg", type=float, default=2.0, metavar="SCALE", help="with --negative (default: 2)")
    tune.add_argument(
        "--identity-on-both",
        action="store_const",
        dest="branches",
        const="both",
        default="positive",
        help="with --negative: give the negative prompt the same identity as the positive (default: no)",
    )
    tune.add_argument(
        "--decoupled",
        default="none",
        metavar="WORDS",
        help='FastFace\'s guidance instead of true CFG: "identity" (published weights), "direction a=1,1,2 rescale=0" '
        "(a weight for each step), none (default); takes 2 or 3 times as long",
    )
    tune.add_argument(
        "--attention",
        default="none",
        metavar="WORDS",
        help='FastFace\'s attention manipulation: "scale 1.55", "soft mask 1.55", none (default)',
    )
    tune.add_argument("--pose", type=Path, metavar="FILE", help="a photo with a face where you want it in the picture")
    tune.add_argument(
        "--which-face",
        type=_face,
        default="largest",
        metavar="largest|N",
        help="which face to use if a photo shows several, counted from the left, starting at 0 (default: largest)",
    )
    tune.add_argument(
        "--probe", action="store_true", help="measure every step, and write a trace and a drift chart too"
    )
    tune.add_argument(
        "--others",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        metavar="FILE|DIR",
        help="with --probe: five or more pictures of other people, to show what a stranger scores",
    )
    tune.add_argument(
        "--measure",
        default="face",
        metavar="NAME",
        help="with --probe, what to compare: face, clip-image (style and content), dino (objects), clip-text (the "
        "prompt)",
    )
    files = make.add_argument_group("weight files (default: the miniature's, or those found; see: infusenet models)")
    for name in (
        "infusenet",
        "image-proj",
        "arcface",
        "face-pack",
        "ip-adapter",
        "id-recognizer",
        "image-encoder",
        "lora",
    ):
        files.add_argument(f"--{name}", type=Path, metavar="PATH")
    files.add_argument(
        "--components", type=Path, metavar="DIR", help="VAE and text encoders for a single-file backbone"
    )
    files.add_argument(
        "--measure-model", type=Path, metavar="DIR", help="a CLIP or DINOv2 folder in transformers' layout"
    )
    files.add_argument(
        "--adapter", default="infusenet", metavar="NAME", help="what carries the identity (default: infusenet)"
    )
    files.add_argument("--models", type=Path, action="append", default=[], metavar="DIR", help="search here first")
    where = make.add_argument_group("device")
    where.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: cuda if there is one)")
    kinds = ("float32", "bfloat16", "float16")
    where.add_argument("--dtype", choices=kinds, help="default: bfloat16 on cuda, float32 on cpu")
    where.add_argument(
        "--speed",
        choices=("compile", "fp8"),
        help="compile: faster from the second picture of each size; fp8: also computes in 8 bits, on an H100 or H200",
    )
    where.add_argument("--offload", action="store_true", help="keep only the network in use on the GPU")


def run(arguments: argparse.Namespace) -> int:
    """Make the picture, and print what was written."""
    from ..adapters import get_adapter
    from ..generate import GenerateRequest, files_for
    from .picture import PictureRequest, make_picture

    adapter = get_adapter(arguments.adapter)
    parts = (*adapter.parts, *adapter.optional, "face_pack", "lora")
    given = {part: getattr(arguments, part, None) for part in parts}
    folders = catalogue.search_folders(arguments.models)
    names: tuple[str, ...] = ("prompt", "negative", "true_cfg", "branches", "steps", "guidance", "strength")
    names += ("start", "end", "seed", "size", "refresh", "schedule", "decoupled", "attention")
    same = (
        "out",
        "pose",
        "which_face",
        "probe",
        "measure",
        "measure_model",
        "components",
        "device",
        "dtype",
        "offload",
        "speed",
        "quiet",
    )
    recipe = _recipe(arguments)
    settings = {name: getattr(arguments, name) for name in names}
    usual = {name: getattr(GenerateRequest, name) for name in ("strength", "refresh", "schedule")}
    usual |= {} if recipe is None else recipe.settings
    settings |= {name: value for name, value in usual.items() if settings[name] is None}
    request = PictureRequest(
        files=files_for(arguments.backbone, folders, adapter=arguments.adapter, **given),
        settings=GenerateRequest(**settings),
        recipe=recipe,
        faces=tuple(arguments.face),
        others=tuple(arguments.others),
        **{name: getattr(arguments, name) for name in same},
    )
    result = make_picture(request)
    for warning in result.warnings if result.trace is None else ():  # a trace's words hold them
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{request.out}  ({result.made_with['steps']} steps, seed {result.made_with['seed']})")
    if result.trace is not None:
        from ..probe.drift import in_words

        print(f"{request.trace}\n{request.chart}\nmeasured by {result.trace.recognizer}\n{in_words(result.trace)}")
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe | None:
    """The recipe that is named, refused at once where the backbone's name says that it is for another one."""
    from ..backbones import BACKBONES
    from ..tune.recipe import Recipe

    if arguments.recipe is None:
        return None
    recipe = Recipe.load(arguments.recipe)
    if (spec := BACKBONES.get(arguments.backbone)) is not None:
        recipe.check(spec.family, spec.variant)
    return recipe
