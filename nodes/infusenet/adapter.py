"""InfuseNet as one of the host's ControlNets: the host's own FLUX ControlNet, with an identity for its text.

The only place where the adapter meets the host's sampler. Nothing of the host is patched: the residuals travel in the
host's `control` dict.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_management
import torch
import torch.nn.functional as F
from comfy.controlnet import ControlNet
from comfy.latent_formats import Flux
from torch import Tensor

from ...infusenet.errors import SettingsError
from ...infusenet.flux.blocks import residual_index
from ...infusenet.guidance.manipulation import Manipulation
from ...infusenet.speed import EVERY_STEP, RefreshPolicy
from ..flux.sizes import FluxSizes, flux_sizes
from ..shared import tell
from .attention import manipulating
from .gate import clock_hooks, is_on
from .hint import Part, colours, fit_pose, hint_of, part_of, repeated
from .notices import Start, never_active
from .reuse import Output, kept_or_computed

log = logging.getLogger(__name__)

_PIXELS = 8  # of a side for one latent


class InfuseNetControl(ControlNet):
    """InfuseNet in the host: unbound as a loader gives it, or bound to an identity and a conditioning."""

    def __init__(self, control_model: Any = None, **settings: Any) -> None:
        super().__init__(
            control_model,
            compression_ratio=1,
            latent_format=Flux(),
            extra_conds=["y"],
            preprocess_image=colours,
            **settings,
        )
        self.tokens: Tensor | None = None
        self.whole = Part(None, None)  # of the picture, with its own sizes
        self.hint: Tensor | None = None  # the same as others read it, and cut tiles out of it
        self.gate = "percent"
        self.window = (0.0, 1.0)
        self.refresh: RefreshPolicy = EVERY_STEP
        self.recognizer: str | None = None
        self.node: str | None = None
        self.attention: Manipulation | None = None
        self._asked = self._acted = False  # in this run
        self._start = Start()
        self.black: WeakKeyDictionary[Any, dict[tuple[int, int], Tensor]] = WeakKeyDictionary()
        self._main: FluxSizes | None = None
        self._hints: dict[Any, Tensor] = {}
        self._tile: tuple[Any, Part] = (None, self.whole)
        self._placed: dict[tuple[Any, ...], Tensor] = {}  # what a run's evaluations share, where it computes

    @property
    def token_width(self) -> int:
        """Width of the identity tokens that this InfuseNet reads."""
        return self.control_model.params.context_in_dim

    @property
    def device(self) -> Any:
        """Where it runs, as the host's ControlNets of old told it, and some packs that sample in tiles still ask."""
        return self.load_device

    @device.setter
    def device(self, _: Any) -> None:
        """Some of them set it too; the host decides."""

    def copy(self) -> InfuseNetControl:
        """Another binding of the same network; the black picture's latents are shared."""
        other = InfuseNetControl(load_device=self.load_device, manual_cast_dtype=self.manual_cast_dtype)
        other.control_model = self.control_model
        other.control_model_wrapped = self.control_model_wrapped
        self.copy_to(other)
        other.tokens, other.whole, other.hint, other.black = self.tokens, self.whole, self.hint, self.black
        other.gate, other.window, other.recognizer, other.node = self.gate, self.window, self.recognizer, self.node
        other.refresh, other.attention = self.refresh, self.attention
        return other

    def bind(
        self,
        tokens: Tensor,
        vae: Any,
        *,
        strength: float,
        window: tuple[float, float],
        gate: str,
        pose: Tensor | None = None,
        mask: Tensor | None = None,
        refresh: RefreshPolicy = EVERY_STEP,
        recognizer: str | None = None,
        node: str | None = None,
        attention: Manipulation | None = None,
    ) -> InfuseNetControl:
        """A copy that carries an identity.

        Args:
            tokens: identity tokens [n, 8, dim]; one for the whole batch, or one an image.
            vae: encodes the control picture.
            strength: what the residuals are multiplied by.
            window: first and last share of the run, 0..1 each.
            gate: "step", by the original pipeline's rule, or "percent", by the host's.
            pose: landmarks drawn on black, IMAGE [n, H, W, 3]; None = a black picture.
            mask: where the identity acts, [n, H, W] 0..1; None = everywhere.
            refresh: when it is computed anew; in between its output is kept.
            recognizer: file name of the network that read the identity, for the records.
            node: id of the node that binds it, which shows what becomes of it.
            attention: what becomes of the attention to the identity, the same at all steps; None = as trained.
        """
        other = self.copy()
        other.tokens, other.recognizer, other.node, other.attention = tokens, recognizer, node, attention
        other.gate, other.refresh = gate, refresh
        other.whole, other.hint = Part(pose, mask), hint_of(pose, mask)
        cut_by_tilers = [] if mask is None else [mask[:, None]]  # beside latents that these have encoded
        other.set_cond_hint(other.hint, strength, window, vae=vae, extra_concat=cut_by_tilers)
        return other.set_window(window)

    def set_window(self, window: tuple[float, float]) -> InfuseNetControl:
        """Act between these shares of the run, 0..1 each; returns itself."""
        self.window = self.timestep_percent_range = window
        counts_steps = (self.gate == "step" and window != (0.0, 1.0)) or self.refresh != EVERY_STEP
        self.extra_hooks = clock_hooks() if counts_steps else None
        return self

    def pre_run(self, model: Any, percent_to_timestep_function: Any) -> None:
        """Before sampling: the model must be a FLUX that this InfuseNet fits."""
        self._main = flux_sizes(model)
        if self._main.width != self.control_model.hidden_size:
            raise SettingsError(
                f"This InfuseNet was made for a FLUX model of width {self.control_model.hidden_size}, but the MODEL's "
                f"width is {self._main.width}. Use the miniature InfuseNet with a miniature backbone, and the "
                "published one with FLUX.1 dev or schnell."
            )
        self._asked = self._acted = False
        super().pre_run(model, percent_to_timestep_function)

    @property
    def idle(self) -> str | None:
        """What to say of a run in which it was asked and never acted."""
        return None if self._acted or not self._asked else never_active(self.window, self.gate)

    def cleanup(self) -> None:
        """After sampling: what belonged to this run goes."""
        if self._main is not None:  # once a run
            words = self._start.remark(self._acted) or self.idle
            if words is not None:
                log.warning(words)
                tell(self.node, words)
        self._hints, self._placed, self._tile = {}, {}, (None, self.whole)
        self._main = None
        super().cleanup()

    def get_extra_hooks(self) -> list[Any]:
        """The hooks to be asked of the MODEL: those of the ControlNets before this one.

        Its own clock changes no weight and is found by `extra_hooks`; named here it would cost a second copy of FLUX
        on hosts that stream weights.
        """
        before = self.previous_controlnet
        return [] if before is None else before.get_extra_hooks()

    def get_control(self, x_noisy: Tensor, t: Tensor, cond: Any, batched_number: int, transformer_options: Any) -> Any:
        """The residuals for one evaluation, with those of the ControlNets before this one.

        Args:
            x_noisy: latents [B, 16, h, w], B = images times batched_number.
            t: noise level [B].
            cond: conditioning of the backbone; it is left as it is, and so do the ControlNets before this one get it.
            batched_number: how many conditionings lie in the batch, one after the other.
            transformer_options: the host's.
        """
        before = None
        if self.previous_controlnet is not None:
            before = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        if not self._asked:
            self._start.levels = transformer_options.get("sample_sigmas")
        self._asked = True
        if not self._acts(t, transformer_options):
            return before
        self._acted = True
        residuals = self._residuals(x_noisy, t, cond, batched_number, transformer_options)
        return self.control_merge(residuals, before, output_dtype=None)

    def _acts(self, t: Tensor, transformer_options: Any) -> bool:
        """Whether this evaluation lies in the window. The whole run needs no look at the GPU's noise level."""
        if self.window == (0.0, 1.0):
            return True
        if self.gate == "step":
            on = is_on(transformer_options, float(t[0]), *self.window)
            if on is not None:
                return on
        if self.timestep_range is None:
            return True
        first, last = self.timestep_range
        return not (t[0] > first or t[0] < last)

    def _residuals(
        self, x_noisy: Tensor, t: Tensor, cond: Any, batched_number: int, transformer_options: Any
    ) -> dict[str, list[Tensor]]:
        """One residual for each of the backbone's blocks; blocks share tensors."""
        dtype = self.manual_cast_dtype or self.control_model.dtype
        batch, device = x_noisy.shape[0], x_noisy.device
        images = batch // batched_number

        def of_batch(name: str, make: Callable[[], Tensor]) -> Tensor:
            key = (name, x_noisy.shape, batched_number, device, dtype)
            if key not in self._placed:
                self._placed[key] = to_batch(make(), images, batched_number).to(device=device, dtype=dtype)
            return self._placed[key]

        height, width = x_noisy.shape[-2:]
        part, pooled = self._part(height, width), cond.get("y")
        sampling = self.model_sampling_current
        tokens = of_batch("tokens", lambda: self.tokens)

        def compute() -> Output:
            with manipulating(self.control_model, self.attention, tokens.shape[1]):
                return self.control_model(
                    x=sampling.calculate_input(t, x_noisy).to(dtype),
                    hint=of_batch("hint", lambda: self._hint(part, height, width)),
                    timesteps=sampling.timestep(t).to(dtype),
                    context=tokens,
                    y=None if pooled is None else comfy.model_management.cast_to_device(pooled, device, dtype),
                    guidance=torch.ones(batch, device=device, dtype=dtype),  # always 1: so InfuseNet was trained
                )

        result = kept_or_computed(self, self.refresh, x_noisy, t, batched_number, transformer_options, compute)
        mask = None
        if part.mask is not None:
            mask = of_batch("mask", lambda: mask_to_tokens(part.mask, -(-height // 2), -(-width // 2)))
        main = self._main
        return {
            "input": spread(result["input"], main.double_blocks, mask),
            "output": spread(result.get("output", ()), main.single_blocks, mask),
        }

    def _part(self, height: int, width: int) -> Part:
        """The whole picture, or the part of it that a node which samples in tiles has set."""
        held = self.cond_hint
        if held is None or tuple(held.shape[2:]) not in ((height, width), (height * _PIXELS, width * _PIXELS)):
            held = self.cond_hint_original
        if held is not self._tile[0]:
            whole = held is self.hint or held is None
            self._tile = held, self.whole if whole else part_of(held, self.whole.pose is not None)
            self._placed = {}
        return self._tile[1]

    def _hint(self, part: Part, height: int, width: int) -> Tensor:
        """The control picture's latents [n, 16, h, w] in the model's space; the black one's are kept for good."""
        if part.latents is not None:
            return part.latents
        kept, key = self._kept_black(), (height, width)
        if part.pose is not None:
            kept = self._hints
            if part is not self.whole:  # set anew at every step by some
                key = (*key, hash(part.pose.mul(255).byte().cpu().numpy().tobytes()))
        if key not in kept:
            pixels = fit_pose(part.pose, width * _PIXELS, height * _PIXELS)
            in_use = comfy.model_management.loaded_models(only_currently_used=True)
            latents = self.vae.encode(pixels)
            comfy.model_management.load_models_gpu([model for model in in_use if model is not None])
            kept[key] = self.latent_format.process_in(latents)
        return kept[key]

    def _kept_black(self) -> dict[tuple[int, int], Tensor]:
        """The black picture's latents by size, kept as long as the VAE is (or for this run)."""
        try:
            return self.black.setdefault(self.vae, {})
        except TypeError:
            return self._hints


def chain(control: Any) -> Iterator[Any]:
    """A conditioning's ControlNet (or None) and all before it, the last first."""
    while control is not None:
        yield control
        control = control.previous_controlnet


def to_batch(tensor: Tensor, images: int, repeats: int) -> Tensor:
    """What belongs to images, one or n, repeated to the batch's images, and that for each conditioning in the batch.

    Args:
        tensor: [n, ...], or a whole batch already [images * repeats, ...]
        images: images of the batch; with fewer in `tensor` they are taken again from the first.
        repeats: conditionings in the batch, one after the other.

    Returns:
        [images * repeats, ...]
    """
    if len(tensor) == images * repeats:
        return tensor
    return torch.cat([repeated(tensor, images)] * repeats)


def mask_to_tokens(mask: Tensor, rows: int, columns: int) -> Tensor:
    """A mask [n, H, W] of 0..1 as the mean over each image token's area: [n, rows * columns, 1]."""
    averaged = F.interpolate(mask[:, None].float(), size=(rows, columns), mode="area")
    return averaged.flatten(1)[..., None]


def spread(residuals: tuple[Tensor, ...], blocks: int, mask: Tensor | None) -> list[Tensor]:
    """The residual of each of the backbone's blocks, masked: neighbouring blocks share one tensor."""
    if not residuals:
        return []
    unique = [residual if mask is None else residual * mask for residual in residuals]
    return [unique[residual_index(block, blocks, len(unique))] for block in range(blocks)]
