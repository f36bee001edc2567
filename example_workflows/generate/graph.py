"""A template being written: its nodes once, and from them the form for the browser and the one for POST /prompt."""

from __future__ import annotations

from typing import Any

from infusenet.weights.catalogue import FILES

READ_ME = "Read me"
COLUMNS = [  # width, and the sections below one another in it: a page opens a template so that all of it is seen
    (290, (READ_ME, "Person")),
    (250, ("Person 2",)),
    (350, ("Models",)),
    (250, ("Start",)),
    (250, ("Masks",)),
    (300, ("Prompt and identity",)),
    (250, ("Sampling", "Second method")),
    (250, ("Tiles",)),
    (280, ("Face kept", "Together")),
    (330, ("Probe", "Picture")),
    (380, ("Report",)),
    (380, ("Report of the other",)),
    (280, ("Seen by the probe", "Compared")),
]
WIDTHS = {section: width for width, sections in COLUMNS for section in sections}
GAP, TITLE, FRAME, HEADING, BETWEEN = 20, 30, 16, 46, 30
NOTE, REMARK = 250, 120  # heights
VIEW = {"scale": 0.65, "offset": [110, 140]}  # smaller, and pages show no text
_TALL = {  # pictures, texts and charts
    "CLIPTextEncode": 90,
    "LoadImage": 220,
    "PreviewImage": 190,
    "SaveImage": 300,
    "InfuseNet_IdentityProbe": 265,
    "InfuseNet_DriftReport": 430,
    "InfuseNet_LoadRecipe": 210,
}
_PLUMBING = {  # kinds that are drawn as their title alone, since little in them is ever set
    "BasicGuider",
    "FluxGuidance",
    "InfuseNet_EncodeIdentity",
    "FeatherMask",
    "ImageBatch",
    "ImageBlur",
    "ImageCompositeMasked",
    "ImageCrop",
    "ImageFromBatch",
    "ImageToMask",
    "InvertMask",
    "KSamplerSelect",
    "MaskComposite",
    "MaskToImage",
    "SetLatentNoiseMask",
    "SolidMask",
    "VAEDecode",
    "VAEEncode",
}
_GROWN = {  # kinds and names of nodes: how much taller they are once they show what they have to tell
    "InfuseNet_LoadFaceRecognizer": 65,
    "InfuseNet_SaveResults": 220,
    "InfuseNet_Score": 150,
    "InfuseNet_Sweep": 180,
    "What was read": 140,
}
_SHORT = {"What was read": -90}  # nodes of these names show less than others of their kind

HOSTS_FILES = {  # of the host's own loaders, as the host's own templates tell of them
    "clip_vision_h.safetensors": {
        "name": "clip_vision_h.safetensors",
        "url": "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/clip_vision/"
        "clip_vision_h.safetensors",
        "directory": "clip_vision",
    }
}

Link = tuple[str, int]


class Graph:
    """A template being written: nodes by name, in sections; an input is a value or (node, output)."""

    def __init__(self, note: str) -> None:
        self.note = note
        self.nodes: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self.remarks: dict[str, tuple[str, str]] = {}
        self.opened: set[str] = set()  # names of nodes that are drawn whole though their kind is plumbing

    def add(self, name: str, kind: str, section: str, /, **inputs: Any) -> str:
        """Add a node; the section tells where it is drawn."""
        self.nodes[name] = (kind, section, inputs)
        return name

    def remark(self, title: str, section: str, text: str) -> None:
        """Put a note at the head of a section; the form for the browser alone has it."""
        self.remarks[title] = (section, text)

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
        notes = self._notes(len(numbers) + 1)
        for section, note in notes:
            sections.setdefault(section, []).append(note)
        for title, (kind, section, inputs) in self.nodes.items():
            node = _drawn(numbers[title], title, info[kind], inputs, WIDTHS[section], title in self.opened)
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
        drawn += [note for _, note in notes]
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

    def _notes(self, first: int) -> list[tuple[str, dict[str, Any]]]:
        """The note of the whole and those of sections, each with its section; numbered from `first`."""
        notes = [_note(first, READ_ME, self.note, (WIDTHS[READ_ME], NOTE))]
        for number, (title, (section, text)) in enumerate(self.remarks.items(), start=first + 1):
            notes.append(_note(number, title, text, (WIDTHS[section], REMARK)))
        return list(zip([READ_ME, *(section for section, _ in self.remarks.values())], notes, strict=True))


def _lay_out(sections: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Place nodes below one another in their sections, sections in their columns, and frame all but the first note."""
    left, groups = 0, []
    for width, titles in COLUMNS:
        top = 0
        for title in (title for title in titles if title in sections):
            framed = title != READ_ME
            bottom = _stack(sections[title], left + FRAME, top + TITLE + (HEADING if framed else 0))
            box = [left, top, width + 2 * FRAME, bottom - top]
            if framed:
                groups.append({"title": title, "bounding": box, "color": "#3f789e", "font_size": 24, "flags": {}})
            top = bottom + (BETWEEN if framed else 0)
        left += (width + 2 * FRAME + BETWEEN) * bool(top)
    return groups


def _stack(nodes: list[dict[str, Any]], left: int, top: int) -> int:
    """Place nodes below one another; the lower edge of a frame around them."""
    for node in nodes:
        node["pos"] = [left, top]
        top += node.pop("room") + TITLE + GAP
    return top - TITLE - GAP + FRAME


_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def _is_widget(spec: list[Any]) -> bool:
    forced = len(spec) > 1 and spec[1].get("forceInput")
    return not forced and (isinstance(spec[0], list) or spec[0] in _WIDGETS)


def _drawn(
    number: int, name: str, info: dict[str, Any], inputs: dict[str, Any], width: int, opened: bool
) -> dict[str, Any]:
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
    models += [HOSTS_FILES[value] for value in inputs.values() if isinstance(value, str) and value in HOSTS_FILES]
    if models:
        properties["models"] = models
    plain = len([slot for slot in slots if "widget" not in slot])
    rows = max(plain, len(outputs), 1)
    collapsed = info["name"] in _PLUMBING and not opened
    grown = _GROWN.get(info["name"], _GROWN.get(name, 0))
    tall = _TALL.get(info["name"], 0) + _SHORT.get(name, 0)
    height = 20 * rows + 24 * len(widgets) + 20 + tall
    return {
        # what Nodes 2.0 takes, with the pack's name below a node
        "room": 0 if collapsed else max(height, 20 * rows + 28 * len(widgets) + 40 + tall) + grown,
        "id": number,
        "type": info["name"],
        "pos": [0, 0],
        "size": [width, height],
        "flags": {"collapsed": True} if collapsed else {},
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


def _note(number: int, title: str, text: str, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "room": size[1],
        "id": number,
        "type": "MarkdownNote",
        "pos": [0, 0],
        "size": list(size),
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [text],
        "title": title,
    }
