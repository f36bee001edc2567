"""Decoupled guidance: text and identity are guided separately, each with its own weight, step by step.

After FastFace (https://arxiv.org/abs/2505.21144). A step's prediction is put together from up to three branches of the
network, which differ in whether they see the prompt and whether they see the identity (`CONTENTS`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..errors import SettingsError
from .attention import wide
from .schedules import SCHEDULES as SCHEDULES
from .schedules import as_weights, check_number
from .schedules import guidance_weights as guidance_weights

Kind = Literal["identity", "text-then-identity", "separate", "direction"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In FastFace's numbering types 3 (the method as published), 1 and 2. "direction" is ours."""

Third = Literal["negative", "identity", "full"]


class Contents(NamedTuple):
    """What a branch sees. Where it does not see the prompt it sees the negative one."""

    prompt: bool
    identity: bool


_PLAIN, _FACE, _TEXT, _BOTH = Contents(False, False), Contents(False, True), Contents(True, False), Contents(True, True)
CONTENTS: Mapping[Kind, Mapping[Third, Contents]] = {
    "identity": {"negative": _PLAIN, "identity": _FACE, "full": _BOTH},
    "text-then-identity": {"negative": _PLAIN, "identity": _TEXT, "full": _BOTH},
    "separate": {"negative": _PLAIN, "identity": _TEXT, "full": _FACE},
    "direction": {"negative": _TEXT, "full": _BOTH},
}
"""What each third of a kind sees, in the order of FastFace's batch. Pooled text follows the text."""


def decoupled_guidance(
    negative: Tensor,
    identity: Tensor | None,
    full: Tensor,
    a: float | Tensor,
    b: float | Tensor | None,
    *,
    rescale: float = 0.75,
    kind: Kind = "identity",
    renorm: bool | Literal["picture"] = False,
) -> Tensor:
    """Put one step's prediction together: p = u + a (e1 - u) + b (e2 - e1), then bring its spread back.

    With u, e1, e2 for the three predictions in order; "separate" has b (e2 - u), "direction" is u + a (e2 - u). With
    a = b = 1 and rescale 0 the result is `full` to the last bit (but for "separate", which has no branch that sees
    both, and under `renorm`). With another rescale it is not: the spread still moves towards the mean of two.

    Args:
        negative: u, [B, ...], noise or velocity. What each of the three sees: `CONTENTS`.
        identity: e1, as `negative`. "direction" ignores it.
        full: e2, as `negative`.
        a: weight of the first difference, a number, or a tensor of one value or of one a picture, [B].
        b: weight of the second, likewise. "direction" ignores it.
        rescale: share, 0..1, by which p is scaled, its mean too, so that its standard deviation in each picture becomes
            the mean of those of e1 and e2 (of e2 alone for "direction").
        kind: one of `KINDS`.
        renorm: gives the second difference the length of the first. True takes the lengths over the whole batch, as
            the original does, so that pictures change each other; "picture" over each picture.

    Returns:
        [B, ...] in `full`'s dtype; the sums are made in float32 at least.

    Raises:
        SettingsError: an unknown kind, weights that are missing or not finite, or tensors that do not match.
    """
    _check(negative, identity, full, a, b, rescale, kind, renorm)
    u, e2 = wide(negative), wide(full)
    weight_a = _per_picture(a, e2)
    if kind == "direction" or identity is None or b is None:
        guided, models = e2 + (weight_a - 1) * (e2 - u), [e2]
    else:
        e1, weight_b = wide(identity), _per_picture(b, e2)
        first, second = e1 - u, e2 - (u if kind == "separate" else e1)
        if renorm:
            second = second * _ratio(_length(first, renorm), _length(second, renorm))
        if renorm or kind == "separate":
            guided = u + weight_a * first + weight_b * second
        else:  # the same sum, counted from e2: with a = b = 1 nothing is added to it
            guided = e2 + (weight_a - 1) * first + (weight_b - 1) * second
        models = [e1, e2]
    if rescale:
        target = sum(_spread(model) for model in models) / len(models)
        guided = guided * (rescale * _ratio(target, _spread(guided)) + (1 - rescale))
    return guided.to(full.dtype)


