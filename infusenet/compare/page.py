"""A comparison's page: every aligned face, sorted by likeness, and the lines that a likeness is held against."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from itertools import groupby
from string import Template

from ..demo.page import STYLE, figure, pairs, tile
from ..demo.svg import Row, number, strip_chart
from ..files import Picture
from .measure import NOT_BLANK, NOT_OTHERS, Comparison, Judge, Measured, PictureResult
from .tell import CAUTION, lines_of, reason_of, shown

FEW = 60
"""Up to so many pictures a page holds its images itself and shows each picture beside its face."""

Show = Callable[[Picture], str]
"""Where a page finds an image: a data address, or the name of a file that was written."""

_MORE = """\
header.person { grid-template-columns: max-content 1fr; }
.crops { display: grid; grid-template-columns: repeat(var(--columns), 132px); gap: 8px; }
.caution { border-left: 3px solid var(--line); padding-left: 14px; font-size: 0.92rem; color: var(--soft); }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--wide, 228px), 1fr)); gap: 16px; }
.face { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px; min-width: 0;
  break-inside: avoid; }
.face .pair { gap: 8px; } .face .alone { grid-template-columns: 1fr; }
.face img { aspect-ratio: 1; object-fit: contain; }
.face p { margin: 8px 0 0; overflow-wrap: anywhere; font-size: 0.82rem; color: var(--soft); line-height: 1.4; }
.face .told { display: flex; justify-content: space-between; gap: 10px; align-items: baseline; }
.face .told span:first-child { overflow-wrap: anywhere; }
.face b { font-size: 1.15rem; font-weight: 620; color: var(--c, var(--ink)); font-variant-numeric: tabular-nums; }
.small { --wide: 150px; gap: 10px; }
.crowd { --wide: 124px; gap: 10px; } .crowd .face { padding: 8px; } .crowd .told { display: block; }
.crowd .face p { font-size: 0.74rem; } .crowd b { font-size: 1rem; display: block; }
h3 .count { color: var(--soft); font-weight: 400; }
h3.judge { margin-top: 6px; overflow-wrap: anywhere; }
@media (max-width: 720px) {
  header.person { grid-template-columns: 1fr; } .crops { grid-template-columns: repeat(auto-fill, 104px); }
  .faces { --wide: 150px; gap: 10px; } .crowd { --wide: 100px; } .face { padding: 8px; } }
@media print {
  .crops { grid-template-columns: repeat(var(--columns), 80px); } .faces { --wide: 40mm; gap: 6px; }
  .crowd { --wide: 22mm; }
  .face { padding: 6px; } .face p { font-size: 7pt; } .face b { font-size: 9pt; } }
"""

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="infusenet compare">
<title>Likeness: $count</title>
<style>
$style$more</style>
</head>
<body>
<main>
<header class="person">
$reference
<div>
<h1>How much like this person?</h1>
<p class="lead">$lead</p>
<p class="caution">A measurement. $caution</p>
$tiles
</div>
</header>
<section>
<h2>All pictures, and the lines they are held against</h2>
$charts
</section>
<section>
<h2>The faces, the most alike first</h2>
$faces
</section>
$unmeasured
<section>
<h2>What the figures mean</h2>
$reading
</section>
<section>
<h2>Files and facts</h2>
$facts
</section>
</main>
</body>
</html>
""")


def render(comparison: Comparison, show: Show) -> str:
    """The page as HTML.

    Args:
        comparison: what was measured.
        show: gives the address of an image on the page; called once for each image that is shown.
    """
    measured, total = len(comparison.measured), len(comparison.pictures)
    return _PAGE.substitute(
        count=_count(measured, "picture"),
        style=STYLE.read_text(encoding="utf-8"),
        more=_MORE,
        reference=_reference(comparison.first, show),
        lead=escape(_lead(comparison.first, measured, total)),
        caution=escape(CAUTION),
        tiles=_tiles(comparison.first),
        charts="\n".join(_chart(comparison, judge) for judge in _judges(comparison)),
        faces=_faces(comparison, show) or "<p>No picture could be measured.</p>",
        unmeasured=_unmeasured(comparison, show),
        reading="\n".join(f"<p>{escape(text)}</p>" for text in _reading(comparison)),
        facts=pairs(_FILES, "files") + pairs(_facts(comparison), "facts"),
    )


