"""Subgraph blueprints, subgraphs/NAME.json: parts of the templates that ComfyUI offers as nodes of its library.

ComfyUI 0.33 lists each pack's subgraphs/*.json by file name; 0.3.64 does not know them and leaves them alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .graph import Graph, Link
from .parts import SEED, SMILING, apply, backbone, prompt, recognizer, run

OUTSIDE, RESULT = "Outside", "Result"  # stand for the subgraph's edges while it is stated, and are no nodes of it
INPUTS, OUTPUTS = -10, -20  # what the page calls them


@dataclass(frozen=True)
class Blueprint:
    """A subgraph: what it says of itself, what it is given and gives, and which settings its node shows.

    Attributes:
        told: its description.
        words: what it is found by.
        given: its inputs' types by name.
        settings: (node, widget) inside that its node shows.
        state: adds its nodes to a graph, and gives the outputs.
    """

    told: str
    words: tuple[str, ...]
    given: dict[str, str]
    settings: tuple[tuple[str, str], ...]
    state: Callable[[Graph], dict[str, Link]]


def _scene(graph: Graph) -> dict[str, Link]:
    backbone(graph, "mini-schnell")
    read = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error"}
    graph.add(
        "Identity", "InfuseNet_EncodeIdentity", "Person", encoder=("Identity encoder", 0), image=(OUTSIDE, 0), **read
    )
    applied = apply(graph, prompt(graph, SMILING), ("Identity", 0))
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=128, height=128, batch_size=1)
    _sampled(graph, ("Backbone", 0), (applied, 0), ("Size", 0), ("Backbone", 2))
    return {"image": ("Decode", 0), "latent": ("Sampling", 0)}


def _sampled(graph: Graph, model: Link, positive: Link, latent: Link, vae: Link) -> None:
    """Schedule, noise, euler, and the picture."""
    graph.add("Schedule", "InfuseNet_Sigmas", "Sampling", model=model, latent=latent, steps=0, denoise=1.0)
    graph.add("Noise", "RandomNoise", "Sampling", noise_seed=SEED)
    graph.add("Sampler", "KSamplerSelect", "Sampling", sampler_name="euler")
    run(graph, "Sampling", "Guider", positive, latent, model)
    graph.add("Decode", "VAEDecode", "Sampling", samples=("Sampling", 0), vae=vae)


def _probed(graph: Graph) -> dict[str, Link]:
    model, positive, latent, vae, reference = ((OUTSIDE, place) for place in range(5))
    recognizer(graph)
    watching = {"when": "live", "every": 1, "references": "one person", "skip_below": 0}
    measured = {"recognizer": ("Recognizer", 0), "reference": reference, "vae": vae}
    graph.add("Probe", "InfuseNet_IdentityProbe", "Probe", model=model, **measured, **watching)
    _sampled(graph, ("Probe", 0), positive, latent, vae)
    graph.add(
        "Report",
        "InfuseNet_DriftReport",
        "Report",
        trace=("Probe", 1),
        samples=("Sampling", 0),
        image=("Decode", 0),
        run=0,
        step=0,
    )
    given = {"image": ("Decode", 0), "latent": ("Sampling", 0), "chart": ("Report", 0), "faces": ("Report", 1)}
    return {**given, "best_picture": ("Report", 8), "best_similarity": ("Report", 11)}


def _best(graph: Graph) -> dict[str, Link]:
    recognizer(graph)
    shown = {"show": "pictures", "references": "one person"}
    measured = {"images": (OUTSIDE, 0), "recognizer": ("Recognizer", 0), "reference": (OUTSIDE, 1)}
    graph.add("Score", "InfuseNet_Score", "Report", **measured, **shown)
    return {"best": ("Score", 1), "sheet": ("Score", 7), "best_index": ("Score", 2), "best_similarity": ("Score", 3)}


BLUEPRINTS = {
    "Person in a Scene": Blueprint(
        "A photo in, the person in a new scene out. Runs on the miniature; for FLUX choose your files inside.",
        ("face swap", "pulid", "instantid", "faceid", "portrait", "consistent character", "headshot", "likeness"),
        {"photo": "IMAGE"},
        (("Prompt", "text"), ("Backbone", "backbone"), ("Apply", "strength"), ("Noise", "noise_seed")),
        _scene,
    ),
    "Probe and Report": Blueprint(
        "Samples with the probe: the picture, and a chart of the likeness at each step.",
        ("face similarity", "identity drift", "likeness", "sampler"),
        {"model": "MODEL", "positive": "CONDITIONING", "latent": "LATENT", "vae": "VAE", "reference": "IMAGE"},
        (("Recognizer", "face_pack"), ("Noise", "noise_seed"), ("Schedule", "steps")),
        _probed,
    ),
    "Best of a Batch": Blueprint(
        "The picture of a batch that is most like the person.",
        ("pick best", "likeness", "face similarity", "headshot"),
        {"images": "IMAGE", "reference": "IMAGE"},
        (("Recognizer", "face_pack"),),
        _best,
    ),
}


def form(name: str, info: dict[str, Any]) -> dict[str, Any]:
    """A blueprint as the page opens it: one node, and the subgraph that it is of.

    Args:
        name: one of BLUEPRINTS.
        info: the host's /object_info.
    """
    blueprint, graph = BLUEPRINTS[name], Graph("")
    graph.add(OUTSIDE, OUTSIDE, "Person")
    results = blueprint.state(graph)
    graph.add(RESULT, RESULT, "Report", **results)
    types = {key: _type(graph, info, link) for key, link in results.items()}
    known = {**info, OUTSIDE: _edge(OUTSIDE, outputs=blueprint.given), RESULT: _edge(RESULT, inputs=types)}
    whole, identifier = graph.ui(known, name), str(uuid5(NAMESPACE_URL, f"infusenet/{name}"))
    numbers = {node["title"]: node["id"] for node in whole["nodes"]}
    edges = {numbers[OUTSIDE]: INPUTS, numbers[RESULT]: OUTPUTS}
    links = [
        {"id": one, "origin_id": edges.get(origin, origin), "origin_slot": slot, "target_id": edges.get(target, target),
         "target_slot": place, "type": kind}
        for one, origin, slot, target, place, kind in whole["links"]
    ]  # fmt: skip
    inside = [node for node in whole["nodes"] if node["id"] not in edges and node["type"] != "MarkdownNote"]
    subgraph = {
        "id": identifier,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(whole["nodes"]), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": INPUTS, "bounding": [-220, 60, 120, 40 + 20 * len(blueprint.given)]},
        "outputNode": {"id": OUTPUTS, "bounding": [_right(inside) + 100, 60, 120, 40 + 20 * len(types)]},
        "inputs": _slots(identifier, blueprint.given, links, "origin"),
        "outputs": _slots(identifier, types, links, "target"),
        "widgets": [],
        "nodes": inside,
        "groups": [],
        "links": links,
        "extra": {},
    }
    shown = [[str(numbers[node]), widget] for node, widget in blueprint.settings]
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [_outer(name, identifier, blueprint.given, types, shown)],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {"BlueprintDescription": blueprint.told, "BlueprintSearchAliases": list(blueprint.words)},
    }


def _edge(name: str, inputs: dict[str, str] | None = None, outputs: dict[str, str] | None = None) -> dict[str, Any]:
    """What /object_info would say of a subgraph's edge."""
    kinds, names = list((outputs or {}).values()), list(outputs or {})
    required = {key: [kind, {"forceInput": True}] for key, kind in (inputs or {}).items()}
    return {"name": name, "input": {"required": required}, "output": kinds, "output_name": names}


