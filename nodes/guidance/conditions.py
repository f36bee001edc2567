"""What each branch of decoupled guidance is conditioned on: the same texts, with our InfuseNets and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...infusenet.errors import SettingsError
from ...infusenet.guidance.decoupled import CONTENTS, Kind, Third
from ..infusenet.adapter import InfuseNetControl, chain
from ..infusenet.apply import Conditioning, attach, with_shared


def conditions(kind: Kind, positive: Conditioning, negative: Conditioning) -> dict[Third, Conditioning]:
    """The conditioning of each third of a kind.

    Args:
        kind: one of `KINDS`.
        positive: the prompt, as a rule with InfuseNets.
        negative: the negative prompt, with the same InfuseNets or without.

    Raises:
        SettingsError: the negative prompt needs the identity, and the prompt's parts have several.
    """
    found: dict[Third, Conditioning] = {}
    # what the host would share with branches that carry no ControlNet, with our InfuseNets in its chain
    negative = with_shared(without_identity(positive), negative)
    for third, seen in CONTENTS[kind].items():
        text = positive if seen.prompt else negative
        if not seen.identity:
            text = without_identity(text)
        elif not seen.prompt:
            text = with_identity(text, shared(positive))
        found[third] = text
    return found


def infusenets(conditioning: Conditioning) -> Iterator[InfuseNetControl]:
    """Our InfuseNets on a conditioning's entries; of each entry the last in its chain first."""
    controls = (control for _, options in conditioning for control in chain(options.get("control")))
    return (control for control in controls if isinstance(control, InfuseNetControl))


def without_identity(conditioning: Conditioning) -> Conditioning:
    """The same without our InfuseNets. ControlNets of others stay, the very objects where nothing was before them."""
    kept: dict[Any, Any] = {}
    entries = []
    for embedding, options in conditioning:
        control = options.get("control")
        left = _without(control, kept)
        if left is not control:
            rest = {key: value for key, value in options.items() if key != "control"}
            options = rest if left is None else {**rest, "control": left}
        entries.append([embedding, options])
    return entries


def _without(control: Any, kept: dict[Any, Any]) -> Any:
    """A chain without our InfuseNets; `kept` lets chains that share a ControlNet share what becomes of it."""
    if control is None:
        return None
    if control not in kept:
        before = _without(control.previous_controlnet, kept)
        if isinstance(control, InfuseNetControl):
            kept[control] = before
        elif before is control.previous_controlnet:
            kept[control] = control
        else:
            kept[control] = control.copy()
            kept[control].set_previous_controlnet(before)
    return kept[control]


def with_identity(conditioning: Conditioning, nets: list[InfuseNetControl]) -> Conditioning:
    """The same with these InfuseNets, the first of them first; as it is where it carries one."""
    if any(infusenets(conditioning)):
        return conditioning
    for net in nets:
        (conditioning,) = attach([conditioning], net)
    return conditioning


def shared(conditioning: Conditioning) -> list[InfuseNetControl]:
    """The InfuseNets that all entries of a conditioning carry, in their order.

    Raises:
        SettingsError: entries carry different ones.
    """
    found = {}
    for entry in conditioning:
        nets = [*infusenets([entry])][::-1]
        found[
            tuple((id(net.tokens), id(net.hint), net.strength, net.window, net.gate, net.attention) for net in nets)
        ] = nets
    if len(found) > 1:
        raise SettingsError(
            "The parts of the prompt carry different identities, so it is not clear which one the negative prompt "
            "should carry. Choose kind = direction, or combine the parts first and then give each person a mask in "
            "Apply InfuseNet Identity."
        )
    return next(iter(found.values()), [])