_FILES = (("compare.json", "every figure of this page, for programs"), ("compare.csv", "one row a picture"))


def _judges(comparison: Comparison) -> list[Judge]:
    return [comparison.first, *([comparison.second] if comparison.second is not None else [])]


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _lead(judge: Judge, measured: int, total: int) -> str:
    some = _count(total, "picture") if measured == total else f"{measured} of {_count(total, 'picture')}"
    be = "was" if measured == 1 else "were"
    return f"{some} {be} measured against {_count(judge.photos, 'photo')} of one person, by {_short(judge)}."


def _short(judge: Judge) -> str:
    return judge.recognizer.split(" ")[0]


def _image(picture: Picture, alt: str, show: Show) -> str:
    return f'<img alt="{escape(alt, quote=True)}" src="{escape(show(picture), quote=True)}">'


def _reference(judge: Judge, show: Show) -> str:
    crops = judge.crops[:6]
    images = "".join(_image(crop, "an aligned face of the reference", show) for crop in crops)
    caption = "<b>The reference</b><br>" + ("its aligned face" if len(judge.crops) == 1 else "its aligned faces")
    columns = min(len(crops), 2)
    return figure(f'<div class="crops" style="--columns: {columns}">{images}</div>', caption, "reference")


def _tiles(judge: Judge) -> str:
    colours = {"same person": "same", "published": "slow", "other people": "other", "blank": "quick"}
    tiles = []
    for name, value, words in lines_of(judge):
        if value is None and name in ("same person", "published"):
            continue
        note = {"same person": "their mean", "published": "for two photos of one person"}.get(
            name, "mean + 2 deviations"
        )
        label = {"published": "the makers' line", "blank": "no face at all"}.get(name, name)
        tiles.append(tile(colours[name], value, label, words if value is None else note))
    return f'<p class="kicker">What a likeness is held against</p>\n<div class="tiles">{"".join(tiles)}</div>'


def _chart(comparison: Comparison, judge: Judge) -> str:
    first = judge is comparison.first
    found = [result.first if first else result.second for result in comparison.pictures]
    values = [one.similarity for one in found if one is not None and one.similarity is not None]
    rows = [Row("the pictures", "slow", values)]
    if judge.genuine is not None:
        rows.append(Row("same person", "same", judge.genuine_scores, (judge.genuine.mean, judge.genuine.std)))
    if judge.impostor_scores:
        known = None if judge.impostor is None else (judge.impostor.mean, judge.impostor.std)
        rows.append(Row("other people", "other", judge.impostor_scores, known))
    if judge.blank is not None:
        rows.append(Row("no face at all", "quick", (), (judge.blank.mean, judge.blank.std)))
    lines = [] if judge.published_line is None else [(judge.published_line, "the makers' line")]
    title = "" if comparison.second is None else f'<h3 class="judge">By {escape(_short(judge))}</h3>'
    caption = (
        "Each dot is one picture; the bar is the mean, given at the right, the band two deviations to either side."
    )
    return title + figure(strip_chart(rows, lines), caption, "chart")


def _faces(comparison: Comparison, show: Show) -> str:
    measured = comparison.measured
    crowd = len(comparison.pictures) > FEW
    parts = []
    for verdict, group in groupby(measured, lambda result: result.first.verdict or ""):
        results = list(group)
        parts.append(f'<h3>{escape(_capital(verdict))} <span class="count">{len(results)}</span></h3>')
        cards = "".join(_card(result, comparison, show, crowd) for result in results)
        parts.append(f'<div class="faces{" crowd" * crowd}">{cards}</div>')
    return "\n".join(parts)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _card(result: PictureResult, comparison: Comparison, show: Show, crowd: bool) -> str:
    name = shown(result.path.name)
    pictures = [] if crowd or result.thumb is None else [_image(result.thumb, name, show)]
    if result.first.crop is not None:
        pictures.append(_image(result.first.crop, f"the aligned face of {name}", show))
    told = f'<span title="{escape(shown(result.path), quote=True)}">{escape(name)}</span>'
    more = "".join(f"<p>{escape(text)}</p>" for text in _more(result, comparison))
    return (
        f'<article class="face"><div class="pair{" alone" * (len(pictures) < 2)}">{"".join(pictures)}</div>'
        f'<p class="told">{told}<b class="slow">{number(result.first.similarity)}</b></p>{more}</article>'
    )


