"""What the host sees: the pack's extension. The only place that lists the nodes."""

from comfy_api.latest import ComfyExtension, io

from .flux.recipe import LoadRecipe
from .flux.sigmas import Sigmas
from .guidance.decoupled import FastFaceGuider
from .infusenet.apply import ApplyInfuseNet
from .infusenet.encode import EncodeIdentity, FacePose
from .ip_adapter.apply import ApplyIPAdapter
from .ip_adapter.load import LoadIPAdapter
from .loaders import LoadBackbone, LoadIdentityEncoder, LoadInfuseNet
from .paths import check_name, register_folders, share_references
from .probe.chart import running_server
from .probe.measure import LikenessMeasure
from .probe.probe import IdentityProbe, StopAtPeak
from .probe.recognizer import LoadFaceRecognizer
from .probe.report import DriftReport
from .probe.save import SaveResults
from .probe.score import Score
from .probe.seen import serve
from .renamed import register_renames
from .sdxl.load import LoadMiniSDXL
from .sweep.sweep import Sweep
from .templates import serve_short_names

NODES: list[type[io.ComfyNode]] = [
    LoadBackbone,
    LoadRecipe,
    Sigmas,
    LoadInfuseNet,
    LoadIdentityEncoder,
    EncodeIdentity,
    FacePose,
    ApplyInfuseNet,
    LoadMiniSDXL,
    LoadIPAdapter,
    ApplyIPAdapter,
    FastFaceGuider,
    LoadFaceRecognizer,
    LikenessMeasure,
    IdentityProbe,
    StopAtPeak,
    DriftReport,
    SaveResults,
    Score,
    Sweep,
]


class InfuseNetExtension(ComfyExtension):
    """ComfyUI-InfuseNet's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The pack's nodes, in the order of their work.

        First the host is told where our weight files lie, and gets the templates' pictures and short names, and the
        address at which the chart finds faces: ComfyUI 0.3.64 calls no `on_load`, and the schemas list files.
        """
        check_name()
        register_folders()
        share_references()
        serve_short_names(running_server())
        serve(running_server())
        await register_renames(NODES)
        return NODES
