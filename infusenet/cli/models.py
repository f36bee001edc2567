"""`infusenet models`: which weight files are found, and where the others come from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import one_line
from ..weights import catalogue

_MODELS = """\
Folders are searched in this order: those named here, those in the environment variable INFUSENET_MODELS (separated
as in PATH), ./models. For a ComfyUI checkout, its models folder is searched.
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """The arguments of models, under a command."""
    raw = argparse.RawDescriptionHelpFormatter
    text = "list the weight files: which were found, where to get the others, and their licences"
    models = commands.add_parser(
        "models", help=text, description=text, epilog=_MODELS, formatter_class=raw, parents=[common]
    )
    models.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="folders to search first")


def run(arguments: argparse.Namespace) -> int:
    """Print what is found."""
    from .. import miniature
    from ..faces import backends

    folders = catalogue.search_folders(arguments.folders)
    found = catalogue.find_all(folders)
    packages = {name: place for name in backends.INSTALLED if (place := backends.installed_folder(name))}
    print("Folders searched")
    for folder in folders:
        print(f"  {one_line(folder, 4096)}{'' if folder.is_dir() else '  (does not exist)'}")
    print(f"  (to add a folder, name it after the command or in {catalogue.ENVIRONMENT}, or create ./models)\n")
    print(
        "Miniature: mini-schnell, mini-dev, mini-sdxl and everything they need\n  comes with this package, Apache-2.0"
    )
    shipped = all(path.exists() for path in miniature.BACKBONES.values())
    print(f"  {'found' if shipped else 'MISSING'}: {miniature.WEIGHTS}")
    for weights in catalogue.CATALOGUE:
        print(f"\n{weights.title}\n  from {weights.source}\n  licence: {weights.licence}")
        for path in found[weights.key]:
            print(f"  found: {one_line(path, 4096)}{_seems(path)}{_lacking(weights, path)}")
        if weights.key in packages:
            print(f"  found in an installed package: {packages[weights.key]}")
        elif not found[weights.key]:
            print(f"  not found; looked for {', '.join(weights.patterns)}")
    print("\nFiles for the ComfyUI nodes, and the folders they go in")
    for file in catalogue.FILES.values():
        print(f"\n  {file.path}, {file.size}\n  {file.address}\n  licence: {file.licence}")
    print("\nSwitching from dev to schnell lifts only FLUX.1 dev's terms. Those of the other files still apply.")
    return 0


def _lacking(weights: catalogue.CatalogueEntry, path: Path) -> str:
    """What must lie beside a file and does not, in brackets."""
    lacks = weights.lacks(path)
    return f"  (INCOMPLETE: {', '.join(lacks)} missing)" if lacks else ""


def _seems(path: Path) -> str:
    """What a single file holds, in brackets; folders are not opened."""
    if not path.is_file():
        return ""
    from ..weights import describe

    return f"  ({describe(path)})"
