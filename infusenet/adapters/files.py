"""Which weight files a set-up needs: a backbone's, an adapter's, and what measures faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import miniature
from ..backbones import BACKBONES, family_of, get_backbone
from ..weights import catalogue
from . import get_adapter
from .infusenet.adapter import INFUSENET


@dataclass(frozen=True)
class Files:
    """The weight files of one set-up: a backbone, what conditions it, and what measures faces."""

    backbone: str | Path  # what `load_pipeline` takes
    expected: str | None  # a name of BACKBONES that the weights must match, if one was asked for
    parts: Mapping[str, Path]  # the adapter's files, by the names in its `AdapterSpec.parts`
    face_pack: Path  # detector and measuring recognizer
    adapter: str = INFUSENET.name
    options: Mapping[str, Path] = field(default_factory=dict)  # what the backbone's loader takes besides, as a LoRA

    def names(self) -> dict[str, str]:
        """File names for a picture's metadata: no folder of the user's is told."""
        files = {"backbone": Path(str(self.backbone)), **self.options, **self.parts, "face_pack": self.face_pack}
        return {part: path.name for part, path in files.items()}


def files_for(
    backbone: str | Path, folders: Sequence[Path], *, adapter: str = INFUSENET.name, **given: Path | None
) -> Files:
    """All weight files for a backbone: those given, else the miniature's for a miniature, else the best found.

    `backbone` is a name of BACKBONES, a diffusers folder, or a file; `folders` come from `catalogue.search_folders`;
    `given` are `face_pack`, the adapter's parts and what the backbone needs besides (`BackboneSpec.needs`), each a path
    or None.

    Raises:
        SettingsError: an unknown name that is no path either, or an adapter that does not fit the backbone.
        WeightsError: a file that is needed was not found.
    """
    name, wanted = str(backbone), get_adapter(adapter)
    if name not in BACKBONES and not Path(backbone).exists():
        get_backbone(name)  # says which names are known
    wanted.check(family_of(backbone))
    shipped = miniature.PARTS if is_miniature(backbone) else {}

    def part(key: str) -> Path:
        return given.get(key) or shipped.get(key) or catalogue.find(key.replace("_", "-"), folders)

    parts = {key: part(key) for key in wanted.parts}
    for key in wanted.optional:
        found = given.get(key) or shipped.get(key)
        if found is None and not shipped:
            found = next(iter(catalogue.find_all(folders).get(key.replace("_", "-"), ())), None)
        parts |= {} if found is None else {key: found}
    spec = BACKBONES.get(name)
    options = {} if spec is None else {option: given.get(option) or part(key) for option, key in spec.needs}
    if lora := given.get("lora"):
        options["lora"] = lora
    key = (spec.folder if spec else "") or name
    where = catalogue.find(key, folders) if key in catalogue.KEYS else backbone
    return Files(where, name if spec else None, parts, part("face_pack"), adapter, options)


def is_miniature(backbone: str | Path) -> bool:
    """Whether a backbone, by name or folder, is one of the miniature's."""
    folders = miniature.BACKBONES | miniature.SDXL
    return str(backbone) in folders or Path(backbone).resolve() in folders.values()
