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
from .schedules import EXACT, Adaptive, Exact, Given, Schedule, TwoRate, parse_schedule, relative_change

__all__ = [
    "EVERY_STEP",
    "EXACT",
    "Adaptive",
    "Evaluation",
    "Exact",
    "Given",
    "RefreshAt",
    "RefreshEvery",
    "RefreshPolicy",
    "RefreshWhen",
    "Reuse",
    "Schedule",
    "TwoRate",
    "parse_refresh",
    "parse_schedule",
    "relative_change",
]
