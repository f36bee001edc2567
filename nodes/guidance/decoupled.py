"""FastFace Guider: text and identity guided separately, step by step."""

from __future__ import annotations

import logging
import re

from comfy_api.latest import io

from ...infusenet.errors import SettingsError
from ...infusenet.guidance.decoupled import KINDS, Decoupled
from ..checks import checked
from ..ip_adapter.apply import KEY as IP_ADAPTER
from ..shared import show
from ..sockets import schema
from .conditions import conditions, infusenets
from .guider import DecoupledGuider
from .without import WithoutIdentity

log = logging.getLogger(__name__)


def weights(text: str, name: str) -> list[float]:
    """Weights written as "1, 1.5, 1.5, 1".

    Raises:
        SettingsError: something else is written.
    """
    parts = [part for part in re.split(r"[\s,;]+", text) if part]
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if not values:
        raise SettingsError(
            f'FastFace Guider: {name} must be numbers, one for each step, such as "1, 1.5, 1.5, 1"; got {text!r:.80}.'
        )
    return values


class FastFaceGuider(io.ComfyNode):
    """A guider with a weight for the text and one for the identity."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "DecoupledGuider",
            "FastFace Guider",
            description="Guides text and identity separately, each with its own weight at each step (FastFace's "
            "decoupled guidance). For SamplerCustomAdvanced. A step costs up to 3 evaluations of the model (2 with "
            "kind = direction): with FastFace's weights, 4 steps take as long as 10 plain ones. Made for few-step "
            "models, which run without CFG.",
            search_aliases=["fastface", "decoupled guidance", "identity guidance", "dcg", "faceid", "ip-adapter"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model to sample. If the identity is in the model (IP-Adapter, InstantID, PuLID), "
                    "connect the output of its node.",
                ),
                io.Conditioning.Input(
                    "positive", tooltip="The prompt. With InfuseNet: the positive output of Apply InfuseNet Identity."
                ),
                io.Conditioning.Input(
                    "negative",
                    tooltip="The negative prompt, usually empty. With InfuseNet: from Apply InfuseNet Identity, which "
                    "outputs an empty one by default. Not used with kind = direction.",
                ),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default=KINDS[0],
                    tooltip="What a and b weigh.\n"
                    "identity: FastFace's own. a adds the identity to the negative prompt, then b adds the prompt.\n"
                    "text-then-identity: a adds the prompt to the negative one, then b adds the identity.\n"
                    "separate: a adds the prompt, b adds the identity, each to the negative prompt.\n"
                    "direction: a adds the identity to the prompt; b and negative are not used. 2 evaluations a step.",
                ),
                io.String.Input(
                    "a",
                    default="1, 1.5, 1.5, 1",
                    tooltip="First weight, one number for each step. If there are more steps, the last number is used "
                    "for the rest. FastFace uses 1, 1.5, 1.5, 1 for 4 steps.",
                ),
                io.String.Input(
                    "b",
                    default="1, 3, 3, 1",
                    tooltip="Second weight, written in the same way. FastFace uses 1, 3, 3, 1 for 4 steps.",
                ),
                io.Float.Input(
                    "rescale",
                    default=0.75,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Removes the contrast that large weights add: 0 removes none of it, 1 all of it. A step in "
                    "which a and b are 1 and rescale is 0 runs without guidance and costs 1 evaluation (except with "
                    "kind = separate).",
                ),
                io.Model.Input(
                    "model_without_identity",
                    optional=True,
                    tooltip="Only if another node adds the identity to the model: connect what goes into that node. "
                    "Not needed with Apply InfuseNet Identity or Apply IP-Adapter.",
                ),
            ],
            outputs=[io.Guider.Output("guider", display_name="guider", tooltip="For SamplerCustomAdvanced.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(cls, model, positive, negative, kind, a, b, rescale, model_without_identity=None) -> io.NodeOutput:
        """Read the weights, sort the branches."""
        guidance = Decoupled(kind, weights(a, "a"), weights(b, "b"), rescale)
        plain = None if model_without_identity is None else WithoutIdentity(model_without_identity, model)
        if plain is None and not any(infusenets(positive)) and model.get_attachment(IP_ADAPTER) is None:
            raise SettingsError(
                "FastFace Guider finds no identity. With InfuseNet, connect positive from Apply InfuseNet Identity "
                "(strength above 0); with IP-Adapter, connect model from Apply IP-Adapter. If another node put the "
                "identity into the model, connect model_without_identity to the model that goes into that node."
            )
        if plain is not None and plain.notice:
            log.warning("FastFace Guider: %s", plain.notice)
            show(cls, plain.notice)
        node = getattr(getattr(cls, "hidden", None), "unique_id", None)
        thirds = conditions(kind, positive, negative)
        return io.NodeOutput(DecoupledGuider(model, guidance, thirds, plain=plain, node=node))