def _type(graph: Graph, info: dict[str, Any], link: Link) -> str:
    return str(info[graph.nodes[link[0]][0]]["output"][link[1]])


def _right(nodes: list[dict[str, Any]]) -> int:
    return max(node["pos"][0] + node["size"][0] for node in nodes)


def _slots(identifier: str, types: dict[str, str], links: list[dict[str, Any]], end: str) -> list[dict[str, Any]]:
    """A subgraph's inputs (their links' origin) or outputs (their target)."""
    edge = INPUTS if end == "origin" else OUTPUTS
    return [
        {
            "id": str(uuid5(NAMESPACE_URL, f"{identifier}/{end}/{name}")),
            "name": name,
            "type": kind,
            "linkIds": [one["id"] for one in links if one[f"{end}_id"] == edge and one[f"{end}_slot"] == place],
            "localized_name": name,
            "pos": [0, 80 + 20 * place],
        }
        for place, (name, kind) in enumerate(types.items())
    ]


def _outer(
    name: str, identifier: str, given: dict[str, str], types: dict[str, str], shown: list[Any]
) -> dict[str, Any]:
    """The subgraph's node."""
    return {
        "id": 1,
        "type": identifier,
        "pos": [0, 0],
        "size": [340, 80 + 24 * (max(len(given), len(types)) + len(shown))],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": key, "localized_name": key, "type": kind, "link": None} for key, kind in given.items()],
        "outputs": [{"name": key, "localized_name": key, "type": kind, "links": []} for key, kind in types.items()],
        "properties": {"proxyWidgets": shown},
        "widgets_values": [],
        "title": name,
    }
