"""Measures: how alike pictures are to a reference. One rule, used wherever a likeness is stated."""

from .base import Alignment, Measure, Reader, Reading, ReferenceData, ReferenceInfo, Rule, comparable
from .baselines import LEAST_IMPOSTORS, Baseline, impostors
from .faces import FaceMeasure, as_measure, measure_of
from .recognizer import DetectedFace, Recognizer
from .reference import Reference
from .registry import MEASURES, MeasureSpec, get_measure
from .whole import PictureMeasure, PromptMeasure

__all__ = [
    "LEAST_IMPOSTORS",
    "MEASURES",
    "Alignment",
    "Baseline",
    "DetectedFace",
    "FaceMeasure",
    "Measure",
    "MeasureSpec",
    "PictureMeasure",
    "PromptMeasure",
    "Reader",
    "Reading",
    "Recognizer",
    "Reference",
    "ReferenceData",
    "ReferenceInfo",
    "Rule",
    "as_measure",
    "comparable",
    "get_measure",
    "impostors",
    "measure_of",
]
