"""The probe: how much the denoised prediction looks like the person, step by step of one run."""

from ..measures import Alignment, Baseline, DetectedFace, Recognizer, Reference, ReferenceInfo, Rule
from .decode import as_pictures, vae_decoder
from .gallery import Gallery
from .recorder import KeptLatents, ProbeRecorder
from .records import RunInfo, Status, StepRecord
from .trace import Trace, TraceError

__all__ = [
    "Alignment",
    "Baseline",
    "DetectedFace",
    "Gallery",
    "KeptLatents",
    "ProbeRecorder",
    "Recognizer",
    "Reference",
    "ReferenceInfo",
    "Rule",
    "RunInfo",
    "Status",
    "StepRecord",
    "Trace",
    "TraceError",
    "as_pictures",
    "vae_decoder",
]
