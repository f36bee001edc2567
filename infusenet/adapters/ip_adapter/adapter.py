"""IP-Adapter FaceID as an adapter: photos become four tokens, to which the UNet's image attends while a run lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import SettingsError, WeightsError
from ...files import Picture
from ...guidance.notation import parse_attention
from ..base import AdapterSpec, Settings, check_branches

if TYPE_CHECKING:
    from torch import Tensor

    from .attention import Clock
    from .encoder import FaceCondition, FaceIdEncoder
    from .weights import FaceIdWeights


@dataclass(eq=False)
class FaceRun:
    """One run's identity: what its branches attend to, and at which steps. It is made for a run and ends with it.

    Attributes:
        face: the person's tokens, [n, 4, dim].
        nobody: the tokens of a zero embedding and no picture, [1, 4, dim]: what a branch without identity sees.
        processors: of the layers that attend to them.
        settings: strength, window and branches.
        clock: which step it is.
        acts: whether the window is open in it.
    """

    face: Tensor = field(repr=False)
    nobody: Tensor = field(repr=False)
    processors: Sequence[Any] = field(repr=False)
    settings: Settings
    clock: Clock
    acts: bool = False

    @property
    def both(self) -> bool:
        """Whether the negative branch of ordinary guidance sees the identity too."""
        return check_branches(self.settings.branches) == "both"

    def begin(self, step: int, steps: int) -> None:
        """Tell the layers which step of how many comes."""
        from ...sampling import conditioning_window

        self.clock.step = step
        self.acts = conditioning_window(steps, self.settings.start, self.settings.end)[step]
        for processor in self.processors:
            processor.scale = [float(self.settings.strength * self.acts)]


class FaceIdAdapter:
    """IP-Adapter FaceID, or FaceID plus v2, on SDXL (`SDXLPipeline`).

    Args:
        encoder: reads the photos; None where conditions come from elsewhere.
        weights: the published file.
        lora_weight: how much of the file's own LoRA acts, besides a strength above 0.
    """

    def __init__(self, encoder: FaceIdEncoder | None, weights: Path, *, lora_weight: float = 1.0) -> None:
        self._encoder, self._path, self._lora_weight = encoder, weights, lora_weight
        self._bound: tuple[Any, FaceIdWeights] | None = None

    def encode(self, pictures: Sequence[Picture], *, face: str | int = "largest") -> FaceCondition:
        """Read a person off photos; see `FaceIdEncoder.encode`."""
        if self._encoder is None:
            raise SettingsError('No encoder is loaded. Load the adapter with ADAPTERS["ip-adapter-faceid"].load.')
        return self._encoder.encode(pictures, face=face)

    def control(self, pose: Picture, width: int, height: int) -> Picture:
        """Raise SettingsError: it takes no pose."""
        raise SettingsError("IP-Adapter FaceID takes no pose. Leave the pose picture out, or use InfuseNet on FLUX.")

    def bind(self, pipeline: Any) -> None:
        """Read the file for the pipeline's UNet. Nothing of the UNet is changed until a run.

        Raises:
            WeightsError: the file is made for another backbone, or is FaceID plus and no CLIP vision is there.
            SettingsError: no SDXL pipeline.
        """
        from .weights import load_faceid

        unet = getattr(pipeline, "unet", None)
        if unet is None:
            raise SettingsError("IP-Adapter FaceID needs an SDXL pipeline, whose network is a UNet.")
        weights = load_faceid(self._path, unet)
        if weights.plus and self._encoder is not None and self._encoder.vision is None:
            raise WeightsError(
                f"{self._path} is FaceID plus, which also reads CLIP's view of the face. Give the CLIP vision network "
                "(image encoder, CLIP-ViT-H-14 as in h94/IP-Adapter, models/image_encoder), or a FaceID file without "
                "plus."
            )
        self._bound = unet, weights

    @contextmanager
    def acting(
        self, pipeline: Any, condition: Any, settings: Settings, control: Picture | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """The UNet's layers attend to the person, in the way that `settings.attention` says."""
        from .attention import Clock, attending
        from .lora import beside

        if control is not None:
            self.control(control, 0, 0)
        if condition is None or settings.strength == 0:
            yield {}
            return
        if self._bound is None or self._bound[0] is not pipeline.unet:
            self.bind(pipeline)
        assert self._bound is not None
        unet, weights = self._bound
        tokens = tokens_of(weights, condition)
        place = {"device": pipeline._execution_device, "dtype": unet.dtype}  # it may have been moved since
        processors = [processor.to(**place) for processor in weights.processors.values()]
        lora = {name: part.to(**place) for name, part in weights.lora.items()}
        run = FaceRun(*tokens, processors, settings, Clock())
        with ExitStack() as changes:
            changes.enter_context(attending(unet, weights.processors))
            changes.enter_context(beside(unet, lora, lambda: self._lora_weight * run.acts))
            yield {"identity": run, "attention": parse_attention(settings.attention)}


def tokens_of(weights: FaceIdWeights, condition: FaceCondition) -> tuple[Tensor, Tensor]:
    """The person's tokens [n, 4, dim], and those of nobody [1, 4, dim].

    Raises:
        SettingsError: the condition lacks the look that FaceID plus needs, or its embedding is of another width.
    """
    import torch

    projection: Any = weights.projection
    parameter = next(projection.parameters())
    first = projection.proj.net[0].proj if weights.plus else projection.ff.net[0].proj
    if condition.embedding.shape[-1] != first.in_features:
        raise SettingsError(
            f"This adapter takes face embeddings of {first.in_features} numbers, got {condition.embedding.shape[-1]}. "
            "Use the recognizer it was trained with (buffalo_l for the published ones)."
        )
    if weights.plus and (condition.look is None or condition.blank is None):
        raise SettingsError(
            "FaceID plus needs CLIP's view of the face, which this condition lacks. Encode photos with it."
        )

    @torch.no_grad()
    def project(embedding: Tensor, look: Tensor | None) -> Tensor:
        if weights.plus and look is not None:
            projection.clip_embeds = look.to(parameter)[:, None]  # diffusers' module takes its second input so
        try:
            tokens: Tensor = projection(embedding.to(parameter)[:, None] if weights.plus else embedding.to(parameter))
        finally:
            projection.clip_embeds = None
        return tokens.reshape(len(embedding), -1, tokens.shape[-1])

    looks = None if condition.look is None else condition.look.expand(len(condition.embedding), -1, -1)
    nobody = torch.zeros_like(condition.embedding[:1])
    return project(condition.embedding, looks), project(nobody, condition.blank)


def _load(parts: Mapping[str, Path], face_pack: Path, device: str, dtype: Any) -> FaceIdAdapter:
    from .encoder import FaceIdEncoder

    vision = parts.get("image_encoder")
    encoder = FaceIdEncoder.from_files(parts["id_recognizer"], face_pack, vision, device=device, dtype=dtype)
    return FaceIdAdapter(encoder, parts["ip_adapter"])


IP_ADAPTER_FACEID = AdapterSpec(
    "ip-adapter-faceid", "IP-Adapter FaceID", ("ip_adapter", "id_recognizer"), ("sdxl",), _load, ("image_encoder",)
)
