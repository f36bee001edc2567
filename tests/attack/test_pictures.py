"""Picture files: whatever Pillow can read is seen as it is, all else is refused in words, by library and command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from infusenet.files import open_picture

from .oracle import Place, check_picture, command, expect, finite_json
from .pictures import Odd, odd_pictures, write


def luminance(picture: np.ndarray) -> np.ndarray:
    return picture @ np.array([0.299, 0.587, 0.114])


def test_open_picture(attack: Callable[..., None], face: Path) -> None:
    def case(place: Place, odd: Odd) -> Callable[[], None]:
        path, seen = write(odd, place.given, face)

        def act() -> None:
            picture = open_picture(path)
            expect(picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3, "no RGB of 8 bits")
            if seen is not None:
                expect(picture.shape[:2] == seen.shape, f"{picture.shape[:2]} instead of {seen.shape}")
                off = float(np.abs(luminance(picture) - seen).mean())
                expect(off < (130 if odd.mode == "1" else 16), f"levels are off by {off:.0f} of 255")

        return act

    attack(odd_pictures(), case)


def test_compare(attack: Callable[..., None], face: Path) -> None:
    """Odd pictures in every place of the command, beside one in order."""

    def case(place: Place, drawn: tuple[list[Odd], int]) -> Callable[[], None]:
        odd, where = drawn
        names = [str(write(each, place.given, face, f"odd{index}")[0]) for index, each in enumerate(odd)]
        options: list[Any] = [
            ["--with", *names],
            ["--others", *names],
            ["--genuine", *names],
            ["--other-photo", names[0]],
        ]
        references = [str(face)] if where else names
        argv = ["compare", *references, *options[where], "--face-pack", "miniature", "--quiet", "--out", str(place.out)]
        argv += ["--with", str(face)] if where != 0 else []

        def act() -> None:
            command(*argv)
            figures = finite_json(place.out / "compare.json")
            expect(len(figures["pictures"]) == (len(names) if where == 0 else 1), "not every picture is told of")

        return act

    attack(st.tuples(st.lists(odd_pictures(), min_size=1, max_size=3), st.integers(0, 3)), case, share=0.4)


@pytest.mark.usefixtures("loads_once")
def test_generate(attack: Callable[..., None], face: Path) -> None:
    def case(place: Place, drawn: tuple[Odd, bool]) -> Callable[[], None]:
        odd, as_pose = drawn
        name, out = str(write(odd, place.given, face)[0]), place.out / "x.png"
        faces = [str(face), "--pose", name] if as_pose else [name]
        settings = ["--prompt", "a person", "--steps", "1", "--size", "64x64", "--quiet", "--out", str(out)]

        def act() -> None:
            command("generate", "--backbone", "mini-schnell", "--face", *faces, *settings)
            expect(check_picture(out, generated=True).size == (64, 64), "the picture has another size")

        return act

    attack(st.tuples(odd_pictures(), st.booleans()), case, share=0.4)
