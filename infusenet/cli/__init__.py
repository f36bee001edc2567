"""The `infusenet` command. Imports of large libraries happen after the arguments were found to be good."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InfuseNetError
from ..weights import catalogue
from . import compare as compare_options
from . import sweep as options

BAD_INPUT = 2

_OVERVIEW = """\
Put the person of a photo into the scene that a prompt describes, with FLUX and InfuseNet, in 4 steps or in 28;
measure at every step how much of the person is there; and measure any pictures, made by anything, against a person.

Nothing is ever downloaded. The miniature models mini-schnell and mini-dev are part of the package and run on a CPU.
"""
_START = """\
begin with:
  infusenet demo                  everything, on the miniature, in about a minute; then open out/report.html
  infusenet models                which real weights are on this machine, and where to get them
  infusenet generate --help       your own picture, with examples
  infusenet compare --help        how alike pictures are to a person, real photographs too, with examples
"""
_GENERATE = """\
examples:
  one picture in 4 steps with the miniature, which knows drawn faces only, such as the demo's reference:
    infusenet generate --backbone mini-schnell --face out/reference.png --prompt "a portrait" --out portrait.png
  a photo, with the real models found in your folders (see: infusenet models):
    infusenet generate --backbone flux-schnell --face me.jpg --prompt "a chef in a kitchen" --out chef.png
  several photos of the same person make a steadier identity:
    infusenet generate --backbone flux-dev --face a.jpg b.jpg --prompt "an astronaut" --out astronaut.png
  head position and size taken from another photo:
    infusenet generate --backbone flux-dev --face me.jpg --pose pose.jpg --prompt "a knight" --out knight.png
  where does the face drift? Writes sketch.trace.json and sketch.drift.png beside the picture:
    infusenet generate --backbone mini-dev --face out/reference.png --prompt "a sketch" --probe --out sketch.png

Use pictures of people who agreed to it. Every picture written is marked as AI-generated in its metadata.
"""
_MODELS = """\
Folders searched, in this order: those named here, those in the environment variable INFUSENET_MODELS (several as
in PATH), ./models. A ComfyUI checkout may be named: its models folder is meant.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}. See: {self.prog} --help\n")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 864x1152, got {text!r}") from None


