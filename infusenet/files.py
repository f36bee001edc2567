"""Pictures in and out: any usual file becomes 8-bit RGB, a finished one is written whole and marked. Folder locks."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import PictureError, SettingsError, raise_if_in_want

if TYPE_CHECKING:
    from PIL import Image

Picture = NDArray[np.uint8]

AI_MARK = "AI-generated"
"""Text chunk that every generated picture carries."""

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""Endings of the files in a folder that are taken for pictures."""

_BEAT, _DEAD = 20.0, 300.0  # of a lock: seconds between two signs of life, and without one for so long it is over
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{_SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>'
)
_WHITE = (255, 255, 255, 255)


def open_picture(path: str | Path) -> Picture:
    """Read a picture file.

    Turned upright by its EXIF orientation; transparency goes over white; 16 bits become 8; gray, palette and CMYK
    become RGB; of an animation the first frame.

    Args:
        path: any format that Pillow reads.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        PictureError: missing, not a picture, truncated, or larger than Pillow's limit of safety.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not os.path.isfile(path):  # of any name: Path.is_file breaks off at one that is too long
        raise PictureError(f"There is no picture {path}. Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF data and of large, still acceptable sizes
            # by a file, not by a name: of a name Pillow maps the pixels, and scrambles a TIFF that is turned
            with path.open("rb") as file, Image.open(file) as image:
                if image.format == "EPS":  # a program, which Pillow would have run
                    raise UnidentifiedImageError
                image.load()
                return as_rgb(_eight_bits(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise PictureError(f"{path} is not a picture{_hint(path)}. Expected a PNG, JPEG or WebP file.") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path} is too large ({error}). Scale it down first.") from error
    except Exception as error:  # damaged bytes raise anything: SyntaxError, struct.error, EOFError
        raise_if_in_want(error, path)
        raise PictureError(f"{path} is damaged or incomplete ({error}). Save or download it again.") from error


def as_rgb(picture: Any) -> Picture:
    """A picture as RGB uint8 [H, W, 3]: an array with 1, 3 or 4 channels or none, or a PIL image; else PictureError."""
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PictureError(
            f"Expected a picture as uint8 [height, width, 3], got {array.dtype} {list(array.shape)}. Multiply "
            "values from 0 to 1 by 255 and round them first."
        )
    if not array.size:
        raise PictureError(f"Expected a picture with at least one pixel, got shape {list(array.shape)}.")
    if array.ndim == 2 or array.shape[2] == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    elif array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint16)
        array = ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(array)


def save_picture(
    picture: Any,
    path: str | Path,
    metadata: Mapping[str, Any] | None = None,
    *,
    inputs: Iterable[str | Path] = (),
    generated: bool = True,
) -> Path:
    """Write a PNG, whole or not at all.

    Args:
        picture: RGB uint8 [H, W, 3] or a PIL image.
        path: where to; ".png" is added if it has no suffix. An older output there is replaced.
        metadata: text chunks by name; values that are not text are written as JSON. No embedding belongs here.
        inputs: files that were read and must not be overwritten.
        generated: mark it as AI-generated. False only for what no model made: a chart, a copy of a photo.

    Returns:
        The path written; PictureError where the name is no PNG's or an input's, or the disk refuses.
    """
    from PIL import Image

    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    if path.suffix.lower() != ".png":
        raise PictureError(f"Expected an output that ends in .png, got {path.name}. Only PNG keeps the metadata.")
    if any(_same_file(path, Path(source)) for source in inputs):
        raise PictureError(f"{path} is one of the inputs and would be overwritten. Choose another output.")
    if not path.parent.is_dir():
        raise PictureError(f"There is no folder {path.parent} to write {path.name} into. Create it first.")
    image = Image.fromarray(as_rgb(picture))
    try:
        write_atomically(path, _as_png(image, _chunks(metadata or {}, generated)))
    except OSError as error:
        raise PictureError(f"{path} cannot be written ({error.strerror or error}). Choose another output.") from error
    return path


def png(picture: Picture, metadata: Mapping[str, Any] | None = None, *, generated: bool = False) -> bytes:
    """A picture as the bytes of a PNG, with text chunks and the mark of what a model made; see `save_picture`."""
    from PIL import Image

    return _as_png(Image.fromarray(picture), _chunks(metadata or {}, generated))


def _as_png(image: Image.Image, chunks: Any = None) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG", pnginfo=chunks)
    return content.getvalue()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; an earlier one is replaced.

    Raises:
        OSError: the folder is missing or not writable; nothing is left behind.
    """
    draft = path.with_name(f".{path.name[:64]}.{uuid.uuid4().hex}.part")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise SettingsError unless a file can be written at a path, whose folders need not exist yet."""
    home = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not home.is_dir() or not os.access(home, os.W_OK | os.X_OK):
        obstacle = "a folder with that name already exists" if path.is_dir() else f"you may not write to {home}"
        raise SettingsError(f"{path} cannot be written: {obstacle}. Choose another name.")


def check_folder(folder: Path, *names: str) -> None:
    """Raise SettingsError unless files of these names, or any, can be written into a folder, which need not exist."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file, not a folder. Choose a folder.")
    for name in names or (".written",):
        check_writable(folder / name)


