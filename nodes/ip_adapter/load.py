"""Load IP-Adapter: the published files of FaceID."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.model_management
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ...infusenet.adapters.ip_adapter.layouts import IPAdapter, read_ip_adapter
from ...infusenet.miniature import FACEID
from .. import paths
from ..checks import checked, listed
from ..loaders import chosen
from ..shared import load_once, show
from ..sockets import MINIATURE, NONE, IPAdapterSocket, schema
from .attention import Projections


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An IP-Adapter as the host holds it: the file, and its layers for the host to load."""

    file: IPAdapter = field(repr=False)
    projections: Projections = field(repr=False)
    patcher: Any = field(repr=False)


def load(path: Path) -> LoadedAdapter:
    """Read a file, and make its layers known to the host's memory.

    Raises:
        WeightsError: the file is damaged, or another kind's.
    """
    file = read_ip_adapter(path)
    projections = Projections(file.layers).eval()
    device = comfy.model_management.get_torch_device()
    return LoadedAdapter(
        file, projections, ModelPatcher(projections, device, comfy.model_management.unet_offload_device())
    )


class LoadIPAdapter(io.ComfyNode):
    """An IP-Adapter's weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "LoadIPAdapter",
            "Load IP-Adapter",
            description="Loads IP-Adapter FaceID or FaceID plus v2, which carry a person's identity into SDXL. Nothing "
            "is downloaded. Licences: the published FaceID files, and the InsightFace packs they were trained with, "
            "are for research only, no commercial use. The miniature: Apache-2.0.",
            search_aliases=["ip-adapter", "ipadapter", "faceid", "faceid plus", "sdxl face", "fastface"],
            inputs=[
                io.Combo.Input(
                    "ip_adapter",
                    options=[NONE, MINIATURE, *paths.files(paths.IP_ADAPTER)],
                    default=NONE,
                    tooltip="A file from models/ipadapter: ip-adapter-faceid-plusv2_sdxl.bin, or "
                    "ip-adapter-faceid_sdxl.bin. The LoRA is included.\n"
                    "miniature: for Load Miniature SDXL.",
                ),
            ],
            outputs=[IPAdapterSocket.Output("out_ip_adapter", display_name="ip_adapter")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, ip_adapter=None) -> bool | str:
        """Whether the file is there."""
        return listed(cls, ip_adapter=ip_adapter)

    @classmethod
    @checked
    def execute(cls, ip_adapter) -> io.NodeOutput:
        """Load it, unless it is loaded; say what it is."""
        what = "an IP-Adapter FaceID for SDXL"
        path = chosen(ip_adapter, FACEID, what, "ip-adapter-faceid-plusv2_sdxl.bin", paths.IP_ADAPTER)
        loaded = load_once(lambda: load(path), "ip_adapter", path)
        needs = ", needs clip_vision" if loaded.file.layout.reads_look else ""
        show(cls, f"IP-Adapter {loaded.file.layout.title}: {len(loaded.file.layers)} layers{needs}.")
        return io.NodeOutput(loaded)
