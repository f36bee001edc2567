"""What every adapter has: pictures in, a condition out, and a run in which the condition acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from ..errors import NotFiniteError, SettingsError
from ..files import Picture

if TYPE_CHECKING:
    from torch import Tensor

Branches = Literal["positive", "both"]
BRANCHES: tuple[Branches, ...] = get_args(Branches)
"""On which branches of true CFG an adapter may act; the original InfuseNet acts on the positive one."""


def check_branches(branches: str) -> str:
    """The same, if it is one of BRANCHES.

    Raises:
        SettingsError: it is not.
    """
    if branches not in BRANCHES:
        raise SettingsError(f"Expected branches from {', '.join(BRANCHES)}, got {branches!r}.")
    return branches


class Condition(Protocol):
    """What an adapter read off the reference pictures. It may hold personal data: it is never written to disk."""

    @property
    def recognizer(self) -> str | None:
        """The face network that read it, where one did: it must not be the one that measures."""


class Settings(Protocol):
    """What an adapter needs to know of a run: `infusenet.generate.GenerateRequest` has it."""

    @property
    def strength(self) -> float:
        """How much, 0 or more; at 0 the run is the plain backbone's."""

    @property
    def start(self) -> float:
        """Share of the run at which it sets in, 0..1."""

    @property
    def end(self) -> float:
        """Share of the run at which it ends, 0..1."""

    @property
    def branches(self) -> Branches:
        """Of true CFG, on which it acts: one of BRANCHES. An adapter that cannot do so raises SettingsError."""

    @property
    def refresh(self) -> str:
        """When what it adds is computed anew, see `speed.parse_refresh`. An adapter that keeps nothing ignores it."""

    @property
    def attention(self) -> str:
        """What becomes of the attention to it, see `guidance.notation`. An adapter without attention ignores it."""


class Adapter(Protocol):
    """How an identity, a style or an object gets into a run."""

    def encode(self, pictures: Sequence[Picture], *, face: str | int = "largest") -> Any:
        """Read the reference pictures.

        Args:
            pictures: RGB uint8 [H, W, 3], one or more.
            face: which face counts where a picture shows several; adapters that read no faces ignore it.

        Returns:
            A `Condition`.

        Raises:
            InfuseNetError: a picture cannot be used.
        """

    def control(self, pose: Picture, width: int, height: int) -> Picture:
        """What a photo that gives the pose becomes, RGB uint8 [height, width, 3].

        Raises:
            SettingsError: this adapter takes no pose.
        """

    def bind(self, pipeline: Any) -> None:
        """Put what acts during sampling on a loaded pipeline, in the transformer's device and dtype."""

    def acting(
        self, pipeline: Any, condition: Any, settings: Settings, control: Picture | None = None
    ) -> AbstractContextManager[Mapping[str, Any]]:
        """While it lasts, a call of the pipeline is conditioned; what was changed for it is put back afterwards.

        Args:
            pipeline: one that this adapter is bound to.
            condition: from `encode`.
            settings: strength and window.
            control: from `control`.

        Returns:
            Gives the arguments that the pipeline's call takes besides the usual ones.
        """


@dataclass(frozen=True)
class AdapterSpec:
    """An adapter that can be chosen by name.

    Attributes:
        name: its key in `ADAPTERS`.
        title: as users read it.
        parts: the weight files that it needs, by the names of their options; see `weights.catalogue`.
        families: of the backbones that it fits (`BackboneSpec.family`).
        load: (parts by name, face pack, device, dtype or None) -> Adapter. `bind` loads what acts during sampling.
        optional: further parts, without which some of its files do.
    """

    name: str
    title: str
    parts: tuple[str, ...]
    families: tuple[str, ...]
    load: Callable[[Mapping[str, Path], Path, str, Any], Adapter]
    optional: tuple[str, ...] = ()

    def check(self, family: str) -> None:
        """Raise SettingsError unless it fits a family of backbones."""
        if family not in self.families:
            raise SettingsError(
                f"{self.title} works with {' and '.join(self.families)}, not with {family}. Choose another backbone "
                "or another adapter."
            )


def finite(values: Tensor, what: str) -> Tensor:
    """The same values: once a run and never in its loop, since whoever asks waits for the device.

    Raises:
        NotFiniteError: one is NaN or infinite, which would be a black picture.
    """
    if not bool(values.isfinite().all()):
        raise NotFiniteError(
            f"NaN or infinity in the {what}, so the picture would be black. Try a smaller guidance, true CFG or "
            "strength, or bfloat16. If that does not help, the weights may be damaged."
        )
    return values