def _chunks(metadata: Mapping[str, Any], generated: bool) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if generated:
        info.add_text(AI_MARK, "true")
        info.add_itxt("XML:com.adobe.xmp", _XMP)
    for key, value in metadata.items():
        info.add_itxt(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return info


def _eight_bits(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB or RGBA."""
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)  # NaN would blacken all of it
        values *= 255 / _white_level(values, image.mode)
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def _white_level(values: NDArray[np.float64], mode: str) -> float:
    """What white is in a picture of more than 8 bits, which the file does not always say."""
    if mode.startswith("I;16"):
        return 65535.0
    peak = float(values.max(initial=0.0))
    levels = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((level for level in levels if peak <= level), peak)


def _hint(path: Path) -> str:
    """What a file that is no picture seems to be."""
    start = path.read_bytes()[:256] if path.stat().st_size < 1 << 30 else b""
    if not start:
        return " (the file is empty or huge)"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return " but an HTML page"
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return " that Pillow can read, but a HEIC file: convert it to JPEG or PNG"
    if start.startswith(b"%!PS"):
        return " but a drawing in PostScript: convert it to PNG"
    if start[8:9] == b"{":
        return " but a weight file"
    return ""


def is_picture_file(path: Path) -> bool:
    """Whether a file in a folder is taken for a picture: by its name, and not hidden."""
    return path.is_file() and path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def _same_file(left: Path, right: Path) -> bool:
    try:
        return left.samefile(right)
    except OSError:
        return left.absolute() == right.absolute()


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """While it lasts, no other process works in a folder, which is made if missing.

    The lock is a file with host and process, touched every 20 seconds. It is taken over where its process is gone from
    this machine, or where another machine has not touched it for 5 minutes.

    Raises:
        SettingsError: another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, over = folder / ".lock", threading.Event()
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    own = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since, "token": uuid.uuid4().hex})
    while True:
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(own)
            break
        except FileExistsError:
            _remove_if_over(path)

    def beat() -> None:
        while not over.wait(_BEAT):
            with suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, name="infusenet lock", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == own:
                path.unlink()


def _remove_if_over(path: Path) -> None:
    """Remove a lock that nobody holds any more.

    Raises:
        SettingsError: somebody does.
    """
    with suppress(FileNotFoundError):
        text, holder = path.read_text(encoding="utf-8"), {}
        with suppress(ValueError, TypeError):  # just being written, or damaged: its age tells
            holder = dict(json.loads(text))
        if _is_held(path, holder):
            raise SettingsError(
                f"Another run is using {path.parent} (process {holder.get('pid')} on {holder.get('host')}, since "
                f"{holder.get('since')}). Wait for it, stop it, or choose another folder. If no such run exists, "
                f"delete {path}."
            )
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        path.rename(aside)
        if aside.read_text(encoding="utf-8") != text:  # another process took it over in between: it is theirs
            aside.rename(path)
        aside.unlink(missing_ok=True)


def _is_held(path: Path, holder: Mapping[str, Any]) -> bool:
    """Whether a process of this machine that holds a lock runs, or another machine has touched it lately."""
    pid, is_here = holder.get("pid"), holder.get("host") == socket.gethostname() and os.name == "posix"
    if is_here and isinstance(pid, int) and pid != os.getpid():
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            return True
        return True
    clock = path.with_name(f".clock.{uuid.uuid4().hex}.part")
    clock.touch()  # by the clock that dates the folder's files, which may be another machine's
    age = clock.stat().st_mtime - path.stat().st_mtime
    clock.unlink(missing_ok=True)
    return age < _DEAD
