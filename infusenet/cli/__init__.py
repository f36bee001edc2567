"""The `infusenet` command. Imports of large libraries happen after the arguments were found to be good."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InfuseNetError, MachineError, PackageError, one_line, raise_if_in_want
from ..weights import catalogue
from . import compare, demo, generate, models, sweep, tune

BAD_INPUT = 2

_OVERVIEW = """\
Put the person from a photo into the scene your prompt describes, with FLUX and InfuseNet, in 4 or 28 steps.
See at every step how much of the person is there. Measure how much pictures from any source look like a person.

Nothing is downloaded. The miniature models mini-schnell and mini-dev come with the package and run on a CPU.
"""
_START = """\
start here:
  infusenet demo                  the whole system on the miniature, in about a minute; then open out/report.html
  infusenet models                which real weights you have, and where to get the others
  infusenet generate --help       how to make your own picture, with examples
  infusenet compare --help        how to measure pictures against a person, with examples
  infusenet tune --help           how to find the fastest settings that keep the quality you want, with examples
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, one_line(f"{self.prog}: {message}. See: {self.prog} --help") + "\n")


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    raw = argparse.RawDescriptionHelpFormatter
    top = _Parser(prog="infusenet", description=_OVERVIEW, epilog=_START, formatter_class=raw)
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(
        dest="command", metavar="demo | generate | compare | models | sweep | report | tune", parser_class=_Parser
    )
    common = _Parser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="no progress bars")
    common.add_argument("--verbose", action="store_true", help="show the messages of all libraries")

    demo.add_parser(commands, common)
    generate.add_parser(commands, common)
    compare.add_parser(commands, common)

    models.add_parser(commands, common)
    sweep.add_parsers(commands, common)
    tune.add_parser(commands, common)
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
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a sign gets it spelled out
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, format="%(message)s")
    if not arguments.verbose:
        os.environ.update(TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error", HF_HUB_VERBOSITY="error")
        warnings.simplefilter("ignore")


def _sweep(arguments: argparse.Namespace) -> int:
    from ..sweep import request

    summary = request.sweep(sweep.request_of(arguments))
    if summary:
        print(summary)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from ..sweep.request import report

    print(report(arguments.folder))
    return 0


def _in_words(error: Exception) -> str:
    """What is wrong and what to do; of the system's errors too, which say neither."""
    if isinstance(error, InfuseNetError):
        return str(error)
    try:
        raise_if_in_want(error, "The file that was read")
    except MachineError as want:
        return str(want)
    name, reason = getattr(error, "filename", None), getattr(error, "strerror", None)
    what = "A file or folder" if name is None else name
    return f"{what} cannot be used ({reason or error}). Check the path and its permissions."


_RUN = {
    "demo": demo.run,
    "generate": generate.run,
    "compare": compare.run,
    "models": models.run,
    "sweep": _sweep,
    "report": _report,
    "tune": tune.run,
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
        try:
            return _RUN[arguments.command](arguments)
        except (ImportError, RuntimeError) as error:
            missed: BaseException | None = error
            while missed is not None and not isinstance(missed, ImportError):  # packages that import late wrap it
                missed = missed.__cause__
            if missed is None or (missed.name or "").startswith(__name__.partition(".")[0]):
                raise  # a fault of ours
            raise PackageError.of(missed) from error
    except BrokenPipeError:  # whoever read the output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InfuseNetError, OSError, MemoryError) as error:
        print(one_line(f"infusenet {arguments.command}: {_in_words(error)}"), file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
