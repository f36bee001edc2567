"""Adapters: how an identity, a style or an object gets into a run. `ADAPTERS` holds those that are known by name."""

from ..errors import SettingsError
from .base import BRANCHES, Adapter, AdapterSpec, Branches, Condition, check_branches
from .infusenet.adapter import INFUSENET
from .ip_adapter.adapter import IP_ADAPTER_FACEID

ADAPTERS: dict[str, AdapterSpec] = {spec.name: spec for spec in (INFUSENET, IP_ADAPTER_FACEID)}


def get_adapter(name: str) -> AdapterSpec:
    """Look an adapter up by name.

    Raises:
        SettingsError: the name is unknown; the message lists the known ones.
    """
    try:
        return ADAPTERS[name]
    except KeyError:
        raise SettingsError(f"Unknown adapter {name!r}. Known: {', '.join(ADAPTERS)}.") from None


__all__ = [
    "ADAPTERS",
    "BRANCHES",
    "Adapter",
    "AdapterSpec",
    "Branches",
    "Condition",
    "check_branches",
    "get_adapter",
]
