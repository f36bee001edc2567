"""What a search for the fastest way is asked for, and how its people and prompts are parted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..backbones import BACKBONES, BackboneSpec, get_backbone
from ..errors import SettingsError
from ..speed import EXACT
from ..sweep.report.stats import LEAST_PEOPLE
from ..sweep.runner import Models
from ..sweep.spec import ROLES
from .standing import Target
from .ways import REFRESHES, STRENGTHS, Way, grid, reference_way, usual_ways

PROMPTS = (
    "a portrait of a person",
    "a photo of a person at the beach",
    "a professional photo of a person wearing a blue suit in a studio",
    "a watercolor painting of a person in the snow",
    "a photo of a surprised person wearing a red hoodie in a city at night",
    "a photo of a smiling person in a forest, warm light",
)
"""Where none are given: in words that the miniature knows too."""
DRAWN = 24  # people for the miniature, where no photos are given
FIRST_ROUND = 12  # pictures of each way, at least

T = TypeVar("T")


@dataclass(frozen=True)
class TuneRequest:
    """A search as asked for on the command line.

    Attributes:
        out: the folder to write; pictures that are there are not made again.
        models: what stands behind the roles.
        roles: backbones that are searched; shares are of the first one's own way.
        people: a folder of photos, one person a file or subfolder; drawn people by default, for the miniature.
        drawn: how many of these.
        prompts: in two parts, one to search on and one to verify on.
        target: what is wanted.
        steps, schedules: of the grid; without them the backbones' usual ones.
        refreshes, strengths: of the grid.
        exhaustive: every way on all pictures.
        device, dtype, offload, quiet: as a sweep's.
        command: how it was asked for, for the record.
    """

    out: Path
    models: Models = field(default_factory=Models)
    roles: tuple[str, ...] = ROLES
    people: Path | None = None
    drawn: int = DRAWN
    prompts: tuple[str, ...] = PROMPTS
    target: Target = field(default_factory=Target)
    steps: tuple[int, ...] = ()
    schedules: tuple[str, ...] = ()
    refreshes: tuple[str, ...] = REFRESHES
    strengths: tuple[float, ...] = STRENGTHS
    exhaustive: bool = False
    device: str = "auto"
    dtype: str | None = None
    offload: bool = False
    quiet: bool = False
    command: str = "infusenet tune"

    def __post_init__(self) -> None:
        """Raise SettingsError where nothing could be searched."""
        for name in ("roles", "prompts", "refreshes", "strengths"):
            if not getattr(self, name):
                raise SettingsError(f"Expected {name} to search, got none.")
        if self.drawn < 1:
            raise SettingsError(f"Expected 1 person or more, got {self.drawn}.")

    def spec_of(self, role: str) -> BackboneSpec:
        """The spec of a role's backbone; of weights given by a path the published one of the role."""
        name = self.models.backbones.get(role, role)
        return get_backbone(name if name in BACKBONES else f"flux-{role}")

    @property
    def reference(self) -> Way:
        """What shares are of."""
        return reference_way(self.roles[0], self.spec_of(self.roles[0]))

    @property
    def ways(self) -> list[Way]:
        """All that is searched, the reference first."""
        every = [way for role in self.roles for way in self._ways_of(role)]
        return list(dict.fromkeys([self.reference, *every]))

    def _ways_of(self, role: str) -> list[Way]:
        usual = usual_ways(role, self.spec_of(role), self.refreshes, self.strengths)
        if not self.steps and not self.schedules:
            return usual
        steps = self.steps or sorted({way.steps for way in usual})
        return grid(role, steps, self.refreshes, self.strengths, self.schedules or (str(EXACT),))


def parted(things: Sequence[T], every: int) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """What is searched on, and what is verified on: each so-manieth, or the last of fewer; all of one thing."""
    if len(things) < 2:
        return tuple(things), tuple(things)
    held_out = range(min(every, len(things)) - 1, len(things), every)
    return tuple(one for place, one in enumerate(things) if place not in held_out), tuple(things[i] for i in held_out)


def in_turn(people: Sequence[T], prompts: Sequence[str]) -> list[tuple[T, str]]:
    """Every person with every prompt, so that each beginning holds all people and all prompts about equally often."""
    count = len(prompts)
    return [(who, prompts[(turn + place) % count]) for turn in range(count) for place, who in enumerate(people)]


def rounds_of(pictures: int) -> list[int]:
    """Pictures of each way in each round: doubled from FIRST_ROUND or more up to all."""
    halvings = max(0, math.floor(math.log2(pictures / FIRST_ROUND))) if pictures else 0
    return [math.ceil(pictures / 2**left) for left in range(halvings, -1, -1)]


def too_few(people: int, held_out: int, shared: bool) -> list[str]:
    """What the number of people does not allow to say, in sentences."""
    enough = f"Give {2 * LEAST_PEOPLE} or more."
    if shared:
        return [f"With one person nobody is held out, so it is not known whether the recipe holds for others. {enough}"]
    found = []
    if people < LEAST_PEOPLE:
        found.append(f"{_count(people)} too few to search on: the choice is a guess. {enough}")
    if held_out < LEAST_PEOPLE:
        found.append(f"{_count(held_out)} too few to verify on: no interval can be given. {enough}")
    return found


def _count(people: int) -> str:
    return "1 person is" if people == 1 else f"{people} people are"
