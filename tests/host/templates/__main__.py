"""Write the templates, or draw the persons in them.

Run `python -m tests.host.templates http://127.0.0.1:8188` in the repository with a ComfyUI that has this pack running
there: it writes example_workflows/NAME.json (for the browser) and example_workflows/api/NAME.json (for POST /prompt).
With --people it draws the persons of example_workflows/input instead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.request import urlopen

from . import FOLDER, write
from .parts import REFERENCE, REFERENCE_2

PEOPLE = {REFERENCE: 12, REFERENCE_2: 9}  # seeds of the drawn persons


def draw_people(folder: Path = FOLDER) -> None:
    """Draw the templates' references: persons who do not exist."""
    from infusenet.demo.run import drawn_subjects
    from infusenet.files import save_picture

    (folder / "input").mkdir(parents=True, exist_ok=True)
    for name, seed in PEOPLE.items():
        save_picture(
            drawn_subjects(seed).reference, folder / "input" / name, {"Title": f"a drawn person (seed {seed})"}
        )


if __name__ == "__main__":
    if "--people" in sys.argv:
        draw_people()
        sys.exit()
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8188"
    with urlopen(f"{address}/object_info", timeout=60) as answer:
        for path in write(json.load(answer)):
            print(path)
