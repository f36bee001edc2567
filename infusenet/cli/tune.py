"""The arguments of `infusenet tune`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from . import sweep

if TYPE_CHECKING:
    from ..tune.request import TuneRequest

_TUNE = """\
examples:
  on the miniature, with drawn people:
    infusenet tune --out out/tune
  on your own photos (12 people or more, one a file or subfolder) and real weights:
    infusenet tune --people photos --backbone-dev flux-dev --backbone-schnell flux-schnell --clip clip --out out/tune
  schnell alone, more likeness wanted than prompt following:
    infusenet tune --among schnell --identity 100 --prompt-following 90 --out out/tune
  then, with the backbone that the recipe is for:
    infusenet generate --recipe out/tune/recipe.json --backbone mini-dev --face me.png --prompt "a hat" --out hat.png

Every second person and every third prompt is held out: the choice is verified on them. Shares are of the first
backbone's own way: its usual steps, InfuseNet in each, strength 1.
Stop it at any time: the same command goes on where it was, and ends with the same recipe.
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """The arguments of tune, under a command."""
    text = "the fastest steps, strength and reuse of InfuseNet that keep a wanted quality on your people: a recipe"
    tune = commands.add_parser(
        "tune",
        help=text,
        description=text,
        epilog=_TUNE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    tune.add_argument("--out", required=True, type=Path, metavar="DIR", help="where to write")
    tune.add_argument("--people", type=Path, metavar="DIR", help="photos, one person a file or subfolder")
    tune.add_argument("--drawn", type=int, metavar="N", help="how many drawn people, for the miniature (default: 24)")
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}
    tune.add_argument("--prompts", metavar="TEXT", help="three scenes or more (default: six)", **several)
    tune.add_argument(
        "--among", metavar="NAME", help="backbones to search, the reference first (default: dev schnell)", **several
    )
    wanted = tune.add_argument_group("what is wanted, in percent of the reference way's")
    wanted.add_argument("--identity", type=float, default=98.0, metavar="X", help="likeness (default: 98)")
    wanted.add_argument("--prompt-following", type=float, default=95.0, metavar="Y", help="(default: 95)")
    wanted.add_argument("--sharpness", type=float, default=85.0, metavar="Z", help="(default: 85)")
    grid = tune.add_argument_group("what is searched (default: each backbone's usual)")
    grid.add_argument("--steps", type=int, metavar="N", help="numbers of steps", **several)
    grid.add_argument(
        "--schedules", metavar="WHICH", help="exact, 2+4 (the first 2 steps, then 4 large ones) ...", **several
    )
    grid.add_argument("--strengths", type=float, metavar="S", help="(default: 1 1.5)", **several)
    grid.add_argument(
        "--refresh", metavar="WHEN", help='when InfuseNet is computed: "every step" "every 2" "1,3" ...', **several
    )
    grid.add_argument("--exhaustive", action="store_true", help="every way on all pictures, however long it takes")
    sweep.add_models(tune)


def request_of(arguments: argparse.Namespace) -> TuneRequest:
    """What the arguments of tune ask for.

    Raises:
        SettingsError: a value cannot be meant.
    """
    from ..tune.request import TuneRequest
    from ..tune.standing import Target

    if arguments.people is not None and arguments.drawn is not None:
        raise SettingsError("--people and --drawn: give one of them.")
    names = {
        "roles": "among",
        "steps": "steps",
        "schedules": "schedules",
        "strengths": "strengths",
        "refreshes": "refresh",
        "prompts": "prompts",
    }
    given: dict[str, Any] = {name: tuple(value) for name, key in names.items() if (value := getattr(arguments, key))}
    given |= {} if arguments.drawn is None else {"drawn": arguments.drawn}
    shares = (arguments.identity, arguments.prompt_following, arguments.sharpness)
    same = ("out", "people", "exhaustive", "device", "dtype", "offload", "quiet")
    return TuneRequest(
        models=sweep.models_of(arguments),
        target=Target(*(share / 100 for share in shares)),
        command=_command(arguments),
        **{name: getattr(arguments, name) for name in same},
        **given,
    )


def run(arguments: argparse.Namespace) -> int:
    """Search, write the files, and print what was found."""
    from ..sweep.runner import Rank
    from ..tune.search import search

    found = search(request_of(arguments))
    if Rank.from_environment().rank == 0:
        from ..tune.report import write

        print(write(found))
    return 0 if found.race.chosen else 1


def _command(arguments: argparse.Namespace) -> str:
    """How it was asked for, without a folder of the user's."""
    words = [f"--people {arguments.people.name}"] if arguments.people else []
    words += [f"--among {' '.join(arguments.among)}"] if arguments.among else []
    words += [f"--identity {arguments.identity:g} --prompt-following {arguments.prompt_following:g}"]
    words += [f"--sharpness {arguments.sharpness:g}"] + ["--exhaustive"] * arguments.exhaustive
    return " ".join(["infusenet tune", *words])
