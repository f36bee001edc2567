"""Every kind of picture file a user may bring, and writing one safely."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infusenet.errors import PictureError
from infusenet.files import AI_MARK, as_rgb, open_picture, save_picture


def sample(width: int = 12, height: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_rgb_comes_back_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(sample()).save(tmp_path / "p.png")
    assert np.array_equal(open_picture(tmp_path / "p.png"), sample())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((40, 24, 3), np.uint8)
    upright[:20, :12] = 255  # the upper left quarter is white
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "p.jpg", exif=exif, quality=95)
    got = open_picture(tmp_path / "p.jpg")
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).mean() < 3


def test_gray_palette_and_bilevel(tmp_path: Path) -> None:
    gray = sample()[..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert np.array_equal(open_picture(tmp_path / "gray.png"), np.stack([gray] * 3, -1))
    palette = Image.fromarray(sample()).quantize(256)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(open_picture(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    Image.fromarray(gray > 127).save(tmp_path / "bilevel.png")
    assert np.array_equal(open_picture(tmp_path / "bilevel.png")[..., 1], (gray > 127) * np.uint8(255))


def test_transparency_goes_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[0, :, 3] = (0, 128, 255)
    Image.fromarray(rgba).save(tmp_path / "p.png")
    got = open_picture(tmp_path / "p.png")
    assert got[0].tolist() == [[255, 255, 255], [227, 127, 127], [200, 0, 0]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.gif", transparency=1)
    assert open_picture(tmp_path / "palette.gif")[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = np.array([[0, 256, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        assert open_picture(tmp_path / name)[0, :, 0].tolist() == [0, 1, 128, 255]
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "float.tif")
    assert open_picture(tmp_path / "float.tif")[0, :, 2].tolist() == [0, 128, 255]


def test_cmyk_and_animations(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    red = open_picture(tmp_path / "cmyk.jpg")[0, 0].astype(int)
    assert red[0] > 200 and red[1] < 60
    frames = [Image.new("RGB", (4, 4), color) for color in ("blue", "lime")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert open_picture(tmp_path / "moving.gif")[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("page.png", b"<!DOCTYPE html><html></html>", "not a picture but an HTML page"),
        ("notes.txt", b"hello", "is not a picture"),
        ("empty.png", b"", "empty"),
        ("m.safetensors", b"\x02\0\0\0\0\0\0\0{}", "a weight file"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PictureError, match=says):
        open_picture(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_pictures_are_refused(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(sample(90, 90)).save(buffer, kind)
    (tmp_path / "p").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(PictureError, match=r"damaged or incomplete|not a picture"):
        open_picture(tmp_path / "p")


def test_missing_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(PictureError, match="There is no picture"):
            open_picture(path)


def test_huge_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(sample(90, 90)).save(tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    assert open_picture(tmp_path / "p.png").shape == (90, 90, 3)  # above the warning, below the error
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(PictureError, match="is too large"):
        open_picture(tmp_path / "p.png")


def test_arrays_are_taken_with_any_channels() -> None:
    rgb = sample()
    assert np.array_equal(as_rgb(rgb), rgb)
    assert np.array_equal(as_rgb(rgb[..., :1]), np.repeat(rgb[..., :1], 3, 2))
    assert np.array_equal(as_rgb(rgb[..., 0]), np.repeat(rgb[..., :1], 3, 2))
    assert (as_rgb(np.dstack([rgb, np.zeros((8, 12), np.uint8)])) == 255).all()
    for wrong in (rgb.astype(np.float32), rgb[None], rgb[..., :2], rgb[:0]):
        with pytest.raises(PictureError, match="Expected a picture"):
            as_rgb(wrong)


def test_saved_pictures_carry_their_metadata(tmp_path: Path) -> None:
    metadata = {"prompt": "a café, 東京", "parameters": {"seed": 1, "steps": 4}}
    path = save_picture(sample(), tmp_path / "out", metadata)
    assert path == tmp_path / "out.png"
    with Image.open(path) as image:
        image.load()
        text = dict(image.text)  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(image), sample())
    assert text["prompt"] == "a café, 東京"
    assert json.loads(text["parameters"]) == {"seed": 1, "steps": 4}
    assert text[AI_MARK] == "true"
    assert "trainedAlgorithmicMedia" in text["XML:com.adobe.xmp"]


def test_what_no_model_made_is_not_marked(tmp_path: Path) -> None:
    with Image.open(save_picture(sample(), tmp_path / "chart", {"Title": "drift"}, generated=False)) as image:
        image.load()
        assert dict(image.text) == {"Title": "drift"}  # type: ignore[attr-defined]


def test_an_output_replaces_an_older_one_but_never_an_input(tmp_path: Path) -> None:
    face = save_picture(sample(), tmp_path / "face.png")
    before = face.read_bytes()
    link = tmp_path / "link.png"
    link.symlink_to(face)
    for path in (face, link, tmp_path / "." / "face.png"):
        with pytest.raises(PictureError, match="one of the inputs"):
            save_picture(sample(4, 4), path, inputs=[tmp_path / "absent.png", face])
    assert face.read_bytes() == before
    save_picture(sample(4, 4), face)
    assert open_picture(face).shape == (4, 4, 3)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    face = save_picture(sample(), tmp_path / "out.png")
    before = face.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PictureError, match="No space left"):
        save_picture(sample(4, 4), face)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert face.read_bytes() == before


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"ends in \.png"):
        save_picture(sample(), tmp_path / "out.jpg")
    with pytest.raises(PictureError, match="no folder"):
        save_picture(sample(), tmp_path / "absent" / "out.png")


def test_one_pixel_without_a_value_does_not_blacken_the_picture(tmp_path: Path) -> None:
    values = np.full((8, 8), 0.5, np.float32)
    values[0, 0], values[0, 1] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "odd.tif")
    picture = open_picture(tmp_path / "odd.tif")
    assert (picture[1:] == 128).all()


def test_heic_is_named(tmp_path: Path) -> None:
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 64)
    with pytest.raises(PictureError, match="HEIC file: convert it"):
        open_picture(tmp_path / "photo.heic")


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "RGB", "I;16"])
def test_a_turned_tiff_is_not_scrambled(tmp_path: Path, mode: str) -> None:
    ramp = np.linspace(10, 240, 17 * 5).reshape(5, 17).astype(np.uint8)
    stored = Image.fromarray(ramp).transpose(Image.Transpose.ROTATE_270)
    stored = Image.fromarray(np.asarray(stored).astype(np.uint16) * 257) if mode == "I;16" else stored.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 8
    (stored if mode == "I;16" else stored.convert(mode)).save(tmp_path / "p.tif", exif=exif)
    got = open_picture(tmp_path / "p.tif")
    assert got.shape == (5, 17, 3)
    assert np.abs(got[..., 0].astype(int) - ramp).max() < 3


def test_a_drawing_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file\n")
    with pytest.raises(PictureError, match="PostScript: convert it to PNG"):
        open_picture(path)


def test_a_name_that_is_too_long_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="There is no picture"):
        open_picture(tmp_path / ("a" * 5000))
