"""What an entry of the catalogue says, and those of SDXL and of IP-Adapter FaceID."""

from dataclasses import dataclass
from pathlib import Path

_HUB = "https://huggingface.co"
_RAIL = "CreativeML Open RAIL++-M"


@dataclass(frozen=True)
class CatalogueEntry:
    """One kind of weight file.

    Attributes:
        key: short name, as the command's options use it.
        title: what it is.
        patterns: file names relative to any searched folder, at any depth, best first.
        folder: the files' folder is what counts, as with a diffusers folder or a face pack.
        source: where to get it, in words.
        licence: its licence and what that forbids.
        beside: file names that must lie in the same folder, so that what is missing can be told.
        option: of the command, by which such a file is named, where that is not the key.
    """

    key: str
    title: str
    patterns: tuple[str, ...]
    folder: bool
    source: str
    licence: str
    beside: tuple[str, ...] = ()
    option: str = ""

    def lacks(self, folder: Path) -> list[str]:
        """What of `beside` a folder that was found does not hold."""
        return [pattern for pattern in self.beside if not any(folder.glob(pattern))]


def _sdxl(key: str, title: str, home: str, licence: str, name: str) -> CatalogueEntry:
    patterns = (f"{name}/model_index.json", f"models--{home.replace('/', '--')}/snapshots/*/model_index.json")
    folder = f"{title} (diffusers folder: unet, text encoders, VAE)"
    return CatalogueEntry(key, folder, patterns, True, f"{_HUB}/{home}", licence, option="backbone")


SDXL_ENTRIES = (
    _sdxl("sdxl", "SDXL base", "stabilityai/stable-diffusion-xl-base-1.0", _RAIL, "stable-diffusion-xl-base-1.0"),
    _sdxl("sdxl-turbo", "SDXL-Turbo", "stabilityai/sdxl-turbo", "Stability AI's own: see its page", "sdxl-turbo"),
    CatalogueEntry(
        "sdxl-lightning",
        "SDXL-Lightning, a 4-step UNet",
        ("sdxl_lightning_4step_unet.safetensors",),
        False,
        f"{_HUB}/ByteDance/SDXL-Lightning",
        _RAIL,
        option="backbone",
    ),
    CatalogueEntry(
        "lcm-lora-sdxl",
        "LCM's LoRA for SDXL",
        ("lcm-lora-sdxl/pytorch_lora_weights.safetensors", "lcm-lora-sdxl*.safetensors", "lcm_lora_sdxl*.safetensors"),
        False,
        f"{_HUB}/latent-consistency/lcm-lora-sdxl",
        _RAIL,
        option="lora",
    ),
    CatalogueEntry(
        "hyper-sdxl-lora",
        "Hyper-SDXL's 4-step LoRA",
        ("Hyper-SDXL-4steps-lora.safetensors",),
        False,
        f"{_HUB}/ByteDance/Hyper-SD",
        "see its page",
        option="lora",
    ),
    CatalogueEntry(
        "ip-adapter",
        "IP-Adapter FaceID for SDXL",
        ("ip-adapter-faceid-plusv2_sdxl*", "ip-adapter-faceid_sdxl*"),
        False,
        f"{_HUB}/h94/IP-Adapter-FaceID",
        "non-commercial research only, like the recognizer it was trained with",
    ),
    CatalogueEntry(
        "id-recognizer",
        "buffalo_l, the recognizer that FaceID was trained with",
        ("buffalo_l/w600k_r50.onnx",),
        True,
        "InsightFace's model zoo (buffalo_l.zip)",
        "non-commercial research only, like every InsightFace model pack",
        ("det_*.onnx",),
    ),
    CatalogueEntry(
        "image-encoder",
        "CLIP-ViT-H-14's vision network, for FaceID plus",
        ("CLIP-ViT-H-14-laion2B-s32B-b79K/config.json", "IP-Adapter/models/image_encoder/config.json"),
        True,
        f"{_HUB}/h94/IP-Adapter, models/image_encoder",
        "MIT",
    ),
)
