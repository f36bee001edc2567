"""Measures: how alike pictures are to a reference. One rule, used wherever a likeness is stated."""

from .base import (
    LEAST_IMPOSTORS,
    Alignment,
    Baseline,
    Measure,
    Reader,
    Reading,
    ReferenceData,
    ReferenceInfo,
    Rule,
    comparable,
)
from .faces import DetectedFace, FaceMeasure, Recognizer, as_measure, impostors, measure_of
from .reference import Reference

__all__ = [
    "LEAST_IMPOSTORS",
    "Alignment",
    "Baseline",
    "DetectedFace",
    "FaceMeasure",
    "Measure",
    "Reader",
    "Reading",
    "Recognizer",
    "Reference",
    "ReferenceData",
    "ReferenceInfo",
    "Rule",
    "as_measure",
    "comparable",
    "impostors",
    "measure_of",
]
