"""Adapters: how an identity, a style or an object gets into a run. `ADAPTERS` holds those that are known by name."""

from ..errors import SettingsError
from .base import BRANCHES, Adapter, AdapterSpec, Branches, Condition, check_branches
from .infusenet.adapter import INFUSENET

ADAPTERS: dict[str, AdapterSpec] = {INFUSENET.name: INFUSENET}


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
