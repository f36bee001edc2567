"""Successive halving: all ways on a few pictures, the better half on more, until one is left to be chosen.

Pure: what makes and measures pictures is a function that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .standing import Standing, Target
from .ways import Way

TIE = 0.03
"""Ways whose costs differ by no more than this share take equally long: clocks are not better. The most alike wins."""

DOUBT = 0.5
"""What of the way to its interval's upper end a mean is given before ways are ranked: about one standard error."""

Look = Callable[[Sequence[Way], int], Mapping[Way, Standing]]
"""(ways, pictures of each) -> how each stands after so many."""

Fate = Literal["chosen", "reference", "misses", "slower", "halved", "meets"]


@dataclass(frozen=True)
class Entry:
    """What became of a way.

    Attributes:
        round: the last one it was in, from 1.
        standing: how it stood there.
        fate: why it went no further; "meets" where it was in the last round and met the target, and was not chosen.
    """

    way: Way
    round: int
    standing: Standing
    fate: Fate


@dataclass(frozen=True)
class Race:
    """A finished search: every way's entry, in the order given, and the chosen one, None where none meets it."""

    entries: tuple[Entry, ...]
    chosen: Way | None

    def entry(self, way: Way) -> Entry:
        """A way's."""
        return next(entry for entry in self.entries if entry.way == way)


def race(
    ways: Sequence[Way], reference: Way, look: Look, rounds: Sequence[int], target: Target, *, exhaustive: bool = False
) -> Race:
    """Find the fastest way that meets a target.

    After each round but the last a way goes that surely misses the target, that is slower than one which surely meets
    it, or that stands in the worse half of all that were in the round. The reference is in every round.

    Args:
        ways: candidates, each once.
        reference: what shares are of; a candidate too.
        look: makes and measures pictures. The n + m pictures of a later round hold the n of the one before.
        rounds: pictures of each way, rising.
        target: what is wanted.
        exhaustive: no way goes before the last round.
    """
    alive, entries = list(dict.fromkeys([reference, *ways])), dict[Way, Entry]()
    order = list(dict.fromkeys([*ways, reference]))
    for number, pictures in enumerate(rounds, 1):
        standings = look(alive, pictures)
        last = number == len(rounds)
        fates = _last_fates(standings, target) if last else _fates(standings, target, halving=not exhaustive)
        entries |= {way: Entry(way, number, standings[way], fate) for way, fate in fates.items()}
        alive = [reference, *(way for way in alive if way != reference and (exhaustive or fates[way] == "meets"))]
    chosen = next((way for way, entry in entries.items() if entry.fate == "chosen"), None)
    if chosen != reference:
        entries[reference] = Entry(reference, len(rounds), entries[reference].standing, "reference")
    return Race(tuple(entries[way] for way in order), chosen)


def _fates(standings: Mapping[Way, Standing], target: Target, *, halving: bool) -> dict[Way, Fate]:
    """Who goes on ("meets") after a round that is not the last, and why the others do not."""
    sure = [one.cost for one in standings.values() if one.surely_meets(target)]
    bound = min(sure, default=math.inf) * (1 + TIE)
    fates: dict[Way, Fate] = {}
    for way, standing in standings.items():
        fates[way] = "misses" if standing.surely_misses(target) else "slower" if standing.cost > bound else "meets"
    if halving:
        on = [way for way, fate in fates.items() if fate == "meets"]
        ranked = sorted(on, key=lambda way: _rank(standings[way], target))
        kept = set(ranked[: math.ceil(len(standings) / 2)])
        kept |= {way for way in on if standings[way].surely_meets(target)}  # what others were held against stays
        fates |= {way: "halved" for way in on if way not in kept}
    return fates


def _rank(standing: Standing, target: Target) -> tuple[float, float, float]:
    """The better the smaller: those that may meet the target, the fastest first; then those that lack the least."""
    lacks = standing.shortfall(target, DOUBT)
    return lacks, 0.0 if lacks else standing.cost, -standing.identity


def _last_fates(standings: Mapping[Way, Standing], target: Target) -> dict[Way, Fate]:
    """Who is chosen, and why the others are not."""
    fates: dict[Way, Fate] = {
        way: "misses" if standing.misses(target) else "meets" for way, standing in standings.items()
    }
    chosen = choose({way: standing for way, standing in standings.items() if fates[way] == "meets"})
    return fates if chosen is None else {**fates, chosen: "chosen"}


def choose(standings: Mapping[Way, Standing]) -> Way | None:
    """The fastest; of those that are as fast within TIE the most alike. None of none."""
    if not standings:
        return None
    bound = min(one.cost for one in standings.values()) * (1 + TIE)
    return max((way for way, one in standings.items() if one.cost <= bound), key=lambda way: standings[way].identity)
