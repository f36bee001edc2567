"""A template being written: its nodes once, and from them the form for the browser and the one for POST /prompt."""

from __future__ import annotations

from typing import Any

from infusenet.weights.catalogue import FILES

SECTIONS = {  # title -> width; drawn from left to right, each in a frame of its own
    "Models": 380,
    "Person": 270,
    "Person 2": 270,
    "Masks": 270,
    "Prompt and identity": 330,
    "Probe": 340,
    "Sampling": 280,
    "Picture": 330,
    "Tiles": 270,
    "Together": 270,
    "Face kept": 300,
    "Report": 420,
}
GAP, TITLE, FRAME, HEADING, BETWEEN = 24, 30, 20, 50, 40
NOTE = (380, 560)
VIEW = {"scale": 0.65, "offset": [NOTE[0] + BETWEEN + 130, 150]}  # smaller, and pages show no text
_TALL = {  # pictures, texts and charts
    "CLIPTextEncode": 130,
    "LoadImage": 290,
    "PreviewImage": 250,
    "SaveImage": 400,
    "InfuseNet_IdentityProbe": 265,
    "InfuseNet_DriftReport": 430,
}

Link = tuple[str, int]


class Graph:
    """A template being written: nodes by name, in sections; an input is a value or (node, output)."""

    def __init__(self, note: str) -> None:
        self.note = note
        self.nodes: dict[str, tuple[str, str, dict[str, Any]]] = {}

    def add(self, name: str, kind: str, section: str, /, **inputs: Any) -> str:
        """Add a node; the section tells where it is drawn."""
        self.nodes[name] = (kind, section, inputs)
        return name

    def api(self) -> dict[str, Any]:
        """The form that POST /prompt takes."""
        numbers = {name: str(index) for index, name in enumerate(self.nodes, start=1)}
        return {
            numbers[name]: {
                "class_type": kind,
                "inputs": {
                    key: [numbers[value[0]], value[1]] if isinstance(value, tuple) else value
                    for key, value in inputs.items()
                },
                "_meta": {"title": name},
            }
            for name, (kind, _, inputs) in self.nodes.items()
        }

    def ui(self, info: dict[str, Any], name: str) -> dict[str, Any]:
        """The form that the browser opens.

        Args:
            info: the host's /object_info.
            name: the template's short name, by which an address finds it (`nodes/templates.py`).
        """
        numbers = {name: index for index, name in enumerate(self.nodes, start=1)}
        drawn, links, sections = [], [], {}
        for title, (kind, section, inputs) in self.nodes.items():
            node = _drawn(numbers[title], title, info[kind], inputs, SECTIONS[section])
            sections.setdefault(section, []).append(node)
            for slot in node["inputs"]:
                value = inputs.get(slot["name"])
                if isinstance(value, tuple):
                    source = info[self.nodes[value[0]][0]]
                    links.append(
                        [len(links) + 1, numbers[value[0]], value[1], numbers[title], node["inputs"].index(slot),
                         source["output"][value[1]]]
                    )  # fmt: skip
                    slot["link"] = len(links)
            drawn.append(node)
        for link in links:
            drawn[link[1] - 1]["outputs"][link[2]]["links"].append(link[0])
        drawn.append(_note(len(drawn) + 1, self.note))
        return {
            "last_node_id": len(drawn),
            "last_link_id": len(links),
            "nodes": drawn,
            "links": links,
            "groups": _lay_out(sections),
            "config": {},
            "extra": {"ds": VIEW, "infusenet": {"template": name}},
            "version": 0.4,
        }


def _lay_out(sections: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Place nodes below one another in their sections, and frame those."""
    left, groups = 0, []
    for title, width in SECTIONS.items():
        top = HEADING + TITLE
        for node in sections.get(title, ()):
            node["pos"] = [left + FRAME, top]
            top += node["size"][1] + TITLE + GAP
        if title in sections:
            box = [left, 0, width + 2 * FRAME, top - TITLE - GAP + FRAME]
            groups.append({"title": title, "bounding": box, "color": "#3f789e", "font_size": 24, "flags": {}})
            left += width + 2 * FRAME + BETWEEN
    return groups


_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def _is_widget(spec: list[Any]) -> bool:
    return isinstance(spec[0], list) or spec[0] in _WIDGETS


def _drawn(number: int, name: str, info: dict[str, Any], inputs: dict[str, Any], width: int) -> dict[str, Any]:
    """A node as the browser keeps it. All inputs have a slot; those with a widget name it."""
    specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    slots, widgets = [], []
    for key, spec in specs.items():
        kind = "COMBO" if isinstance(spec[0], list) else spec[0]
        optional = key in info["input"].get("optional", {})
        slot: dict[str, Any] = {"name": key, "type": kind, **({"shape": 7} if optional else {}), "link": None}
        if _is_widget(spec):
            slot["widget"] = {"name": key}
            settings = spec[1] if len(spec) > 1 else {}
            given = inputs.get(key, _default(spec, settings))
            widgets.append(_default(spec, settings) if isinstance(given, tuple) else given)
            if settings.get("control_after_generate") or key in ("seed", "noise_seed"):
                widgets.append("fixed")
            if settings.get("image_upload"):
                widgets.append("image")
        slots.append(slot)
    outputs = [
        {"name": label, "type": kind, "links": []}
        for label, kind in zip(info.get("output_name") or info["output"], info["output"], strict=True)
    ]
    properties: dict[str, Any] = {"Node name for S&R": info["name"]}
    models = [
        {"name": value, "url": FILES[value].address, "directory": FILES[value].folder}
        for value in inputs.values()
        if isinstance(value, str) and value in FILES
    ]
    if models:
        properties["models"] = models
    plain = len([slot for slot in slots if "widget" not in slot])
    rows = max(plain, len(outputs), 1)
    height = 20 * rows + 24 * len(widgets) + 20 + _TALL.get(info["name"], 0)
    return {
        "id": number,
        "type": info["name"],
        "pos": [0, 0],
        "size": [width, height],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": slots,
        "outputs": outputs,
        "properties": properties,
        "widgets_values": widgets,
        "title": name,
    }


def _default(spec: list[Any], settings: dict[str, Any]) -> Any:
    if "default" in settings:
        return settings["default"]
    options = spec[0] if isinstance(spec[0], list) else settings.get("options", [])
    empty = {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}
    return options[0] if options else empty.get(str(spec[0]), "")


def _note(number: int, text: str) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [-NOTE[0] - BETWEEN, TITLE],
        "size": list(NOTE),
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [text],
        "title": "Read me",
    }
