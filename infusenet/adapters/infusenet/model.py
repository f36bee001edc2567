"""InfuseNet for diffusers: a FLUX ControlNet whose text is an identity and whose guidance is always 1."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxControlNetModel
from torch import Tensor, nn

from ...errors import SettingsError, WeightsError
from ...flux.networks import disagreements, flux_config, read_config
from ...weights import Shapes, load_module
from ...weights.formats import AGAIN

GUIDANCE = 1.0  # whatever the main guidance is: so InfuseNet was trained

_WHAT = "InfuseNet"
_SHARED_SIZES = (
    "in_channels",
    "num_attention_heads",
    "attention_head_dim",
    "joint_attention_dim",
    "pooled_projection_dim",
)


class InfuseNetModel(FluxControlNetModel):
    """diffusers' `FluxControlNetModel`, fed with identity tokens instead of text.

    `from_pretrained` works as there; `load` takes single files too and is strict.
    """

    @classmethod
    def load(
        cls, path: str | Path, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
    ) -> InfuseNetModel:
        """Load InfuseNet's weights, all of them or none.

        Args:
            path: a diffusers folder (`InfuseNetModel/`, sharded or not), or a single .safetensors file in bf16 or
                fp8, whose shapes tell the configuration.
            dtype: what the weights are cast to.
            device: where they go.

        Returns:
            The network, in evaluation mode.

        Raises:
            WeightsError: the file is missing, damaged or another model's, or tensors are missing, unexpected, wrongly
                shaped or NaN.
        """
        return load_network(cls, Path(path), _WHAT, dtype=dtype, device=device)

    @classmethod
    def beside(cls, transformer: Any, path: str | Path) -> InfuseNetModel:
        """Load InfuseNet's weights for a FLUX transformer, in its dtype and on its device.

        Raises:
            WeightsError: as `load`; or they were made for a transformer of other sizes.
        """
        network = cls.load(path, dtype=transformer.dtype, device=transformer.device)
        ours, theirs = ({name: model.config[name] for name in _SHARED_SIZES} for model in (network, transformer))
        wrong = ", ".join(
            f"{name} {ours[name]} against {theirs[name]}" for name in _SHARED_SIZES if ours[name] != theirs[name]
        )
        if wrong:
            raise WeightsError(
                f"The InfuseNet in {path} does not match this backbone ({wrong}). Choose the one made for it."
            )
        return network

    def forward(
        self,
        hidden_states: Tensor,
        controlnet_cond: Tensor,
        controlnet_mode: Tensor | None = None,
        conditioning_scale: float = 1.0,
        encoder_hidden_states: Tensor | None = None,
        pooled_projections: Tensor | None = None,
        timestep: Tensor | None = None,
        img_ids: Tensor | None = None,
        txt_ids: Tensor | None = None,
        guidance: Tensor | None = None,
        joint_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """The residuals that carry an identity into FLUX. Arguments and results are `FluxControlNetModel`'s.

        Args:
            hidden_states: packed latents [B, L, 64].
            controlnet_cond: packed latents of the control image [B or 1, L, 64].
            controlnet_mode: not used; it is in the stock signature.
            conditioning_scale: what the residuals are multiplied by.
            encoder_hidden_states: identity tokens [B or 1, 8, dim]; one identity serves a whole batch.
            pooled_projections: the prompt's own pooled embedding [B, dim].
            timestep: noise level, 0..1 [B].
            img_ids: positions of the image tokens [L, 3].
            txt_ids: positions of the identity tokens; zeros [8, 3] unless given.
            guidance: not used: InfuseNet's guidance is always 1.
            joint_attention_kwargs: as in diffusers.
            return_dict: a `FluxControlNetOutput` rather than a tuple.

        Returns:
            Residuals for the double and for the single blocks, each a list of [B, L, width].

        Raises:
            SettingsError: the number of identities is neither 1 nor the batch's.
        """
        batch = hidden_states.shape[0]
        tokens = broadcast_identity(encoder_hidden_states, batch)
        return super().forward(
            hidden_states=hidden_states,
            controlnet_cond=controlnet_cond,
            conditioning_scale=conditioning_scale,
            encoder_hidden_states=tokens,
            pooled_projections=pooled_projections,
            timestep=timestep,
            img_ids=img_ids,
            txt_ids=tokens.new_zeros(tokens.shape[1], 3) if txt_ids is None else txt_ids,
            guidance=self._guidance(hidden_states, batch),
            joint_attention_kwargs=joint_attention_kwargs,
            return_dict=return_dict,
        )

    def _guidance(self, like: Tensor, batch: int) -> Tensor | None:
        # whether there is one is InfuseNet's own business: schnell embeds none, InfuseNet does nevertheless
        if not self.config.guidance_embeds:
            return None
        return torch.full([batch], GUIDANCE, device=like.device, dtype=torch.float32)


def broadcast_identity(tokens: Tensor | None, batch: int) -> Tensor:
    """Identity tokens for a batch: one identity serves all, as many as the batch go one to each.

    Args:
        tokens: [1 or batch, n, dim].
        batch: number of pictures.

    Returns:
        [batch, n, dim].

    Raises:
        SettingsError: there are none, or another number of them.
    """
    if tokens is None or tokens.ndim != 3:
        found = "none" if tokens is None else f"a tensor of shape {list(tokens.shape)}"
        raise SettingsError(f"Expected identity tokens [1 or {batch}, 8, dim], got {found}. Encode a face first.")
    if tokens.shape[0] not in (1, batch):
        raise SettingsError(
            f"Expected one identity, or one for each of the {batch} pictures, got {tokens.shape[0]}. Fuse the "
            "identities into one, or pass as many prompts as identities."
        )
    return tokens.expand(batch, -1, -1)


def load_network(network: Any, path: Path, what: str, *, dtype: torch.dtype, device: str | torch.device) -> Any:
    """Load a FLUX network strictly; headers are checked before anything is allocated.

    Args:
        network: the diffusers class.
        path: a diffusers folder, whose config.json counts, or a single file, whose shapes tell the config.
        what: what it should be, for errors.
        dtype: what the weights are cast to.
        device: where they go.

    Returns:
        The network, in evaluation mode.

    Raises:
        WeightsError: see `InfuseNetModel.load`.
    """

    def build(shapes: Shapes) -> Any:
        config = read_config(path) if path.is_dir() else flux_config(shapes, path, what)
        if wrong := disagreements(config, shapes):  # before a million layers are built, or fail in the run
            raise WeightsError(
                f"{path / 'config.json'} does not match the weights next to it: it says {'; '.join(wrong)}. {AGAIN}"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # diffusers' own FluxControlNetModel causes one in it
                return network.from_config(config)
        except Exception as error:  # many kinds, all of them about the config
            raise WeightsError(f"{path / 'config.json'} is not the config of {what} ({error}).") from error

    # torch's own `to`: diffusers' says at every call that no module needs float32
    return nn.Module.to(load_module(build, path, what), device=device, dtype=dtype)
