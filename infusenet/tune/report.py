"""What a search has found as files: recipe.json, ways.csv and tune.html with the Pareto figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..charts.labels import number
from ..charts.pareto import WayPoint, pareto_drawing
from ..files import write_atomically
from ..pages import readable, render
from .halving import DOUBT, Entry
from .recipe import Recipe
from .search import Found, Verified
from .standing import MEASURED_BY, Share, Standing
from .ways import Way

RECIPE, TABLE, PAGE, FIGURE = "recipe.json", "ways.csv", "tune.html", "pareto.png"
FATES = {
    "chosen": "chosen",
    "reference": "the reference",
    "meets": "meets the target, but is slower or less like the person",
    "misses": "misses the target, or nearly does",
    "slower": "slower than the reference",
    "halved": "unlikely to be the fastest that meets the target",
}
"""What became of a way, in words."""
SECONDS = (
    "From the prompt to the picture, with the models loaded; on a CPU, processor time, which other work hardly "
    "changes. For held-out pictures: medians, measured alternately. In the figure and the table: a fit to all "
    "pictures, with a cost per picture, per step and per use of InfuseNet for each backbone."
)
_SETTINGS = {field.name for field in fields(Way)}  # columns that the way's name tells too
TITLES = {"identity": "likeness", "prompt": "prompt following", "sharpness": "sharpness"}


def write(found: Found) -> str:
    """Write the files into the search's folder, and return what to tell the user.

    Where no way meets the target there is no recipe; an older one is removed.
    """
    out, recipe = found.request.out, recipe_of(found)
    if recipe is None:
        (out / RECIPE).unlink(missing_ok=True)
    else:
        recipe.save(out / RECIPE)
    rows = [_row(entry, found) for entry in found.race.entries]
    plot = pareto_drawing([_point(entry, found) for entry in found.race.entries], found.request.target.identity,
                          found.race.entry(found.request.reference).standing.cost)  # fmt: skip
    write_atomically(out / TABLE, to_csv(rows).encode())
    write_atomically(out / FIGURE, plot.light)
    write_atomically(out / PAGE, page(found, recipe, rows, plot).encode())
    lines = [*headline(found), *found.limits]
    lines += [f"Recipe: {out / RECIPE}"] if recipe else []
    return "\n".join([*lines, f"Table: {out / TABLE}", f"Open {out / PAGE} in a browser."])


def recipe_of(found: Found) -> Recipe | None:
    """The chosen way as a recipe; None where none was chosen."""
    way, verified = found.race.chosen, found.verified
    if way is None or verified is None:
        return None
    request, spec = found.request, found.request.spec_of(way.backbone)
    told = {
        "way": way.name,
        "reference": request.reference.name,
        "target": request.target.each,
        "searched": _told(found.race.entry(way).standing),
        "held_out": _told(verified.standing) | {"judge": verified.judge, "verdict": verified.verdict},
        "seconds": {"way": verified.seconds, "reference": verified.reference_seconds, "machine": found.machine},
        "people": [len(part) for part in found.people],
        "prompts": [len(part) for part in found.prompts],
        "limits": found.limits,
        "versions": dict(found.versions),
    }
    return Recipe(way.backbone, spec.family, spec.variant, way.steps, way.strength, way.refresh, way.schedule, told)


def headline(found: Found) -> list[str]:
    """The outcome in sentences."""
    chosen, reference = found.race.chosen, found.request.reference
    if chosen is None:
        nearest = min(found.race.entries, key=lambda entry: entry.standing.shortfall(found.request.target, DOUBT))
        lacks = " and ".join(TITLES.get(name, name) for name in nearest.standing.misses(found.request.target, DOUBT))
        return [
            f"None of the ways meets the target: the nearest, {nearest.way.name}, misses {lacks}. "
            "Ask for less, or try more ways."
        ]
    if chosen == reference or found.verified is None:
        return [f"Nothing faster than {reference.name} meets the target."]
    verified = found.verified
    times = verified.reference_seconds / verified.seconds
    sentence = f"{chosen.name}: {number(times)} times as fast as {reference.name}"
    return [f"{sentence} ({number(verified.seconds)} s a picture).", f"{held_out_words(found, verified)}"]


def held_out_words(found: Found, verified: Verified) -> str:
    """How the chosen way did on people and prompts that had no part in the choice."""
    people, prompts = len(found.people[1]), len(found.prompts[1])
    parts = [f"{TITLES[name]} {percent(share)}" for name, share in verified.standing.shares.items()]
    where = f"On {people} held-out people and {prompts} prompts it {verified.verdict}"
    return f"{where}: {', '.join(parts)} of the reference's."


def percent(share: Share) -> str:
    """A share with its interval, as text."""
    ends = "" if share.low is None or share.high is None else f" [{100 * share.low:.1f}, {100 * share.high:.1f}]"
    return f"{100 * share.mean:.1f} %{ends}"


def page(found: Found, recipe: Recipe | None, rows: list[dict[str, Any]], plot: Any) -> str:
    """The page as HTML."""
    header, cells = readable([{key: value for key, value in row.items() if key not in _SETTINGS} for row in rows])
    return render(
        "tune.html",
        found=found,
        headline=headline(found),
        tiles=_tiles(found),
        plot=plot,
        header=header,
        rows=cells,
        recipe=None if recipe is None else recipe.to_json(),
        file=RECIPE,
        facts=_facts(found),
    )


def to_csv(rows: list[dict[str, Any]]) -> str:
    """One row a way, in full precision; undefined is empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _row(entry: Entry, found: Found) -> dict[str, Any]:
    """A way's line of the table."""
    way, standing = entry.way, entry.standing
    steps, infusenet = way.calls
    row: dict[str, Any] = {"way": way.name, "fate": FATES[entry.fate], "seconds": standing.cost}
    for name in MEASURED_BY:
        share = standing.shares.get(name)
        row |= {f"{TITLES[name]} {part}".strip(): None if share is None else getattr(share, part or "mean")
                for part in ("", "low", "high")}  # fmt: skip
    row |= {"round": entry.round, "pictures": standing.pairs, "faces lost": standing.lost}
    return row | {"evaluations": steps, "InfuseNet computed": infusenet, **vars(way)}


