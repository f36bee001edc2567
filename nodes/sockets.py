"""What the nodes share: custom socket types, the category, the id prefix, schemas that older hosts take."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

CATEGORY = "InfuseNet"
PREFIX = "InfuseNet_"

InfuseNetSocket = io.Custom("INFUSENET_MODEL")
EncoderSocket = io.Custom("INFUSENET_IDENTITY_ENCODER")
IdentitySocket = io.Custom("INFUSENET_IDENTITY")
RecognizerSocket = io.Custom("INFUSENET_RECOGNIZER")
TraceSocket = io.Custom("INFUSENET_TRACE")
IPAdapterSocket = io.Custom("INFUSENET_IP_ADAPTER")

NONE, MINIATURE = "none", "miniature"
"""First entries of a file combo: a saved value that is not in the host's list is refused, and `none` always is."""

_KNOWN = {field.name for field in dataclasses.fields(io.Schema)}


def schema(name: str, display_name: str, **settings: Any) -> io.Schema:
    """A node's schema; settings that this host does not know yet are left out.

    Args:
        name: the node's id without the prefix.
        display_name: shown to the user.
        settings: further fields of `io.Schema`.
    """
    fields = {"node_id": PREFIX + name, "display_name": display_name, "category": CATEGORY, **settings}
    return io.Schema(**{key: value for key, value in fields.items() if key in _KNOWN})


def recognizer_input() -> Any:
    """The input for what measures: its socket is the face recognizer's, whatever is compared."""
    tooltip = "From Load Face Recognizer, or from Likeness Measure to compare whole pictures."
    return RecognizerSocket.Input("recognizer", tooltip=tooltip)


def reference_input() -> io.Input:
    """The input for whom or what pictures are compared with."""
    tooltip = "The person (or thing) to compare with: one photo, or a batch of several, whose mean is used."
    return io.Image.Input("reference", tooltip=tooltip)


def strangers_input() -> io.Input:
    """The input for pictures of others, whose likeness is the line to be above."""
    return io.Image.Input(
        "strangers",
        optional=True,
        tooltip="Pictures of other people, at least 5 faces (with Likeness Measure, at least 5 other pictures). Their "
        "scores are the chart's line 'other people': what a stranger reaches. If not connected, this line is unknown. "
        "The miniature has its own strangers.",
    )
