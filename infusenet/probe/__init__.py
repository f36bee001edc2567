"""The probe: how much the denoised prediction looks like the person, step by step of one run."""

from .decode import as_pictures, vae_decoder
from .faces import DetectedFace, Recognizer, Reference
from .gallery import Gallery
from .recorder import KeptLatents, ProbeRecorder
from .records import Alignment, Baseline, ReferenceInfo, RunInfo, Status, StepRecord
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
    "RunInfo",
    "Status",
    "StepRecord",
    "Trace",
    "TraceError",
    "as_pictures",
    "vae_decoder",
]
