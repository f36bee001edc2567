"""From pictures to faces: find them, align them, say who they are. Nothing here conditions a run.

The recognizer that measures (`FaceRecognizer`) must not be the one that conditions (an adapter's own, such as
InfuseNet's IR-SE50), or the measurement would be circular.
"""

from .align import draw_kps, face_pose, norm_crop, resize_and_pad
from .detect import Face, FaceDetector
from .recognize import FaceRecognizer
from .turns import Upright, upright

__all__ = [
    "Face",
    "FaceDetector",
    "FaceRecognizer",
    "Upright",
    "draw_kps",
    "face_pose",
    "norm_crop",
    "resize_and_pad",
    "upright",
]
