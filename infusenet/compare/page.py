"""A comparison's page: every aligned face, sorted by likeness, and the lines that a likeness is held against."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from ..charts import Dots, strip_drawing, strip_in_words
from ..charts.labels import number
from ..files import Picture
from ..measures.baselines import LEAST_IMPOSTORS
from ..pages import render
from .results import NOT_BLANK, NOT_OTHERS, Comparison, Judge, Measured, PictureResult
from .tell import CAUTION, lines_of, reason_of, shown

FEW = 60
"""Up to so many pictures a page holds its images itself and shows each picture beside its face."""

Show = Callable[[Picture], str]
"""Where a page finds an image: a data address, or the name of a file that was written."""

COLOURS = {"pictures": "curve-1", "published": "curve-4", "genuine": "curve-3", "impostor": "quiet", "blank": "curve-2"}
"""The palette's names by kind of line, and of the pictures' own dots."""

FILES = (("compare.json", "all numbers on this page, for programs"), ("compare.csv", "one row per picture"))


def compare_page(comparison: Comparison, show: Show) -> str:
    """The page as HTML.

    Args:
        comparison: what was measured.
        show: gives the address of an image on the page; called once for each image that is shown.
    """
    judges = [comparison.first, *([comparison.second] if comparison.second is not None else [])]
    crowd = len(comparison.pictures) > FEW
    faceless = [result for result in comparison.unmeasured if result.thumb is not None and not crowd]
    return render(
        "compare.html",
        comparison=comparison,
        show=show,
        shown=shown,
        capital=capital,
        crowd=crowd,
        count=_count(len(comparison.measured), "picture"),
        lead=_lead(comparison),
        caution=CAUTION,
        tiles=_tiles(comparison.first),
        strips=[_strip(comparison, judge) for judge in judges],
        groups=[
            (verdict, list(results))
            for verdict, results in groupby(comparison.measured, lambda result: result.first.verdict or "")
        ],
        remarks=_remarks,
        faceless=faceless,
        unread=[(shown(each.path), reason_of(each)) for each in comparison.unmeasured if each not in faceless],
        reading=_reading(comparison),
        files=FILES,
        facts=_facts(comparison, judges),
    )


def capital(text: str) -> str:
    """A sentence from its first letter on."""
    return text[:1].upper() + text[1:]


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _lead(comparison: Comparison) -> str:
    judge, measured, total = comparison.first, len(comparison.measured), len(comparison.pictures)
    some = _count(total, "picture") if measured == total else f"{measured} of {_count(total, 'picture')}"
    be = "was" if measured == 1 else "were"
    return f"{some} {be} compared with {_count(judge.photos, 'photo')} of one person by {_short(judge)}."


def _short(judge: Judge) -> str:
    return judge.recognizer.split(" ")[0]


def _tiles(judge: Judge) -> list[tuple[str, float | None, str, str]]:
    """Colour, value, label and note of each line; those of other people and of no face even where unknown."""
    labels = {"published": "the makers' line", "blank": "no face at all"}
    notes = {"genuine": "their mean", "published": "for two photos of the same person"}
    return [
        (
            COLOURS[line.kind],
            line.value,
            labels.get(line.kind, line.name),
            line.words if line.value is None else notes.get(line.kind, "mean + 2 deviations"),
        )
        for line in lines_of(judge)
        if line.value is not None or line.kind in ("impostor", "blank")
    ]


def _strip(comparison: Comparison, judge: Judge) -> dict[str, object]:
    """One recognizer's dots: what it is called, the drawing, and what it shows in words."""
    first = judge is comparison.first
    measured = [result.first if first else result.second for result in comparison.pictures]
    values = [one.similarity for one in measured if one is not None and one.similarity is not None]
    kinds = [Dots("the pictures", COLOURS["pictures"], values)]
    if judge.genuine is not None:
        kinds.append(Dots("same person", COLOURS["genuine"], judge.genuine_scores, judge.genuine))
    if judge.impostor_scores:
        kinds.append(Dots("other people", COLOURS["impostor"], judge.impostor_scores, judge.impostor))
    if judge.blank is not None:
        kinds.append(Dots("no face at all", COLOURS["blank"], (), judge.blank))
    levels = [] if judge.published_line is None else [("the makers' line", judge.published_line)]
    return {"judge": _short(judge), "drawing": strip_drawing(kinds, levels), "words": strip_in_words(kinds)}


def _remarks(result: PictureResult) -> list[str]:
    """What stands below a face: the second recognizer's figure, and the copy-paste score; without one, the reason."""
    if result.first.similarity is None:
        return [reason_of(result)]
    remarks = [] if result.second is None else [f"second recognizer {_opinion(result.second)}"]
    if result.first.copy_paste is not None and result.first.verdict not in (NOT_OTHERS, NOT_BLANK):
        remarks.append(f"copy-paste {number(result.first.copy_paste)}")
    return remarks


def _opinion(second: Measured) -> str:
    return f"{number(second.similarity)}, {second.verdict}" if second.similarity is not None else second.reason or ""


def _reading(comparison: Comparison) -> list[str]:
    """What the figures mean, in words that follow from them."""
    judge = comparison.first
    texts = [
        "A likeness is the cosine between two faces as the recognizer sees them. It is 1 for the same picture and "
        "about 0 for faces with nothing in common. A picture without a confidently detected face has none.",
        "A picture counts as above a line if it is more than two standard deviations above the line's mean. “No "
        "face at all” is what sixteen fixed crops of grey, gradients and noise score against this reference. A "
        "likeness no higher than that says nothing.",
    ]
    if judge.impostor is None:
        few = len(judge.impostor_scores)
        lack = f"only {_count(few, 'face')} of other people could be measured" if few else "no other people were given"
        texts.append(
            f"What other people score against this person is unknown because {lack}. Give pictures of at least "
            f"{LEAST_IMPOSTORS} other people with --others. Without them, a high likeness may be what anybody would "
            "score."
        )
    if judge.published_line is not None:
        texts.append(
            f"The makers of the recognizer count two faces as the same person if they score "
            f"{judge.published_line:g} or more. That is their value for photographs. It was not measured here."
        )
    if comparison.other_photo is not None and judge.other_photo is not None:
        texts.append(
            "The copy-paste score asks whether a picture shows the person or repeats the photo. The other photo, "
            f"{shown(comparison.other_photo)}, has a likeness of {number(judge.other_photo)} to the reference. 0 "
            "means that a picture is equally close to both photos, as a new photo would be. 1 means that it is the "
            "reference photo again. Below 0, it is closer to the other photo. Pictures of somebody else get no "
            "score because it would mean nothing."
        )
    return texts


def _facts(comparison: Comparison, judges: list[Judge]) -> list[tuple[str, str]]:
    facts = [("Reference", ", ".join(map(shown, comparison.reference)))]
    for judge in judges:
        first = judge is comparison.first
        own = [
            ("recognizer", judge.recognizer),
            ("detector", judge.detector or "unnamed"),
            ("licence", judge.licence or "unknown"),
            ("rule", str(judge.rule)),
            *((line.name, line.words) for line in lines_of(judge) if line.words),
        ]
        facts += [(capital(name) if first else f"Second: {name}", text) for name, text in own]
    return [*facts, ("Versions", ", ".join(f"{name} {version}" for name, version in comparison.versions.items()))]