def _more(result: PictureResult, comparison: Comparison) -> list[str]:
    """What stands below a face: the second recognizer's figure, and the copy-paste score."""
    told = []
    if comparison.second is not None and result.second is not None:
        told.append(f"second recognizer {_opinion(result.second)}")
    if result.first.copy_paste is not None and result.first.verdict not in (NOT_OTHERS, NOT_BLANK):
        told.append(f"copy-paste {number(result.first.copy_paste)}")
    return told


def _opinion(found: Measured) -> str:
    return f"{number(found.similarity)}, {found.verdict}" if found.similarity is not None else found.reason or ""


def _unmeasured(comparison: Comparison, show: Show) -> str:
    left = comparison.unmeasured
    if not left and not comparison.notes:
        return ""
    seen = [result for result in left if result.thumb is not None]
    crowd = len(comparison.pictures) > FEW
    cards = "" if crowd else "".join(_blank_card(result, show) for result in seen)
    listed = [(shown(result.path), reason_of(result)) for result in left if crowd or result.thumb is None]
    parts = [f'<div class="faces small">{cards}</div>' if cards else "", pairs(listed, "files left") if listed else ""]
    parts += [f"<p>{escape(_capital(shown(note)))}</p>" for note in comparison.notes]
    return f"<section>\n<h2>What could not be measured</h2>\n{''.join(parts)}\n</section>"


def _blank_card(result: PictureResult, show: Show) -> str:
    name = shown(result.path.name)
    image = "" if result.thumb is None else _image(result.thumb, name, show)
    told = f'<span title="{escape(shown(result.path), quote=True)}">{escape(name)}</span>'
    return (
        f'<article class="face"><div class="pair alone">{image}</div><p class="told">{told}</p>'
        f"<p>{escape(reason_of(result))}</p></article>"
    )


def _reading(comparison: Comparison) -> list[str]:
    judge = comparison.first
    told = [
        "A likeness is the cosine between two faces as the recognizer sees them: 1 for the same picture, about 0 for "
        "faces that have nothing in common. A picture in which no face is seen with confidence has none.",
        "Above means higher than the mean of a line by more than two of its deviations. “No face at all” is what "
        "sixteen fixed crops of grey, gradients and noise score against this reference: a figure within it says "
        "nothing.",
    ]
    if judge.impostor is None:
        few = len(judge.impostor_scores)
        lack = f"only {_count(few, 'face')} of other people could be measured" if few else "no other people were given"
        told.append(
            f"What other people score against this person is unknown: {lack}. Give pictures of at least five with "
            "--others. Without them a high figure may still be what anybody scores."
        )
    if judge.published_line is not None:
        told.append(
            f"The makers of the recognizer call two faces one person's from {judge.published_line:g} on. That is their "
            "figure for photographs; it was not measured here."
        )
    if comparison.other_photo is not None and judge.other_photo is not None:
        told.append(
            f"The copy-paste score asks whether a picture shows the person or repeats the photo. The other photo, "
            f"{shown(comparison.other_photo)}, is {number(judge.other_photo)} alike to the reference. 0 means that a "
            "picture is as near to either photo, as a new photo would be; 1 that it is the reference photo again; "
            "below 0 it is nearer to the other photo. Of a picture that shows somebody else it says nothing: "
            "none is shown."
        )
    return told


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    facts = [("Reference", ", ".join(map(shown, comparison.reference)))]
    for place, judge in enumerate(_judges(comparison)):
        mark = "" if place == 0 else "Second: "
        facts += [
            (f"{mark}recognizer" if mark else "Recognizer", judge.recognizer),
            (f"{mark}detector" if mark else "Detector", judge.detector or "unnamed"),
            (f"{mark}licence" if mark else "Licence", judge.licence or "unknown"),
            (f"{mark}rule" if mark else "Rule", str(judge.rule)),
        ]
        facts += [(f"{mark}{name}" if mark else _capital(name), words) for name, _, words in lines_of(judge) if words]
    return [*facts, ("Versions", ", ".join(f"{name} {version}" for name, version in comparison.versions.items()))]
