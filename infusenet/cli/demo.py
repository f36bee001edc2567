"""`infusenet demo`: the main job on the miniature."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """The arguments of demo, under a command."""
    raw = argparse.RawDescriptionHelpFormatter
    text = (
        "run the whole system on the miniature: a reference face, pictures of it in 4 and 28 steps, every step measured"
    )
    demo = commands.add_parser("demo", help=text, description=text, formatter_class=raw, parents=[common])
    demo.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="output folder (default: out)")
    demo.add_argument(
        "--face",
        type=Path,
        metavar="FILE",
        help="your own reference (default: a drawn person that no model has seen)",
    )
    demo.add_argument(
        "--seed", type=int, default=0, help="another seed gives another person and other pictures (default: 0)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run it, and print its table."""
    from ..demo.findings import table
    from ..demo.run import run_demo

    summary = run_demo(arguments.out, face=arguments.face, seed=arguments.seed, quiet=arguments.quiet)
    page = arguments.out / "report.html"
    print(f"{table(summary)}\n\nOpen {page} in a browser. Its numbers are in summary.json in the same folder.")
    return 0
