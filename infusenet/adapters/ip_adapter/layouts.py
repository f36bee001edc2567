"""IP-Adapter's published files, read without diffusers: which layout one has, its projection, its layers, its LoRA.

A layout is a row of LAYOUTS: adapters of style and objects follow by a row that says how their projection is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import WeightsError
from ...weights import Shapes, describe, load_checked, misfit, read_header, read_weights
from .projection import FaceLookProjection, FaceProjection

FILES = "ip-adapter-faceid-plusv2_sdxl.bin or ip-adapter-faceid_sdxl.bin of huggingface.co/h94/IP-Adapter-FaceID"
_BASES = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 2048: "SDXL", 4096: "FLUX"}
_LORA = ("to_q", "to_k", "to_v", "to_out")


@dataclass(frozen=True)
class Layout:
    """A kind of IP-Adapter file.

    Attributes:
        title: as users read it.
        mark: the key below `image_proj.` that only this kind, and those before it in LAYOUTS, have.
        reads_look: whether it needs CLIP's view of the face besides the face's embedding.
        build: the untrained projection from a file's shapes; None for kinds that are known and not supported.
    """

    title: str
    mark: str
    reads_look: bool = False
    build: Callable[[Shapes], Any] | None = None


LAYOUTS = (
    Layout("FaceID plus v2", "perceiver_resampler.proj_in.weight", True, FaceLookProjection.sized_like),
    Layout("full face", "proj.3.weight", True),
    Layout("FaceID", "norm.weight", False, FaceProjection.sized_like),
    Layout("plus", "latents", True),
    Layout("for pictures", "proj.weight", True),
)


@dataclass(frozen=True, eq=False)
class IPAdapter:
    """An IP-Adapter file, read.

    Attributes:
        layout: its kind.
        path: where it was read from.
        projection: what is read of the person -> tokens; float32, on the CPU.
        layers: (keys, values) of each cross-attention in the file's order (down, up, middle), [width, text width] each.
        lora: (down, up) by attention layer, both kinds counted, and part: (3, "to_q"). Empty where the file has none.
    """

    layout: Layout
    path: Path
    projection: Any = field(repr=False)
    layers: tuple[tuple[Tensor, Tensor], ...] = field(repr=False)
    lora: Mapping[tuple[int, str], tuple[Tensor, Tensor]] = field(repr=False)

    @property
    def text_width(self) -> int:
        """Width of the text that its UNet reads, which tells the backbone."""
        return int(self.layers[0][0].shape[1])

    @property
    def embedding(self) -> int:
        """Length of the face embedding that it reads."""
        return int(self.projection.proj[0].in_features)

    @property
    def look(self) -> int | None:
        """Width of CLIP's hidden states that it reads, if it reads any."""
        return int(self.projection.perceiver_resampler.proj_in.in_features) if self.layout.reads_look else None

    def check_fit(self, widths: list[int], text_width: int) -> None:
        """Raise WeightsError unless it was made for a UNet.

        Args:
            widths: of the UNet's cross-attentions, in the file's order.
            text_width: of the text that it reads.
        """
        mine = [int(keys.shape[0]) for keys, _ in self.layers]
        if mine != widths or self.text_width != text_width:
            raise WeightsError(
                f"{self.path.name} is an IP-Adapter for {base_of(self.text_width)} with {len(mine)} layers, but the "
                f"MODEL is {base_of(text_width)} with {len(widths)}. Choose the file made for this MODEL; for SDXL: "
                f"{FILES}."
            )


def base_of(text_width: int) -> str:
    """The backbone whose text is so wide, in words."""
    return _BASES.get(text_width, f"a backbone with text embeddings of width {text_width}")


def layout_of(path: Path) -> Layout:
    """A file's layout, told from its header.

    Raises:
        WeightsError: no IP-Adapter, or one of a kind that is not supported; the message says what fits.
    """
    keys = read_header(path)
    if any("ip_adapter_double_stream" in key or key.startswith("ip_adapter_proj_model") for key in keys):
        raise WeightsError(
            f"{path.name} is an IP-Adapter for FLUX. On FLUX use Apply InfuseNet Identity; for SDXL choose {FILES}."
        )
    layout = next((layout for layout in LAYOUTS if f"image_proj.{layout.mark}" in keys), None)
    if layout is None:
        raise WeightsError(f"Expected an IP-Adapter, but {path.name} seems to be {describe(path)}. Choose {FILES}.")
    if layout.build is None:
        raise WeightsError(
            f"{path.name} is an IP-Adapter {layout.title}, which reads no face embedding. Choose {FILES}."
        )
    return layout


def read_ip_adapter(path: Path) -> IPAdapter:
    """Read an IP-Adapter's file, a pickle or safetensors; nothing in it is run.

    Raises:
        WeightsError: see `layout_of`; or the file is damaged or not whole.
    """
    layout = layout_of(path)
    state = read_weights(path)
    projection = {k.removeprefix("image_proj."): v.float() for k, v in state.items() if k.startswith("image_proj.")}
    inside = {k.removeprefix("ip_adapter."): v for k, v in state.items() if k.startswith("ip_adapter.")}
    assert layout.build is not None
    try:
        network = load_checked(layout.build, projection, path, f"IP-Adapter {layout.title}'s projection")
        numbers = sorted(int(key.split(".")[0]) for key in inside if key.endswith("to_k_ip.weight"))
        layers = tuple((inside[f"{number}.to_k_ip.weight"], inside[f"{number}.to_v_ip.weight"]) for number in numbers)
        lora = _lora(inside)
    except (KeyError, ValueError, IndexError, StopIteration, RuntimeError, ZeroDivisionError) as error:
        raise WeightsError(misfit(state, path, "a whole IP-Adapter", error, FILES)) from error
    if not layers:
        raise WeightsError(f"{path.name} has no layers (to_k_ip, to_v_ip). Download it again: {FILES}.")
    return IPAdapter(layout, path, network, layers, lora)


def _lora(inside: Mapping[str, Tensor]) -> dict[tuple[int, str], tuple[Tensor, Tensor]]:
    """The LoRA pairs of a FaceID file, by the number of the attention layer and the part."""
    found = {}
    for key, down in inside.items():
        number, _, name = key.partition(".")
        part = name.removesuffix("_lora.down.weight")
        if part in _LORA:
            found[int(number), part] = (down, inside[f"{number}.{part}_lora.up.weight"])
    return found
