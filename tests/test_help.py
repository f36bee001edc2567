"""The nodes' help pages as files: each shows its node, and all that the page loads stays small."""

from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / "nodes" / "web" / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("InfuseNet_*.md"))
PANEL = 400  # pixels, of the page's narrow panel


@pytest.mark.parametrize("name", PAGES)
def test_a_help_page_shows_its_node_in_the_panels_width(name) -> None:
    text, picture = (DOCS / f"{name}.md").read_text(encoding="utf-8"), DOCS / "pictures" / f"{name}.jpg"
    assert f"](pictures/{name}.jpg)" in text, "relative, as the page completes addresses"
    assert "\n|" not in text, "a list wraps where the panel is narrow; a table is cut off"
    with Image.open(picture) as opened:
        assert opened.width <= PANEL


def test_the_pictures_are_small_and_all_are_used() -> None:
    pictures = list((DOCS / "pictures").iterdir())
    assert sum(path.stat().st_size for path in pictures) < 1.5e6
    assert {path.name for path in pictures} == {"comfyui.jpg", *(f"{name}.jpg" for name in PAGES)}
    readme = (DOCS.parents[2] / "README.md").read_text(encoding="utf-8")
    assert "nodes/web/docs/pictures/comfyui.jpg" in readme and (DOCS / "pictures" / "comfyui.jpg").stat().st_size < 4e5
