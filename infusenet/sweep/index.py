"""One page that leads to the pages of several sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from ..files import write_atomically
from ..pages import render
from .plan import load_plan

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="infusenet sweep">
<title>The paper's experiments</title>
<style>
$style.sweeps { display: grid; gap: 18px; padding: 0; list-style: none; max-width: 76ch; }
.sweeps a { color: inherit; font-weight: 620; font-size: 1.1rem; } .sweeps p { margin: 2px 0 0; color: var(--quiet); }
</style>
</head>
<body>
<main>
<h1>The paper's experiments</h1>
<p class="lead">$count sweeps, each on a page of its own: figures with intervals, their numbers, the paper's beside.</p>
<ol class="sweeps">$items</ol>
</main>
</body>
</html>
""")


def write_index(out: Path, names: Sequence[str]) -> Path:
    """Write index.html.

    Args:
        out: the folder that holds the sweeps' folders.
        names: these folders, in order.

    Returns:
        The page.
    """
    items = []
    for name in names:
        told = load_plan(out / name).data
        link = f'<a href="{escape(name, quote=True)}/report.html">{escape(told["title"])}</a>'
        items.append(f"<li>{link}<p>{escape(told['about'])}</p></li>")
    style = render("colours.css") + render("style.css")
    text = _PAGE.substitute(style=style, count=len(names), items="\n".join(items))
    write_atomically(out / "index.html", text.encode())
    return out / "index.html"
