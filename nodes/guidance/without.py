"""The MODEL as it was before an identity method patched it, for the branches without identity."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
from comfy.patcher_extension import merge_nested_dicts

from ...infusenet.errors import SettingsError


class WithoutIdentity:
    """A clone of the MODEL that is sampled: the same network, other patches. So nothing is loaded for it.

    Args:
        patcher: the MODEL from before the identity.
        model: the MODEL with the identity.

    Raises:
        SettingsError: they are two networks, or the very same.
    """

    def __init__(self, patcher: Any, model: Any) -> None:
        if not patcher.is_clone(model):
            raise SettingsError(
                "model and model_without_identity come from different loaders, so ComfyUI would hold two networks. "
                "Connect model_without_identity to the same output that feeds the node that adds the identity."
            )
        if patcher is model:
            raise SettingsError(
                "model and model_without_identity are the same, so there is no identity to guide. Connect model to the "
                "output of the node that adds the identity, and model_without_identity to what goes into that node."
            )
        self._patcher, self._model = patcher, model
        self._options: dict[str, Any] = {}

    @property
    def notice(self) -> str | None:
        """What to tell of two MODELs whose weights are patched differently."""
        one, other = self._patcher, self._model
        if one.patches_uuid == other.patches_uuid or not (one.patches or other.patches):
            return None
        return (
            "model and model_without_identity have different LoRAs. They share one network, so model's LoRAs act in "
            "all branches."
        )

    def begin(self) -> None:
        """A run begins: what the host does for the patches of the MODEL that it loads."""
        for target in (self._model.load_device, self._model.model_dtype()):
            self._patcher.model_patches_to(target)
        self._options = comfy.model_patcher.create_model_options_clone(self._patcher.model_options)
        inside = self._options.setdefault("transformer_options", {})
        for name, held in (("wrappers", self._patcher.wrappers), ("callbacks", self._patcher.callbacks)):
            merge_nested_dicts(inside.setdefault(name, {}), held, copy_dict1=False)

    def options(self, running: dict[str, Any]) -> dict[str, Any]:
        """The options of one evaluation.

        Args:
            running: those of the MODEL that is sampled, as its sampler has them now. What the run itself has put
                there, as the noise levels, is taken over; what its own patches are, is not.
        """
        own = {"wrappers", "callbacks", *self._model.model_options.get("transformer_options", {})}
        of_run = {key: value for key, value in running["transformer_options"].items() if key not in own}
        return {**self._options, "transformer_options": {**self._options["transformer_options"], **of_run}}
