"""Load Miniature SDXL: MODEL, CLIP and VAE of the small SDXL that comes with the pack."""

from __future__ import annotations

from comfy_api.latest import io

from ..checks import checked
from ..shared import load_once
from ..sockets import schema
from . import miniature


class LoadMiniSDXL(io.ComfyNode):
    """The small SDXL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "LoadMiniSDXL",
            "Load Miniature SDXL",
            description="Loads mini-sdxl, a small SDXL of drawn faces (128x128) that comes with the pack, to try "
            "IP-Adapter and FastFace without any download. For SDXL itself use ComfyUI's own Load Checkpoint. "
            "Licence: Apache-2.0.",
            search_aliases=["sdxl", "mini-sdxl", "miniature", "faceid", "fastface"],
            inputs=[
                io.Boolean.Input(
                    "few_steps",
                    default=True,
                    tooltip="On: with its LoRA for 4 steps, like Hyper-SDXL's. Use cfg 1, sampler euler, scheduler "
                    "simple.\nOff: without the LoRA. Use 25 steps or more and a cfg of about 4.",
                ),
            ],
            outputs=[
                io.Model.Output("model", display_name="model"),
                io.Clip.Output("clip", display_name="clip"),
                io.Vae.Output("out_vae", display_name="vae"),
            ],
        )

    @classmethod
    @checked
    def execute(cls, few_steps) -> io.NodeOutput:
        """Load what is not loaded yet."""
        return io.NodeOutput(
            load_once(lambda: miniature.load_model(few_steps), "model", "mini-sdxl", few_steps),
            load_once(miniature.load_clip, "clip", "mini-sdxl"),
            load_once(miniature.load_vae, "vae", "mini-sdxl"),
        )