def _face(text: str) -> str | int:
    if text == "largest" or text.isdigit():
        return int(text) if text.isdigit() else text
    raise argparse.ArgumentTypeError(f"expected 'largest' or a number counted from the left, 0 first, got {text!r}")


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    raw = argparse.RawDescriptionHelpFormatter
    top = _Parser(prog="infusenet", description=_OVERVIEW, epilog=_START, formatter_class=raw)
    top.add_argument("--version", action="store_true", help="print the version and stop")
    commands = top.add_subparsers(
        dest="command", metavar="demo | generate | compare | models | sweep | report", parser_class=_Parser
    )
    common = _Parser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="no progress bars")
    common.add_argument("--verbose", action="store_true", help="show every library's notices")

    text = "the main job on the miniature: a reference face, pictures of it in 4 and in 28 steps, every step measured"
    demo = commands.add_parser("demo", help=text, description=text, formatter_class=raw, parents=[common])
    demo.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where to write (default: out)")
    demo.add_argument(
        "--face", type=Path, metavar="FILE", help="your own reference; default: a drawn person no model has seen"
    )
    demo.add_argument("--seed", type=int, default=0, help="draws another person and other pictures (default: 0)")

    text = "one picture of the person in the photos, with real or miniature weights"
    usage = "infusenet generate --backbone NAME|PATH --face FILE... --prompt TEXT --out FILE.png [options]"
    make = commands.add_parser("generate", help=text, description=text, formatter_class=raw, parents=[common])
    make.usage, make.epilog = usage, _GENERATE
    need = make.add_argument_group("what is needed")
    need.add_argument(
        "--backbone",
        required=True,
        metavar="NAME|PATH",
        help="mini-schnell, mini-dev, flux-schnell, flux-dev, or a path",
    )
    need.add_argument(
        "--face",
        required=True,
        nargs="+",
        action="extend",
        type=Path,
        metavar="FILE",
        help="one photo or several of the same person",
    )
    need.add_argument("--prompt", required=True, help="the scene, in words")
    need.add_argument("--out", required=True, type=Path, metavar="FILE.png", help="the picture to write")
    tune = make.add_argument_group("what can be tuned (default: the backbone's own)")
    tune.add_argument("--steps", type=int, help="4 for schnell, 28 for dev")
    tune.add_argument("--strength", type=float, default=1.0, help="how much of the person, 0 to 3 (default: 1)")
    tune.add_argument("--guidance", type=float, help="3.5 for dev; schnell has none")
    tune.add_argument(
        "--start", type=float, default=0.0, help="share of the run at which the face sets in (default: 0)"
    )
    tune.add_argument("--end", type=float, default=1.0, help="share of the run at which it ends (default: 1)")
    tune.add_argument("--seed", type=int, default=0, help="the same seed gives the same picture (default: 0)")
    tune.add_argument("--size", type=_size, metavar="WxH", help="pixels, rounded down to multiples of 16")
    tune.add_argument("--negative", metavar="TEXT", help="what to avoid; doubles the time")
    tune.add_argument("--true-cfg", type=float, default=2.0, metavar="SCALE", help="with --negative (default: 2)")
    tune.add_argument("--pose", type=Path, metavar="FILE", help="a photo whose five facial keypoints place the head")
    tune.add_argument(
        "--which-face", type=_face, default="largest", metavar="largest|N", help="if a photo shows several people"
    )
    tune.add_argument("--probe", action="store_true", help="measure every step: writes a trace and a drift chart too")
    tune.add_argument(
        "--others",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        metavar="FILE|DIR",
        help="with --probe: pictures of other people, five or more, for the line of what a stranger scores",
    )
    files = make.add_argument_group("which files (default: the miniature's, or those found; see: infusenet models)")
    for name in ("infusenet", "image-proj", "arcface", "face-pack"):
        files.add_argument(f"--{name}", type=Path, metavar="PATH")
    files.add_argument(
        "--components", type=Path, metavar="DIR", help="VAE and text encoders for a single-file backbone"
    )
    files.add_argument("--models", type=Path, action="append", default=[], metavar="DIR", help="search here first")
    where = make.add_argument_group("where it runs")
    where.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: cuda if there is one)")
    kinds = ("float32", "bfloat16", "float16")
    where.add_argument("--dtype", choices=kinds, help="default: bfloat16 on cuda, float32 on cpu")
    where.add_argument("--offload", action="store_true", help="keep on the GPU only the network at work")

    compare_options.add_parser(commands, common)

    text = "which weight files are found, where they are looked for, where to get them, under what licence"
    models = commands.add_parser(
        "models", help=text, description=text, epilog=_MODELS, formatter_class=raw, parents=[common]
    )
    models.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="folders to search first")
    options.add_parsers(commands, common)
    return top


