"""A recipe: the way that a search has found, as a file that `generate`, `sweep` and a node apply."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..files import write_atomically
from ..speed import EVERY_STEP, EXACT, parse_refresh, parse_schedule

FORMAT = "infusenet recipe 1"
MOST_BYTES = 1_000_000
_TEXTS = dict.fromkeys(("backbone", "family", "variant", "refresh", "schedule"), str)
_KINDS: dict[str, Any] = {**_TEXTS, "steps": int, "strength": (int, float), "found": dict}


@dataclass(frozen=True)
class Recipe:
    """How pictures are to be made.

    Attributes:
        backbone: what the search called its backbone: a role such as "dev", or a name of BACKBONES.
        family, variant: of the backbones that it is for, as in `BackboneSpec`.
        steps: 1 or more.
        strength: of the adapter, 0 or more.
        refresh: when InfuseNet is computed anew, see `speed.parse_refresh`.
        schedule: what becomes of the steps' noise levels, see `speed.parse_schedule`.
        found: what the search says of it, for people to read: target, shares, seconds, machine, whether it held up.
    """

    backbone: str
    family: str
    variant: str
    steps: int
    strength: float = 1.0
    refresh: str = str(EVERY_STEP)
    schedule: str = str(EXACT)
    found: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise SettingsError where a value cannot be meant."""
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise SettingsError(f"recipe: {name} is {value!r:.60}, which cannot be right. {_AGAIN}")
        if not 1 <= self.steps <= 10_000 or not 0 <= self.strength <= 1000:  # NaN fails too
            raise SettingsError(f"recipe: {self.steps} steps at strength {self.strength} cannot be right. {_AGAIN}")
        parse_refresh(self.refresh)
        parse_schedule(self.schedule)

    def check(self, family: str, variant: str) -> None:
        """Raise SettingsError where a backbone is not of the kind that it was made for."""
        if (family, variant) != (self.family, self.variant):
            raise SettingsError(
                f"This recipe was made for {self.family} {self.variant}, but this backbone is {family} {variant}. "
                f"Load a {self.family} {self.variant}, or tune again with this one."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What it sets of a request, by the names of `GenerateRequest`."""
        return {name: getattr(self, name) for name in ("steps", "strength", "refresh", "schedule")}

    def method(self) -> dict[str, Any]:
        """The same as a method of a sweep's specification."""
        return {"label": "recipe", "backbone": self.backbone, **self.settings}

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the file; it appears whole or not at all."""
        write_atomically(path, self.to_json().encode())

    @classmethod
    def from_json(cls, text: str | bytes) -> Recipe:
        """From a file's text; what a later version adds is left out.

        Raises:
            SettingsError: it is no recipe, or a value cannot be meant.
        """
        try:
            data = json.loads(text, parse_constant=lambda _: math.nan)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise SettingsError(f"This is not a recipe: expected JSON with the format {FORMAT!r}. {_AGAIN}")
        names = [each.name for each in fields(cls)]
        if missing := [name for name in ("backbone", "family", "variant", "steps") if name not in data]:
            raise SettingsError(f"recipe: {', '.join(missing)} is missing. {_AGAIN}")
        return cls(**{name: data[name] for name in names if name in data})

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """From a file.

        Raises:
            SettingsError: it cannot be read, or holds no recipe.
        """
        try:
            with path.open("rb") as file:
                text = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise SettingsError(
                f"{path} cannot be read ({error.strerror}). Give the recipe.json from infusenet tune."
            ) from None
        if len(text) > MOST_BYTES:
            raise SettingsError(f"{path} is too large for a recipe. Give the recipe.json from infusenet tune.")
        try:
            return cls.from_json(text)
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from None


_AGAIN = "Use the recipe.json from infusenet tune."