@dataclass(frozen=True)
class Decoupled:
    """A run's guidance: its kind, and its weights step by step. The defaults are FastFace's published ones, of 4 steps.

    Attributes:
        kind: one of `KINDS`.
        a: weight of the first difference at each step; the last value goes on.
        b: weight of the second; "direction" ignores it.
        rescale: see `decoupled_guidance`.

    Raises:
        SettingsError: an unknown kind, no weights, or values that cannot be meant.
    """

    kind: Kind = "identity"
    a: Sequence[float] = (1.0, 1.5, 1.5, 1.0)
    b: Sequence[float] = (1.0, 3.0, 3.0, 1.0)
    rescale: float = 0.75

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        _check_rescale(self.rescale)
        for name in ("a", "b"):
            object.__setattr__(self, name, as_weights(getattr(self, name), name))

    def __str__(self) -> str:
        weights = {"a": self.a} if self.kind == "direction" else {"a": self.a, "b": self.b}
        words = [f"{name}={','.join(f'{value:g}' for value in values)}" for name, values in weights.items()]
        return " ".join([self.kind, *words, f"rescale={self.rescale:g}"])

    @property
    def neutral(self) -> bool:
        """Whether every step's prediction is the full branch's own, so that no other is needed."""
        return all(self.neutral_at(step) for step in range(max(len(self.a), len(self.b))))

    @property
    def contents(self) -> Mapping[Third, Contents]:
        """What each third sees."""
        return CONTENTS[self.kind]

    @property
    def branches(self) -> tuple[Third, ...]:
        """The thirds that a run needs, in order; see `CONTENTS` for what each sees."""
        return ("full",) if self.neutral else tuple(self.contents)

    def at(self, step: int) -> tuple[float, float]:
        """(a, b) at a step, counted from 0."""
        return self.a[min(step, len(self.a) - 1)], self.b[min(step, len(self.b) - 1)]

    def neutral_at(self, step: int) -> bool:
        """Whether the full branch alone is this step's prediction."""
        a, b = self.at(step)
        return self.kind != "separate" and self.rescale == 0 and a == 1 and (b == 1 or self.kind == "direction")

    def branches_at(self, step: int) -> tuple[Third, ...]:
        """The thirds that a step needs, in order."""
        return ("full",) if self.neutral_at(step) else tuple(self.contents)

    def combine(self, step: int, thirds: Mapping[Third, Tensor]) -> Tensor:
        """A step's prediction from the thirds that `branches_at` names, each [B, ...]."""
        if self.neutral_at(step):
            return thirds["full"]
        a, b = self.at(step)
        first = thirds.get("identity")
        return decoupled_guidance(thirds["negative"], first, thirds["full"], a, b, rescale=self.rescale, kind=self.kind)

    def shortage(self, steps: int) -> str | None:
        """What to tell of weights that end before a run of so many steps does; None if there is nothing to tell."""
        used = {"a": self.a} if self.kind == "direction" else {"a": self.a, "b": self.b}
        short = [f"{name} has {len(values)}" for name, values in used.items() if 1 < len(values) < steps]
        return f"{' and '.join(short)} weights for {steps} steps: the last one is repeated." if short else None

    @property
    def needs_negative(self) -> bool:
        """Whether a branch sees the negative prompt."""
        return not all(self.contents[third].prompt for third in self.branches)

    def notices(self, steps: int, *, negative: bool, instead_of: Sequence[str] = ()) -> list[str]:
        """What to tell of a run's settings that do nothing beside it, in sentences.

        Args:
            steps: of the run.
            negative: whether a negative prompt was given.
            instead_of: settings of true CFG that were given, by name.
        """
        short = self.shortage(steps)
        idle = [f"Decoupled guidance replaces true CFG, so {name} has no effect." for name in instead_of]
        if negative and not self.needs_negative:
            idle.append(f"With guidance {self}, the negative prompt has no effect.")
        return [*([] if short is None else [short]), *idle]


# -- the checks, and arithmetic of one line --------------------------------------------------------------------------


def _check(
    negative: Tensor, identity: Tensor | None, full: Tensor, a: Any, b: Any, rescale: float, kind: Kind, renorm: Any
) -> None:
    _check_kind(kind)
    _check_rescale(rescale)
    if renorm not in (False, True, "picture"):
        raise SettingsError(f'Expected renorm as False, True or "picture", got {renorm!r}.')
    if kind != "direction":
        if identity is None:
            raise SettingsError(f"The kind {kind!r} needs the identity branch's prediction; only 'direction' does not.")
        check_number(b, "b")
    check_number(a, "a")
    for name, third in (("negative", negative), ("identity", identity)):
        if third is not None and name in CONTENTS[kind] and third.shape != full.shape:
            shapes = f"{tuple(third.shape)} and {tuple(full.shape)}"
            raise SettingsError(f"Expected all branches to have the same shape, got {shapes} ({name} and full).")


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise SettingsError(f"Unknown kind of guidance {kind!r}. Known: {', '.join(KINDS)}.")


def _check_rescale(rescale: float) -> None:
    if not 0 <= rescale <= 1:  # NaN fails too
        raise SettingsError(f"Expected rescale between 0 (none) and 1 (whole), got {rescale}.")


def _per_picture(weight: float | Tensor, like: Tensor) -> Any:
    """A weight that multiplies [B, ...]: a number, or one value a picture on its axis."""
    if not isinstance(weight, Tensor):
        return float(weight)
    if weight.numel() not in (1, len(like)):
        raise SettingsError(f"Expected one weight, or one for each of {len(like)} pictures, got {weight.numel()}.")
    return weight.to(like).reshape(-1, *[1] * (like.ndim - 1))


def _spread(values: Tensor) -> Tensor:
    """Unbiased standard deviation of each picture, [B, 1, ...]."""
    return values.std(dim=tuple(range(1, values.ndim)), keepdim=True)


def _length(values: Tensor, over: bool | str) -> Tensor:
    if over == "picture":
        return values.flatten(1).norm(dim=1).view(-1, *[1] * (values.ndim - 1))
    return values.norm()


def _ratio(over: Any, under: Tensor) -> Tensor:
    """over / under; 1 where under is 0, so that what has no spread or length is left alone."""
    return torch.where(under > 0, over / under, 1.0)
