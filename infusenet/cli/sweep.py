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
  the paper's main table in small, on the miniature:
    infusenet sweep main-table --quick --out out/main-table
  all experiments of the paper in small, about ten minutes on two cores:
    infusenet sweep all --quick --out out/paper
  how many pictures, and how long:
    infusenet sweep main-table --out out/main-table --dry-run
  your own people and real weights, a process for each GPU:
    accelerate launch -m infusenet sweep main-table --out out/real --people photos \\
      --backbone-dev flux-dev --backbone-schnell flux-schnell

Stop it at any time: the same command goes on where it was. Each picture is made once, whatever else changes.
"""


def add_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    """The arguments of sweep and report, under a command."""
    raw = argparse.RawDescriptionHelpFormatter
    text = "many pictures from one specification: a table, statistics and a page; goes on where it was stopped"
    sweep = commands.add_parser(
        "sweep", help=text, description=text, epilog=_SWEEP, formatter_class=raw, parents=[common]
    )
    sweep.add_argument("spec", metavar="SPEC", help="a TOML file, the name of a shipped specification, or all")
    sweep.add_argument("--out", required=True, type=Path, metavar="DIR", help="where to write")
    sweep.add_argument("--quick", action="store_true", help="the specification's small size")
    sweep.add_argument("--dry-run", action="store_true", help="say how many pictures and how long, and stop")
    sweep.add_argument("--people", type=Path, metavar="DIR", help="photos, one person a file or subfolder")
    sweep.add_argument(
        "--filter",
        action="store_true",
        help="leave out people as the paper does: one face, detector confidence above 0.7, wider than 80 pixels "
        "(that they are of age is yours to know)",
    )
    sweep.add_argument(
        "--recipe", type=Path, metavar="FILE", help="the recipe.json of infusenet tune, as one more method"
    )
    sweep.add_argument("--retry", action="store_true", help="do failed jobs again")
    add_models(sweep)

    text = "write the tables and the page of a sweep anew from its results"
    report = commands.add_parser("report", help=text, description=text, parents=[common])
    report.add_argument("folder", type=Path, metavar="DIR", help="what infusenet sweep --out was given")


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
        help="what stands behind any other name that a specification uses; without it, a known backbone's own name",
    )
    for name in ("infusenet", "image-proj", "arcface", "face-pack", "components"):
        parser.add_argument(f"--{name}", type=Path, metavar="PATH")
    parser.add_argument("--lpips", type=Path, metavar="PATH", help="VGG16 weights: LPIPS is measured where a spec asks")
    parser.add_argument(
        "--second-recognizer",
        type=Path,
        metavar="DIR",
        help="another face pack, for a second opinion on likeness where a spec asks (default: the miniature's own)",
    )
    parser.add_argument(
        "--clip",
        type=Path,
        metavar="DIR",
        help="transformers folder of a CLIP, for the fit to the prompt where a spec asks (default: the miniature's "
        "judge)",
    )
    parser.add_argument(
        "--measure-model", type=Path, metavar="DIR", help="weights of a spec's measure where that is not a face's"
    )
    parser.add_argument("--models", type=Path, action="append", default=[], metavar="DIR", help="search here first")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: cuda if there is one)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the device's usual one")
    parser.add_argument("--offload", action="store_true", help="keep on the GPU only the network at work")


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
        raise SettingsError(f"--backbone: expected ROLE=NAME or ROLE=PATH, as in dev=flux-dev, got {text!r}")
    return role, name
