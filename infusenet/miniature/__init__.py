"""The miniature: the whole system in small, trained on drawn faces, shipped in the package. Runs offline on a CPU.

Paths only; nothing heavy is imported here. `faces` draws people and scenes, `captions` writes what they show,
`networks` states the architectures, and `python -m infusenet.miniature.train` makes the weights anew.

Three recognizers tell faces apart, and none of them shares training people with another: `ARCFACE` conditions,
the one in `FACE_PACK` measures (and may choose: pictures, settings), `JUDGING_RECOGNIZER` judges what was chosen so.
`JUDGE` is none of them: it reads scene and style.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..faces import FaceRecognizer

WEIGHTS = Path(__file__).parent / "weights"
BACKBONES = {"mini-dev": WEIGHTS / "mini-dev", "mini-schnell": WEIGHTS / "mini-schnell"}
INFUSENET = WEIGHTS / "InfuseNetModel"
IMAGE_PROJ = WEIGHTS / "image_proj_model.safetensors"
ARCFACE = WEIGHTS / "arcface_ir_se.safetensors"
FACE_PACK = WEIGHTS / "face_pack"
MINI_SDXL = WEIGHTS / "mini-sdxl"  # a StableDiffusionXLPipeline's folder
FACEID = WEIGHTS / "ip-adapter-faceid_mini-sdxl.safetensors"  # as h94's, learnt on mini-sdxl alone
FEW_STEP_LORA = WEIGHTS / "mini-sdxl_4steps_lora.safetensors"  # kohya's keys; DDIM, trailing, no guidance
SDXL = {"mini-sdxl": MINI_SDXL, "mini-sdxl-4step": MINI_SDXL}
PARTS = {
    "infusenet": INFUSENET,
    "image_proj": IMAGE_PROJ,
    "arcface": ARCFACE,
    "face_pack": FACE_PACK,
    "ip_adapter": FACEID,
    "id_recognizer": ARCFACE,
    "mini_sdxl_lora": FEW_STEP_LORA,
}
JUDGING_RECOGNIZER = WEIGHTS / "judging" / "rec_judge.onnx"
JUDGE = WEIGHTS / "judge.safetensors"

__all__ = [
    "ARCFACE",
    "BACKBONES",
    "FACEID",
    "FACE_PACK",
    "FEW_STEP_LORA",
    "IMAGE_PROJ",
    "INFUSENET",
    "JUDGE",
    "JUDGING_RECOGNIZER",
    "MINI_SDXL",
    "PARTS",
    "SDXL",
    "WEIGHTS",
    "judging_recognizer",
]


def judging_recognizer(*, device: str = "cpu") -> FaceRecognizer:
    """The recognizer that judges, on the face pack's detector: what one recognizer chose, the other judges.

    Args:
        device: "cpu", "cuda", "cuda:N" or "auto".

    Raises:
        PackageError: insightface or onnxruntime is missing or broken.
        SettingsError: unknown device.
    """
    from ..faces.recognize import FaceRecognizer

    return FaceRecognizer.from_files(FACE_PACK / "det_mini.onnx", JUDGING_RECOGNIZER, device=device)
