"""Which weight files a sweep runs on, and what tells them apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import SettingsError
from ..generate import Files, files_for
from .spec import Role, Spec

_SAMPLE = 1 << 18  # bytes read at each of the sampled places
_PLACES = 16


@dataclass(frozen=True)
class Weights:
    """What stands behind "dev" and "schnell" in a specification.

    Attributes:
        backbones: a name of BACKBONES or a path, for each role.
        given: infusenet, image_proj, arcface and face_pack, where the user names them.
        folders: where real weights are looked for.
        components: a FLUX folder that lends VAE and text encoders to single files.
        lpips: VGG16 weights, without which there is no LPIPS.
    """

    backbones: tuple[tuple[Role, str], ...] = (("dev", "mini-dev"), ("schnell", "mini-schnell"))
    given: tuple[tuple[str, Path | None], ...] = ()
    folders: tuple[Path, ...] = ()
    components: Path | None = None
    lpips: Path | None = None

    def files(self, role: Role) -> Files:
        """All files behind a role.

        Raises:
            SettingsError: an unknown name.
            WeightsError: a file was not found.
        """
        return files_for(dict(self.backbones)[role], self.folders, **dict(self.given))  # type: ignore[arg-type]


def check_people(spec: Spec, weights: Weights) -> None:
    """Refuse to show drawn people to models that know photos only.

    Raises:
        SettingsError: a backbone that is no miniature, and drawn people.
    """
    for role, name in weights.backbones:
        if spec.people.folder is None and not name.startswith("mini-") and role in {m.backbone for m in spec.methods}:
            raise SettingsError(
                f"people.drawn: only the miniature knows drawn people, and {role} is {name}. "
                "Give a folder of photos with --people DIR."
            )


def contents(spec: Spec, weights: Weights) -> dict[Role, str]:
    """Name and content of the weights behind each role that a sweep uses."""
    roles: Sequence[Role] = sorted({method.backbone for method in spec.methods})
    return {role: _content(weights.files(role), weights.components) for role in roles}


def metrics_of(spec: Spec, weights: Weights) -> tuple[str, ...]:
    """What is measured beside the usual, with the content of weights that it depends on.

    Raises:
        WeightsError: the file for LPIPS is missing or no VGG16.
        PackageError: the packages for LPIPS are missing.
    """
    if "lpips" not in spec.metrics or weights.lpips is None:
        return spec.metrics
    from ..metrics.perceptual import lpips_network

    lpips_network(weights.lpips)  # now, before any picture is made
    told = f"lpips {_fingerprint(weights.lpips)[:16]}"
    return tuple(told if name == "lpips" else name for name in spec.metrics)


def _content(files: Files, components: Path | None) -> str:
    from .. import miniature

    backbone = miniature.BACKBONES.get(str(files.backbone), Path(files.backbone))
    parts = [backbone, *files.parts.values(), files.face_pack]
    parts += [miniature.BACKBONES["mini-dev"]] if backbone in miniature.BACKBONES.values() else []
    parts += [components] if components else []
    total = hashlib.sha256("".join(_fingerprint(part) for part in parts).encode()).hexdigest()
    return f"{backbone.name} {total[:16]}"


@cache
def _fingerprint(path: Path) -> str:
    """Sizes and contents of a file or folder; of large files, what stands at 16 places."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_file() or file.name.startswith("."):
            continue
        size = os.path.getsize(file)
        digest.update(f"{file.relative_to(path) if path.is_dir() else ''}:{size}:".encode())
        with file.open("rb") as content:
            if size <= _SAMPLE * _PLACES:
                digest.update(content.read())
                continue
            for place in range(_PLACES):
                content.seek((size - _SAMPLE) * place // (_PLACES - 1))
                digest.update(content.read(_SAMPLE))
    return digest.hexdigest()
