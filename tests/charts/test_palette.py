"""One palette: what the browser draws with is what every other chart is drawn with."""

import json
import re
from pathlib import Path

import pytest

from infusenet.charts.palette import LINES, THEMES, in_lines, limits, theme_named, to_javascript

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "nodes" / "web"
COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl)a?\(")


def test_the_browsers_colours_are_the_palettes() -> None:
    text = (WEB / "palette.js").read_text(encoding="utf-8")
    assert text == to_javascript(), "write it again: its first line has the command"
    themes, dashes = (json.loads(part) for part in re.findall(r"= (\{.*?\n\});", text, re.DOTALL))
    for name, theme in THEMES.items():
        assert [themes[name][f"curve-{i + 1}"] for i in range(5)] == list(theme.curves)
        assert themes[name]["paper"] == theme.paper and themes[name]["ink"] == theme.ink
    assert set(dashes) == set(LINES)


def test_no_other_file_of_the_browser_has_a_colour() -> None:
    files = [path for path in WEB.glob("*.js") if path.name != "palette.js"]
    assert len(files) >= 3
    assert {path.name: COLOUR.findall(path.read_text(encoding="utf-8")) for path in files} == {
        path.name: [] for path in files
    }
    assert 'from "./palette.js"' in (WEB / "chart.js").read_text(encoding="utf-8")


def test_no_other_file_of_the_library_has_a_colour() -> None:
    """Drawn people and their scenes are no charts."""
    for path in (ROOT / "infusenet").rglob("*.py"):
        if path.name != "palette.py" and "miniature" not in path.parts:
            assert not re.findall(r"""["']#[0-9a-fA-F]{3,8}["']""", path.read_text(encoding="utf-8")), path


def test_an_unknown_theme_is_refused() -> None:
    with pytest.raises(ValueError, match="'light' or 'dark', got 'pink'"):
        theme_named("pink")


def test_limits_hold_zero_and_every_value() -> None:
    low, high = limits([0.2, 0.8])
    assert low < 0 and high > 0.8
    low, high = limits([-0.5])
    assert low < -0.5 and high > 0
    assert limits([]) == (pytest.approx(-0.012), pytest.approx(0.017))


def test_short_texts_share_lines_as_long_as_they_fit() -> None:
    assert in_lines(["a", "b", "cc"], lambda line: len(line) <= 5) == ["a   b", "cc"]
    assert in_lines([], lambda _: True) == []
    assert in_lines(["too long"], lambda _: False) == ["too long"]
