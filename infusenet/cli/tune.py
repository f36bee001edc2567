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
  on your own photos (12 people or more, one file or subfolder per person) and real weights:
    infusenet tune --people photos --backbone-dev flux-dev --backbone-schnell flux-schnell --clip clip --out out/tune
  schnell alone, with more weight on likeness than on the prompt:
    infusenet tune --among schnell --identity 100 --prompt-following 90 --out out/tune
  then make pictures, with the backbone that the recipe is for:
    infusenet generate --recipe out/tune/recipe.json --backbone mini-dev --face me.png --prompt "a hat" --out hat.png

Every second person and every third prompt is held out, to verify the choice on them. Percentages are relative to
the reference: the first backbone at its usual steps, with InfuseNet in each of them and strength 1.
You can stop it at any time. The same command resumes where it stopped, and ends with the same recipe.
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """The arguments of tune, under a command."""
    text = "find the fastest settings that keep the quality you ask for on your people, and write them as a recipe"
    tune = commands.add_parser(
        "tune",
        help=text,
        description=text,
        epilog=_TUNE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    tune.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder")
    tune.add_argument("--people", type=Path, metavar="DIR", help="a folder of photos, one file or subfolder per person")
    tune.add_argument("--drawn", type=int, metavar="N", help="for the miniature: how many drawn people (default: 24)")
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}
    tune.add_argument("--prompts", metavar="TEXT", help="three or more scenes (default: six)", **several)
    tune.add_argument(
        "--among", metavar="NAME", help="backbones to search, the reference first (default: dev schnell)", **several
    )
    wanted = tune.add_argument_group("what to keep, in percent of the reference's")
    wanted.add_argument("--identity", type=float, default=98.0, metavar="X", help="likeness (default: 98)")
    wanted.add_argument("--prompt-following", type=float, default=95.0, metavar="Y", help="(default: 95)")
    wanted.add_argument("--sharpness", type=float, default=85.0, metavar="Z", help="(default: 85)")
    grid = tune.add_argument_group("what to try (default: each backbone's usual values)")
    grid.add_argument("--steps", type=int, metavar="N", help="step counts", **several)
    grid.add_argument(
        "--schedules", metavar="WHICH", help="exact, 2+4 (the first 2 steps, then 4 large ones) ...", **several
    )
    grid.add_argument("--strengths", type=float, metavar="S", help="(default: 1 1.5)", **several)
    grid.add_argument(
        "--refresh", metavar="WHEN", help='when InfuseNet is computed: "every step" "every 2" "1,3" ...', **several
    )
    grid.add_argument("--exhaustive", action="store_true", help="try every way on all pictures, however long it takes")
    sweep.add_models(tune)


def request_of(arguments: argparse.Namespace) -> TuneRequest:
    """What the arguments of tune ask for.

    Raises:
        SettingsError: a value cannot be meant.
    """
    from ..tune.request import TuneRequest
    from ..tune.standing import Target

    if arguments.people is not None and arguments.drawn is not None:
        raise SettingsError("Give --people or --drawn, not both.")
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
