"""Odd picture files, each with what a reader must see in it: the luminance, or nothing where the file is damaged."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I", "F", "YCbCr", "LAB", "PA", "RGBX")
FORMATS = {
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "JPEG": ("RGB", "L", "CMYK", "YCbCr"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I", "F", "LAB"),
    "GIF": ("RGB", "L", "P", "1"),
    "BMP": ("RGB", "L", "P", "1"),
    "PPM": ("RGB", "L", "1", "I;16", "F"),
    "TGA": ("RGB", "RGBA", "L", "P"),
}
WHOLE = [(kind, mode) for kind, modes in FORMATS.items() for mode in modes]
SIZES = ("face", "face", "face", (1, 1), (1, 40), (3000, 1), (2, 3), (17, 5))
ENDINGS = (".png", ".jpg", ".PNG", ".webp", ".tif", ".txt", "", ".safetensors", ".png.bin")
FILLS = ("nan", "inf", "-inf", "part nan", "negative", "huge")
JUNK = (
    b"", b"\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x10\0\0\0WEBPVP8 ", b"II*\0\x08\0\0\0", b"BM",
    b"no picture at all", b"<!DOCTYPE html><html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4",
    b"P6\n9 9\n255\n",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", b"8BPS\0\x01", b"PF\n-1 -1\n-1\n",
    b"P6 99999999 99999999 255\n", b"\x10\0\0\0\0\0\0\0{\"a\": {}}", b"PK\x03\x04", b"#!/bin/sh\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n"
    b"%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file\n",
)  # fmt: skip
SPECIAL = ("folder", "loop", "pipe", "dangling", "declared huge", "bomb", "outside", "absent")


@dataclass(frozen=True)
class Odd:
    """How a picture file is made; see `write`."""

    kind: str = "PNG"
    mode: str = "RGB"
    size: Any = "face"
    ending: str = ".png"
    orientation: int = 0
    frames: int = 1
    icc: bytes | None = None
    fill: str | None = None  # of a float picture
    cut: float | None = None  # share that is kept
    flips: tuple[int, ...] = ()  # places of bytes that are changed
    junk: bytes | None = None  # instead of all
    special: str | None = None  # no plain file at all

    @property
    def is_damaged(self) -> bool:
        return self.cut is not None or bool(self.flips) or self.junk is not None or self.special is not None

    def __repr__(self) -> str:
        changes = {name: value for name, value in vars(self).items() if value != getattr(Odd(), name)}
        return f"Odd({changes})"


def odd_pictures() -> st.SearchStrategy[Odd]:
    def whole(pair: tuple[str, str]) -> st.SearchStrategy[Odd]:
        return st.builds(
            Odd,
            kind=st.just(pair[0]),
            mode=st.just(pair[1]),
            size=st.sampled_from(SIZES),
            ending=st.sampled_from(ENDINGS),
            orientation=st.sampled_from((0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535)),
            frames=st.sampled_from((1, 1, 3)),
            icc=st.sampled_from((None, None, b"", b"junk", b"\0" * 4000)),
            fill=st.sampled_from((None, *FILLS)) if pair[1] == "F" else st.none(),
            cut=st.none() | st.none() | st.sampled_from((0.01, 0.3, 0.9, 0.999)),
            flips=st.just(()) | st.just(()) | st.lists(st.integers(0, 1 << 20), min_size=1, max_size=3).map(tuple),
        )

    made = st.sampled_from(WHOLE).flatmap(whole)
    floats = st.sampled_from([("TIFF", "F"), ("TIFF", "I"), ("PNG", "I;16"), ("TIFF", "CMYK")]).flatmap(whole)
    junk = st.builds(Odd, junk=st.sampled_from(JUNK) | st.binary(max_size=40), ending=st.sampled_from(ENDINGS))
    special = st.builds(Odd, special=st.sampled_from(SPECIAL))
    return st.one_of(made, made.filter(lambda odd: not odd.is_damaged), made, floats, junk, special)


def write(odd: Odd, folder: Path, face: Path, name: str = "odd") -> tuple[Path, np.ndarray | None]:
    """The file, and the luminance 0..255 that a reader must see; None where it need not see any."""
    path = folder / f"{name}{odd.ending}"
    if odd.special is not None:
        _special(odd.special, path)
        return path, None
    if odd.junk is not None:
        path.write_bytes(odd.junk)
        return path, None
    image = _plain(odd, face)
    seen = np.asarray(image.convert("L"), np.float64)
    if odd.orientation in _STORED:
        image = image.transpose(_STORED[odd.orientation])
    content = bytearray(_encoded(odd, image))
    for place in odd.flips:
        content[place % len(content)] ^= 0x55
    path.write_bytes(content[: int(len(content) * odd.cut)] if odd.cut is not None else content)
    known = not odd.is_damaged and odd.fill in (None, "part nan") and "exif" in _options(odd)
    return path, seen if known or (not odd.is_damaged and odd.fill is None and not odd.orientation) else None


_T = Image.Transpose
_STORED = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE, 6: _T.ROTATE_90,
           7: _T.TRANSVERSE, 8: _T.ROTATE_270}  # fmt: skip


def _plain(odd: Odd, face: Path) -> Image.Image:
    if odd.size == "face":
        with Image.open(face) as image:
            return image.convert("RGB")
    width, height = odd.size
    ramp = np.linspace(10, 240, width * height).reshape(height, width).astype(np.uint8)
    return Image.fromarray(np.stack([ramp] * 3, -1))


def _in_mode(odd: Odd, image: Image.Image) -> Image.Image:
    gray = np.asarray(image.convert("L"))
    if odd.mode == "I;16":
        return Image.fromarray(gray.astype(np.uint16) * 257)
    if odd.mode == "I":
        return Image.fromarray(gray.astype(np.int32) * 257)
    if odd.mode == "F":
        values = gray.astype(np.float32) / 255
        where = np.s_[:1, :1] if odd.fill == "part nan" else np.s_[:]
        filled = {"part nan": np.nan, "nan": np.nan, "inf": np.inf, "-inf": -np.inf, "negative": -5.0, "huge": 3e38}
        if odd.fill is not None:
            values[where] = filled[odd.fill]
        return Image.fromarray(values)
    return image.convert(odd.mode)


def _options(odd: Odd) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if odd.kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        exif = Image.Exif()
        if odd.orientation:
            exif[0x0112] = odd.orientation
        options["exif"] = exif
        if odd.icc is not None:
            options["icc_profile"] = odd.icc
    if odd.kind == "WEBP":
        options["lossless"] = True
    return options


def _encoded(odd: Odd, image: Image.Image) -> bytes:
    image, content, options = _in_mode(odd, image), io.BytesIO(), _options(odd)
    if odd.frames > 1 and odd.kind in ("GIF", "WEBP", "TIFF"):
        options |= {"save_all": True, "append_images": [image.transpose(_T.ROTATE_180)] * (odd.frames - 1)}
    image.save(content, odd.kind, **options)
    return content.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, data: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _special(what: str, path: Path) -> None:
    if what == "folder":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "dangling":
        path.symlink_to("nowhere")
    elif what == "declared huge":
        path.write_bytes(_png(2**31 - 1, 2**31 - 1, zlib.compress(b"\0" * 100)))
    elif what == "bomb":  # more than Pillow's limit of safety, in a few kilobytes
        path.write_bytes(_png(20_000, 20_000, zlib.compress(b"\0" * 1_000_000)))
    elif what == "outside":
        path.symlink_to("../../../outside/secret.txt")