def _point(entry: Entry, found: Found) -> WayPoint:
    share = entry.standing.shares.get("identity") or Share(0.0, None, None, 0, 0)
    named = entry.fate in ("chosen", "reference") or entry.way == found.request.reference
    meets = not entry.standing.misses(found.request.target, DOUBT)
    early = entry.round < max(each.round for each in found.race.entries)
    where = (entry.way.backbone, entry.standing.cost, share.mean, share.low, share.high)
    return WayPoint(*where, meets, early, entry.way.name if named else "")


def _told(standing: Standing) -> dict[str, Any]:
    """Shares for a recipe: mean and interval of each criterion."""
    return {name: {"mean": share.mean, "low": share.low, "high": share.high} for name, share in standing.shares.items()}


def _tiles(found: Found) -> list[tuple[str, float, str, str]]:
    """Colour, value, label and note of the large figures."""
    if (verified := found.verified) is None:
        return []
    tiles = [("curve-1", verified.reference_seconds / verified.seconds, "times as fast", "as the reference")]
    for name, share in verified.standing.shares.items():
        note = f"of the reference's, on held-out pictures; wanted {found.request.target.each[name]:.2f}"
        tiles.append(("curve-3" if share.mean >= found.request.target.each[name] else "curve-2", share.mean,
                      TITLES[name], note))  # fmt: skip
    return tiles


def _facts(found: Found) -> Mapping[str, str]:
    """What the page rests on."""
    target = ", ".join(f"{TITLES[name]} {100 * least:g} %" for name, least in found.request.target.each.items())
    people, prompts = found.people, found.prompts
    return {
        "Command": found.request.command,
        "Target": f"{target}, of {found.request.reference.name}; no more than 2 % of pictures may lose the face",
        "People": f"{len(people[0])} to search on, {len(people[1])} held out",
        "Prompts to search on": "; ".join(prompts[0]),
        "Held-out prompts": "; ".join(prompts[1]),
        "Judge of the held-out pictures": found.verified.judge if found.verified else "none was needed",
        "Seconds": f"{SECONDS} On {found.machine}.",
        "Versions": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        "Provenance": "every picture is AI-generated, and its metadata says so",
    }
