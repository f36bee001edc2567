"""The arguments of `infusenet sweep` and `infusenet report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..weights import catalogue

if TYPE_CHECKING:
    from ..sweep.request import SweepRequest
    from ..sweep.runner import Models

_SWEEP = """\
examples:
  a small version of the paper's main table, on the miniature:
    infusenet sweep main-table --quick --out out/main-table
  small versions of all the paper's experiments, about ten minutes on two cores:
    infusenet sweep all --quick --out out/paper
  how many pictures will it make, and how long will it take?
    infusenet sweep main-table --out out/main-table --dry-run
  your own people and real weights, one process per GPU:
    accelerate launch -m infusenet sweep main-table --out out/real --people photos \\
      --backbone-dev flux-dev --backbone-schnell flux-schnell

You can stop it at any time. The same command resumes where it stopped, and never makes a picture twice.
"""


def add_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    """The arguments of sweep and report, under a command."""
    raw = argparse.RawDescriptionHelpFormatter
    text = (
        "make many pictures from one specification, with a table, statistics and a page; resumes where it was stopped"
    )
    sweep = commands.add_parser(
        "sweep", help=text, description=text, epilog=_SWEEP, formatter_class=raw, parents=[common]
    )
    sweep.add_argument(
        "spec", metavar="SPEC", help="a TOML file, the name of a specification that comes with the package, or all"
    )
    sweep.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder")
    sweep.add_argument("--quick", action="store_true", help="run the small version of the specification")
    sweep.add_argument(
        "--dry-run",
        action="store_true",
        help="print how many pictures it will make and how long it will take, then exit",
    )
    sweep.add_argument(
        "--people", type=Path, metavar="DIR", help="a folder of photos, one file or subfolder per person"
    )
    sweep.add_argument(
        "--filter",
        action="store_true",
        help="keep only people the paper would keep: one face, detector confidence above 0.7, wider than 80 pixels "
        "(check yourself that they are adults)",
    )
    sweep.add_argument(
        "--recipe", type=Path, metavar="FILE", help="add the recipe.json from infusenet tune as one more method"
    )
    sweep.add_argument("--retry", action="store_true", help="try failed jobs again")
    add_models(sweep)

    text = "write a sweep's tables and page again from its results"
    report = commands.add_parser("report", help=text, description=text, parents=[common])
    report.add_argument("folder", type=Path, metavar="DIR", help="the folder given to infusenet sweep --out")


def add_models(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which weights are used and where they run, of sweep and tune."""
    for role in ("dev", "schnell"):
        parser.add_argument(
            f"--backbone-{role}", default=f"mini-{role}", metavar="NAME|PATH", help=f"default: mini-{role}"
        )
    parser.add_argument(
        "--backbone",
        action="append",
        default=[],
        metavar="ROLE=NAME|PATH",
        help="the weights for another backbone name in the specification (not needed for known backbones)",
    )
    for name in ("infusenet", "image-proj", "arcface", "face-pack", "components"):
        parser.add_argument(f"--{name}", type=Path, metavar="PATH")
    parser.add_argument(
        "--lpips", type=Path, metavar="PATH", help="VGG16 weights, to measure LPIPS where a specification asks for it"
    )
    parser.add_argument(
        "--second-recognizer",
        type=Path,
        metavar="DIR",
        help="a second face pack, where a specification asks for a second likeness (default: the miniature's own)",
    )
    parser.add_argument(
        "--clip",
        type=Path,
        metavar="DIR",
        help="a CLIP folder in transformers' layout, for the fit to the prompt where a specification asks for it "
        "(default: the miniature's judge)",
    )
    parser.add_argument(
        "--measure-model",
        type=Path,
        metavar="DIR",
        help="weights for a specification's measure, if it does not compare faces",
    )
    parser.add_argument("--models", type=Path, action="append", default=[], metavar="DIR", help="search here first")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: cuda if there is one)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the device's usual type")
    parser.add_argument("--offload", action="store_true", help="keep only the network in use on the GPU")


def request_of(arguments: argparse.Namespace) -> SweepRequest:
    """What the arguments of sweep ask for.

    Raises:
        SettingsError: --backbone names no role.
    """
    from ..sweep.request import SweepRequest
    from ..tune.recipe import Recipe

    models = models_of(arguments)
    same = ("spec", "out", "quick", "dry_run", "people", "filter", "retry", "device", "dtype", "offload", "quiet")
    flags = " --quick" * arguments.quick + " --filter" * arguments.filter
    named = {role: name for role, name in models.backbones.items() if name != f"mini-{role}"}
    flags += "".join(f" --backbone {role}={Path(name).name}" for role, name in named.items())  # no folder of the user's
    flags += f" --people {arguments.people.name}" if arguments.people else ""
    flags += f" --recipe {arguments.recipe.name}" if arguments.recipe else ""
    return SweepRequest(
        models=models,
        further=() if arguments.recipe is None else (Recipe.load(arguments.recipe).method(),),
        command=f"infusenet sweep {Path(arguments.spec).name}{flags}",
        **{name: getattr(arguments, name) for name in same},
    )


def models_of(arguments: argparse.Namespace) -> Models:
    """What stands behind the roles, by the arguments of `add_models`.

    Raises:
        SettingsError: --backbone names no role.
    """
    from ..sweep.runner import Models

    backbones = {"dev": arguments.backbone_dev, "schnell": arguments.backbone_schnell}
    return Models(
        {**backbones, **dict(_role_and_name(text) for text in arguments.backbone)},
        {part: getattr(arguments, part) for part in ("infusenet", "image_proj", "arcface", "face_pack")},
        tuple(catalogue.search_folders(arguments.models)),
        arguments.components,
        arguments.lpips,
        arguments.measure_model,
        arguments.second_recognizer,
        arguments.clip,
    )


def _role_and_name(text: str) -> tuple[str, str]:
    role, _, name = text.partition("=")
    if not role or not name:
        raise SettingsError(f"--backbone: expected ROLE=NAME or ROLE=PATH, such as dev=flux-dev, got {text!r}")
    return role, name
