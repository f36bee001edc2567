"""Write the templates, or draw the persons in them.

    COMFYUI_PATH=path/to/ComfyUI python -m example_workflows.generate [NAME ...]

in the repository, with the Python of that ComfyUI, which is started for it: writes example_workflows/TITLE.json (for
the browser) and example_workflows/api/NAME.json (for POST /prompt) of these templates, and subgraphs/NAME.json of these
blueprints, or of all. With --people it draws the persons of example_workflows/input instead, without a ComfyUI.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import FOLDER, TEMPLATES, texts_of
from .blueprints import BLUEPRINTS
from .parts import REFERENCE, REFERENCE_2

PEOPLE = {REFERENCE: 12, REFERENCE_2: 9}  # seeds of the drawn persons


def object_info() -> dict[str, Any]:
    """What the ComfyUI of COMFYUI_PATH says of its nodes and of this pack's."""
    sys.path.insert(0, str(FOLDER.parent / "tests" / "host"))
    from server import Server

    host = Path(os.environ["COMFYUI_PATH"]).expanduser().resolve()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(host, Path(folder))
        try:
            return server.get("/object_info")
        finally:
            server.stop()


def write_templates(names: Sequence[str]) -> None:
    """Write both files of each, and print their names."""
    from infusenet.files import write_atomically

    info = object_info()
    for name in names:
        for path, text in texts_of(name, info).items():
            write_atomically(FOLDER / path, text.encode())
            print(FOLDER / path)


def draw_people(folder: Path) -> None:
    """Draw the templates' references: persons who do not exist."""
    from infusenet.demo.run import drawn_subjects
    from infusenet.files import save_picture

    for name, seed in PEOPLE.items():
        print(save_picture(drawn_subjects(seed).reference, folder / name, {"Title": f"a drawn person (seed {seed})"}))


KNOWN = [*TEMPLATES, *BLUEPRINTS]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m example_workflows.generate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(KNOWN)}")
    parser.add_argument("--people", action="store_true", help="draw the persons instead")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(KNOWN)
    if unknown:
        parser.error(f"there is no template {', '.join(sorted(unknown))}; there are {', '.join(KNOWN)}")
    if not arguments.people and not os.environ.get("COMFYUI_PATH"):
        parser.error("set COMFYUI_PATH to a ComfyUI, whose nodes the templates are written for")
    if arguments.people:
        draw_people(FOLDER / "input")
    else:
        write_templates(arguments.names or KNOWN)
