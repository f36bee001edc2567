"""The miniature: the whole system in small, trained on drawn faces, shipped in the package. Runs offline on a CPU.

Paths only; nothing heavy is imported here. `faces` draws people and scenes, `captions` writes what they show,
`networks` states the architectures, and `python -m infusenet.miniature.train` makes the weights anew.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
BACKBONES = {"mini-dev": WEIGHTS / "mini-dev", "mini-schnell": WEIGHTS / "mini-schnell"}
INFUSENET = WEIGHTS / "InfuseNetModel"
IMAGE_PROJ = WEIGHTS / "image_proj_model.safetensors"
ARCFACE = WEIGHTS / "arcface_ir_se.safetensors"
FACE_PACK = WEIGHTS / "face_pack"
JUDGE = WEIGHTS / "judge.safetensors"

__all__ = ["ARCFACE", "BACKBONES", "FACE_PACK", "IMAGE_PROJ", "INFUSENET", "JUDGE", "WEIGHTS"]
