"""Savings of time as pure policies: when InfuseNet is computed anew, and at which noise levels a run looks."""

from .refresh import (
    EVERY_STEP,
    Evaluation,
    RefreshAt,
    RefreshEvery,
    RefreshPolicy,
    RefreshWhen,
    Reuse,
    parse_refresh,
)

__all__ = [
    "EVERY_STEP",
    "Evaluation",
    "RefreshAt",
    "RefreshEvery",
    "RefreshPolicy",
    "RefreshWhen",
    "Reuse",
    "parse_refresh",
]
