"""Other packs' identity methods: which face recognizer they condition with, as far as a prompt tells."""

from __future__ import annotations

from typing import Any

NETWORKS = {  # InsightFace's packs -> the file of their recognizer
    "antelopev2": "glintr100.onnx",
    "buffalo_l": "w600k_r50.onnx",
    "buffalo_m": "w600k_r50.onnx",
    "buffalo_s": "w600k_mbf.onnx",
    "buffalo_sc": "w600k_mbf.onnx",
}
LOADERS = {  # node -> the pack that it opens, where its own inputs do not name another
    "InstantIDFaceAnalysis": "antelopev2",
    "PulidInsightFaceLoader": "antelopev2",
    "PulidFluxInsightFaceLoader": "antelopev2",
    "IPAdapterInsightFaceLoader": "buffalo_l",
    "IPAdapterUnifiedLoaderFaceID": "buffalo_l",
}


def recognizers_before(node: str, prompt: dict[str, Any]) -> tuple[str, ...]:
    """The recognizers that nodes before a sampler load for conditioning.

    Args:
        node: the sampler's id.
        prompt: nodes by id, as POST /prompt takes them.

    Returns:
        File names, the nearest first; () where none is known.
    """
    entries = [prompt.get(key, {}) for key in ancestors(node, prompt)]
    packs = [_pack(entry) for entry in entries if entry.get("class_type") in LOADERS]
    return tuple(dict.fromkeys(NETWORKS[pack] for pack in packs))


def ancestors(node: str, prompt: dict[str, Any]) -> list[str]:
    """The nodes that a node's inputs come from, directly or not, the nearest first."""
    found = [str(node)]
    for key in found:  # it grows meanwhile
        links = [value for value in prompt.get(key, {}).get("inputs", {}).values() if isinstance(value, list) and value]
        found += [name for name in dict.fromkeys(str(link[0]) for link in links) if name not in found]
    return found[1:]


def _pack(loader: dict[str, Any]) -> str:
    """The pack that a loader's inputs name, else its own."""
    named = [value for value in loader.get("inputs", {}).values() if isinstance(value, str) and value in NETWORKS]
    return named[0] if named else LOADERS[loader["class_type"]]
