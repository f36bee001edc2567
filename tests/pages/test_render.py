"""The base of all pages: what it escapes, what it refuses, and that its colours are the charts' own."""

import io
import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jinja2 import ChoiceLoader, DictLoader, UndefinedError
from PIL import Image

from infusenet.charts.palette import DARK, LIGHT, Theme
from infusenet.pages import data_uri, render
from infusenet.pages.render import TEMPLATES, _environment, pixels_wide, signed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page():
    """A page of one's own: its main part is the text given, rendered with the context given."""
    environment = _environment()
    before = environment.loader

    def of(main: str, **context: object) -> str:
        head = '{% extends "base.html" %}{% import "parts.html" as parts %}{% block title %}T{% endblock %}'
        text = f"{head}{{% block main %}}{main}{{% endblock %}}"
        environment.loader = ChoiceLoader([DictLoader({"toy.html": text}), before])
        environment.cache.clear()
        return render("toy.html", **context)

    yield of
    environment.loader = before
    environment.cache.clear()


def main_of(text: str) -> str:
    return text.split("<main>")[1].split("</main>")[0].strip()


def test_what_is_shown_is_escaped_in_text_and_in_attributes(page) -> None:
    text = main_of(page('<p title="{{ words }}">{{ words }}</p>', words="<script>\"'&"))
    assert text == '<p title="&lt;script&gt;&#34;&#39;&amp;">&lt;script&gt;&#34;&#39;&amp;</p>'


def test_what_is_missing_is_refused_and_never_empty(page) -> None:
    for main in ("{{ absent }}", "{{ given.absent }}", "{% if absent %}x{% endif %}"):
        with pytest.raises(UndefinedError, match="absent"):
            page(main, given={})


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(None, 2, "–"), (0.125, 2, "0.12"), (-0.5, 1, "−0.5"), (-0.0004, 2, "0.00"), (-0.0004, 4, "−0.0004"), (3, 0, "3")],
)
def test_numbers(page, value, digits, text) -> None:
    assert main_of(page("{{ value | number(digits) }}", value=value, digits=digits)) == text


def test_signs_of_figures_in_words() -> None:
    assert signed("mini-2: -0.5, a - b") == "mini-2: −0.5, a - b"


def test_a_drawing_has_a_light_and_a_dark_side_and_its_size(page) -> None:
    def png(width: int) -> bytes:
        content = io.BytesIO()
        Image.fromarray(np.zeros([4, width, 3], np.uint8)).save(content, format="PNG")
        return content.getvalue()

    light, dark = png(320), png(321)
    assert pixels_wide(light) == 320 and pixels_wide(light, 160) == 192
    text = page('{{ parts.plot(light_png, dark_png, "a <b>", "below", "map") }}', light_png=light, dark_png=dark)
    (image,) = re.findall("<img[^>]*>", text)
    assert data_uri(light) in image and 'alt="a &lt;b&gt;"' in image and "width: 192px" in image
    (source,) = re.findall("<source[^>]*>", text)
    assert data_uri(dark) in source and 'media="screen and (prefers-color-scheme: dark)"' in source
    assert "<figcaption>below</figcaption>" in text


def test_the_colours_are_the_palettes_in_light_in_dark_and_on_paper(page) -> None:
    style = page("").split("<style>")[1].split("</style>")[0]
    roots = re.findall(r"(@media \([^)]*\)|@media print)? ?\{? ?:root \{([^}]*)\}", style)
    assert [media for media, _ in roots] == ["", "@media (prefers-color-scheme: dark)", "@media print"]
    for (_, variables), theme in zip(roots, (LIGHT, DARK, LIGHT), strict=True):
        stands = dict(re.findall(r"--([\w-]+): (#\w+);", variables))
        assert [stands[f"curve-{i}"] for i in range(1, 6)] == list(theme.curves)
        assert all(stands[name] == getattr(theme, name) for name in ("paper", "card", "ink", "quiet", "grid"))


def test_the_style_holds_no_colour_of_its_own_and_asks_for_no_file() -> None:
    for path in sorted(TEMPLATES.iterdir()):
        text = path.read_text(encoding="utf-8").replace("--page: #ffffff;", "")  # paper is white
        assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", re.sub(r"&#\d+;", "", text)), path.name
        for words in ("url(", "@import", "http:", "https:", "<script", "<link"):
            assert words not in text, path.name


def test_every_variable_that_the_style_uses_is_one_of_the_palettes() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES.iterdir())
    local = set(re.findall(r"--([\w-]+):", text))
    used = set(re.findall(r"var\(--([\w-]+)", text))
    known = {"paper", "page", "card", "ink", "quiet", "grid", *(f"curve-{i}" for i in range(1, 6))}
    assert used - local <= known


def luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        weight * (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)
        for weight, share in zip((0.2126, 0.7152, 0.0722), shares, strict=True)
    )


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_can_be_read_as_text_on_every_ground(theme: Theme) -> None:
    for ground, colour in itertools.product(
        (theme.paper, theme.page, theme.card), (theme.ink, theme.quiet, *theme.curves)
    ):
        low, high = sorted((luminance(ground), luminance(colour)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ground, colour)


def test_pages_import_neither_jinja_nor_matplotlib() -> None:
    """Nodes and the command line must not need them."""
    code = "import sys, infusenet.pages; print({'jinja2', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stderr


def test_every_page_extends_the_one_base() -> None:
    pages = sorted(path.name for path in TEMPLATES.glob("*.html"))
    assert {"compare.html", "demo.html", "replay.html"} <= set(pages)
    for name in set(pages) - {"base.html", "parts.html"}:
        assert (TEMPLATES / name).read_text(encoding="utf-8").startswith('{% extends "base.html" %}'), name


def test_templates_are_found_where_the_library_is_part_of_a_pack_of_another_name() -> None:
    code = (
        "import sys, types; pack = types.ModuleType('a pack'); pack.__path__ = [sys.argv[1]];"
        "sys.modules['a pack'] = pack;"
        "from importlib import import_module; print(len(import_module('a pack.infusenet.pages').render('style.css')));"
        "assert 'infusenet' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ROOT)], cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000
