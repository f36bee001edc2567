"""A step's branches: what each sees, what the UNet is given for them, and how they make one prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ...guidance.decoupled import Contents, Third


class Guidance(Protocol):
    """How branches make one prediction: `Decoupled`, or `TrueCfg`."""

    @property
    def contents(self) -> Mapping[Third, Contents]:
        """What each branch sees."""

    @property
    def needs_negative(self) -> bool:
        """Whether a branch sees the negative prompt."""

    def branches_at(self, step: int) -> tuple[Third, ...]:
        """The branches that a step needs."""

    def combine(self, step: int, thirds: Mapping[Third, Tensor]) -> Tensor:
        """A step's prediction."""


@dataclass(frozen=True)
class TrueCfg:
    """Ordinary guidance: negative + scale (full - negative). With scale 1 there is one branch.

    Attributes:
        scale: the guidance.
        both: whether the negative branch sees the identity too.
    """

    scale: float
    both: bool = False

    @property
    def contents(self) -> Mapping[Third, Contents]:
        """What each branch sees."""
        return {"negative": Contents(False, self.both), "full": Contents(True, True)}

    @property
    def needs_negative(self) -> bool:
        """Whether a branch sees the negative prompt."""
        return self.scale != 1

    def branches_at(self, step: int) -> tuple[Third, ...]:
        """The branches that a step needs."""
        return ("full",) if self.scale == 1 else ("negative", "full")

    def combine(self, step: int, thirds: Mapping[Third, Tensor]) -> Tensor:
        """A step's prediction."""
        if self.scale == 1:
            return thirds["full"]
        return thirds["negative"] + self.scale * (thirds["full"] - thirds["negative"])


@dataclass
class Inputs:
    """What a call's branches are made of.

    Attributes:
        text: (embeddings [B, tokens, dim], pooled [B, dim]) with the prompt, and with the negative one where a branch
            sees it.
        tokens: identity tokens [B, 4, dim] of the person, and of nobody; None for the plain backbone.
        time_ids: size conditions, [B, 6], the same for all branches.
    """

    text: Mapping[bool, tuple[Tensor, Tensor]]
    tokens: Mapping[bool, Tensor] | None
    time_ids: Tensor

    def of(self, branches: Sequence[Contents]) -> dict[str, Any]:
        """The UNet's arguments for these branches, one after the other in the batch."""
        texts, pooled = (torch.cat([self.text[branch.prompt][part] for branch in branches]) for part in (0, 1))
        states: Any = texts
        if self.tokens is not None:
            states = (texts, [torch.cat([self.tokens[branch.identity] for branch in branches])[:, None]])
        added = {"text_embeds": pooled, "time_ids": self.time_ids.repeat(len(branches), 1)}
        return {"encoder_hidden_states": states, "added_cond_kwargs": added, "return_dict": False}
