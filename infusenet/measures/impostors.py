"""What others score against a reference: the line that a likeness must be above to mean something."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Measure, Pixels, ReferenceData
from .baselines import LEAST_IMPOSTORS, Baseline


def impostors(
    measure: Measure, references: Sequence[ReferenceData], pictures: Sequence[Pixels]
) -> tuple[Baseline | None, int]:
    """What other people, or other pictures, score against all of several references.

    Args:
        measure: the rule. One that has a method `against(pictures, references)` looks at each picture once.
        references: one or more.
        pictures: RGB uint8 [H, W, 3] of something else; those in which nothing is seen are left out.

    Returns:
        The line (None with fewer than five: unknown), and how many pictures had a value.
    """
    if measure.rule.subject == "prompt":  # its reference is no picture that another could be taken for
        return None, 0
    against = getattr(measure, "against", None)
    groups = against(pictures, references) if against else [measure.read(pictures, one) for one in references]
    scores = [[one.similarity for one in group if one.similarity is not None] for group in groups]
    count = min(map(len, scores))
    return (None if count < LEAST_IMPOSTORS else Baseline.pooled([Baseline.of(group) for group in scores])), count
