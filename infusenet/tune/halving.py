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
"""Of the way from a mean to its interval's lower end, about one standard error: what a way must have to spare to be
chosen, or the one that was luckiest would be, and not hold up."""
FEW = 8
"""So many ways go on in any case: to look at a few more closely costs little."""

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

    After each round but the last a way goes that surely misses the target, that is slower than the reference, or that
    is not in the half of the round that is likeliest to be the answer. The reference is in every round.

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
        fates = _last_fates(standings, target) if last else _fates(standings, reference, target)
        entries |= {way: Entry(way, number, standings[way], fate) for way, fate in fates.items()}
        alive = [reference, *(way for way in alive if way != reference and (exhaustive or fates[way] == "meets"))]
    chosen = next((way for way, entry in entries.items() if entry.fate == "chosen"), None)
    if chosen != reference:
        entries[reference] = Entry(reference, len(rounds), entries[reference].standing, "reference")
    return Race(tuple(entries[way] for way in order), chosen)


def _fates(standings: Mapping[Way, Standing], reference: Way, target: Target) -> dict[Way, Fate]:
    """Who goes on ("meets") after a round that is not the last, and why the others do not."""
    slowest = standings[reference].cost * (1 + TIE)
    fates: dict[Way, Fate] = {
        way: "misses" if one.surely_misses(target) else "slower" if one.cost > slowest else "halved"
        for way, one in standings.items()
    }
    left = {way: standings[way] for way, fate in fates.items() if fate == "halved" and way != reference}
    chances = chances_to_win(left, target)
    places = max(math.ceil(len(standings) / 2), FEW)
    best = sorted(left, key=lambda way: -chances[way])[:places]
    return fates | dict.fromkeys(best, "meets")


def chances_to_win(standings: Mapping[Way, Standing], target: Target) -> dict[Way, float]:
    """How likely each way is the one to be found: that it meets the target, and none that is faster does.

    So what is fast and doubtful goes on, and what is slower and safe does, in case that all faster ones disappoint.
    """
    none_so_far, found = 1.0, dict[Way, float]()
    for way in sorted(standings, key=lambda way: (standings[way].cost, -standings[way].identity)):
        chance = standings[way].chance(target)
        found[way] = none_so_far * chance
        none_so_far *= 1 - chance
    return found


def _last_fates(standings: Mapping[Way, Standing], target: Target) -> dict[Way, Fate]:
    """Who is chosen, and why the others are not."""
    fates: dict[Way, Fate] = {
        way: "misses" if standing.misses(target, DOUBT) else "meets" for way, standing in standings.items()
    }
    chosen = choose({way: standing for way, standing in standings.items() if fates[way] == "meets"})
    return fates if chosen is None else {**fates, chosen: "chosen"}


def choose(standings: Mapping[Way, Standing]) -> Way | None:
    """The fastest; of those that are as fast within TIE the most alike. None of none."""
    if not standings:
        return None
    bound = min(one.cost for one in standings.values()) * (1 + TIE)
    return max((way for way, one in standings.items() if one.cost <= bound), key=lambda way: standings[way].identity)