def _prepare(arguments: argparse.Namespace) -> None:
    """Keep this process off the network, and its messages to what matters."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        DISABLE_TELEMETRY="YES",
        NO_ALBUMENTATIONS_UPDATE="1",
        TOKENIZERS_PARALLELISM="false",
        MPLBACKEND="Agg",
    )
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # spin briefly between small layers, sleep when cores are busy
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, format="%(message)s")
    if not arguments.verbose:
        os.environ.update(TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error", HF_HUB_VERBOSITY="error")
        warnings.simplefilter("ignore")


def _models(arguments: argparse.Namespace) -> int:
    from .. import miniature
    from ..faces import backends

    folders = catalogue.search_folders(arguments.folders)
    found = catalogue.find_all(folders)
    packages = {name: place for name in backends.INSTALLED if (place := backends.installed_folder(name))}
    print("Folders searched")
    for folder in folders:
        print(f"  {folder}{'' if folder.is_dir() else '  (does not exist)'}")
    print(f"  (name others here, in {catalogue.ENVIRONMENT}, or make ./models)\n")
    print("Miniature: mini-schnell, mini-dev and all they need\n  shipped with this package, Apache-2.0")
    shipped = all(path.exists() for path in miniature.BACKBONES.values())
    print(f"  {'found' if shipped else 'MISSING'}: {miniature.WEIGHTS}")
    for weights in catalogue.CATALOGUE:
        print(f"\n{weights.title}\n  from {weights.source}\n  licence: {weights.licence}")
        for path in found[weights.key]:
            print(f"  found: {path}{_seems(path)}{_lacking(weights, path)}")
        if weights.key in packages:
            print(f"  found in an installed package: {packages[weights.key]}")
        elif not found[weights.key]:
            print(f"  not found; looked for {', '.join(weights.patterns)}")
    print("\nSwitching from dev to schnell lifts FLUX.1 dev's terms only: those of the other files stay.")
    return 0


def _lacking(weights: catalogue.Weights, path: Path) -> str:
    """What must lie beside a file and does not, in brackets."""
    lacks = weights.lacks(path)
    return f"  (INCOMPLETE: lacks {', '.join(lacks)})" if lacks else ""


def _seems(path: Path) -> str:
    """What a single file holds, in brackets; folders are not opened."""
    if not path.is_file():
        return ""
    from ..weights import describe

    return f"  ({describe(path)})"


def _generate(arguments: argparse.Namespace) -> int:
    from ..generate import GenerateRequest, files_for
    from .generate import Order, carry_out

    parts = ("infusenet", "image_proj", "arcface", "face_pack")
    given = {part: getattr(arguments, part) for part in parts}
    names = ("prompt", "negative", "true_cfg", "steps", "guidance", "strength", "start", "end", "seed", "size")
    same = ("out", "pose", "which_face", "probe", "components", "device", "dtype", "offload", "quiet")
    order = Order(
        files=files_for(arguments.backbone, catalogue.search_folders(arguments.models), **given),
        settings=GenerateRequest(**{name: getattr(arguments, name) for name in names}),
        faces=tuple(arguments.face),
        others=tuple(arguments.others),
        **{name: getattr(arguments, name) for name in same},
    )
    result = carry_out(order)
    print(f"{order.out}  ({result.made_with['steps']} steps, seed {result.made_with['seed']})")
    if result.trace is not None:
        from ..probe.drift import in_words

        print(f"{order.trace}\n{order.chart}\nmeasured by {result.trace.recognizer}\n{in_words(result.trace)}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from ..compare import compare
    from ..compare.tell import table
    from ..compare.write import check_out, write

    pack, title = compare_options.face_pack_of(arguments)
    asked = compare_options.request_of(arguments, pack)
    if arguments.out is not None:
        check_out(arguments.out, asked)
    result = compare(asked, None if arguments.quiet else _bar)
    page = None if arguments.out is None else write(result, arguments.out)
    print(f"face networks: {title}\n{table(result)}")
    if page is not None:
        print(f"\nOpen {page} in a browser; its figures are in compare.json and compare.csv beside it.")
    if not result.measured:
        print("infusenet compare: no picture could be measured; the reasons are above.", file=sys.stderr)
        return BAD_INPUT
    return 0


def _bar(items: Sequence[Any], what: str) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(items, desc=what, leave=False)


def _demo(arguments: argparse.Namespace) -> int:
    from ..demo.findings import table
    from ..demo.run import run_demo

    summary = run_demo(arguments.out, face=arguments.face, seed=arguments.seed, quiet=arguments.quiet)
    page = arguments.out / "report.html"
    print(f"{table(summary)}\n\nOpen {page} in a browser; its figures are in summary.json beside it.")
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    from ..sweep.command import sweep

    told = sweep(options.order_of(arguments))
    if told:
        print(told)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from ..sweep.command import report

    print(report(arguments.folder))
    return 0


_RUN = {
    "demo": _demo,
    "generate": _generate,
    "compare": _compare,
    "models": _models,
    "sweep": _sweep,
    "report": _report,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; the process's own by default.

    Returns:
        The exit code: 0 done, 2 bad input (said in one line on stderr), 130 stopped by the user.
    """
    top = parser()
    arguments = top.parse_args(argv)
    if arguments.version:
        from .. import __version__

        print(__version__)
        return 0
    if arguments.command is None:
        top.print_help()
        return 0
    _prepare(arguments)
    try:
        return _RUN[arguments.command](arguments)
    except (InfuseNetError, OSError) as error:
        print(f"infusenet {arguments.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
