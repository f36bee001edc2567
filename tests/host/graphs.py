"""The shipped templates, stated once: each becomes a UI form and an API form.

Run `python tests/host/graphs.py http://127.0.0.1:8188` with a ComfyUI that has this pack running there: it writes
example_workflows/NAME.json (for the browser) and example_workflows/api/NAME.json (for POST /prompt). With --people it
draws the persons of example_workflows/input instead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

FOLDER = Path(__file__).parents[2] / "example_workflows"
REFERENCE, REFERENCE_2 = "infusenet_reference.png", "infusenet_reference_2.png"
PEOPLE = {REFERENCE: 12, REFERENCE_2: 9}  # seeds of the drawn persons
SEED = 7

FILES: dict[str, dict[str, Any]] = {
    "flux-schnell": {"diffusion_model": "flux1-schnell.safetensors"},
    "flux-dev": {"diffusion_model": "flux1-dev.safetensors"},
}
COMMON_FILES = {
    "text_encoder_1": "clip_l.safetensors",
    "text_encoder_2": "t5xxl_fp16.safetensors",
    "vae": "ae.safetensors",
}
INFUSENET_FILE = "infusenet_sim_bf16.safetensors"
ENCODER_FILES = {
    "image_proj": "sim_stage1/image_proj_model.bin",
    "arcface": "recognition_arcface_ir_se50.pth",
    "face_pack": "models/antelopev2",
}
_HUB = "https://huggingface.co"
_BFL = f"{_HUB}/black-forest-labs"
_ENCODERS = f"{_HUB}/comfyanonymous/flux_text_encoders/resolve/main"
DOWNLOADS = {
    "flux1-schnell.safetensors": (f"{_BFL}/FLUX.1-schnell/resolve/main/flux1-schnell.safetensors", "diffusion_models"),
    "flux1-dev.safetensors": (f"{_BFL}/FLUX.1-dev/resolve/main/flux1-dev.safetensors", "diffusion_models"),
    "clip_l.safetensors": (f"{_ENCODERS}/clip_l.safetensors", "text_encoders"),
    "t5xxl_fp16.safetensors": (f"{_ENCODERS}/t5xxl_fp16.safetensors", "text_encoders"),
    "ae.safetensors": (f"{_BFL}/FLUX.1-schnell/resolve/main/ae.safetensors", "vae"),
    "recognition_arcface_ir_se50.pth": (
        "https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",
        "infinite_you",
    ),
}

SECTIONS = {  # title -> width; drawn from left to right, each in a frame of its own
    "Models": 380,
    "Person": 270,
    "Person 2": 270,
    "Masks": 270,
    "Prompt and identity": 330,
    "Probe": 340,
    "Sampling": 280,
    "Picture": 330,
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
    "InfuseNet_IdentityProbe": 210,
    "InfuseNet_DriftReport": 340,
}

Link = tuple[str, int]


class Graph:
    """A template being written: nodes by name, in sections; an input is a value or (node, output)."""

    def __init__(self, note: str) -> None:
        self.note = note
        self.nodes: dict[str, tuple[str, str, dict[str, Any]]] = {}

    def add(self, name: str, kind: str, section: str, **inputs: Any) -> str:
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

    def ui(self, info: dict[str, Any]) -> dict[str, Any]:
        """The form that the browser opens.

        Args:
            info: the host's /object_info.
        """
        numbers = {name: index for index, name in enumerate(self.nodes, start=1)}
        drawn, links, sections = [], [], {}
        for name, (kind, section, inputs) in self.nodes.items():
            node = _drawn(numbers[name], name, info[kind], inputs, SECTIONS[section])
            sections.setdefault(section, []).append(node)
            for slot in node["inputs"]:
                value = inputs.get(slot["name"])
                if isinstance(value, tuple):
                    source = info[self.nodes[value[0]][0]]
                    links.append(
                        [len(links) + 1, numbers[value[0]], value[1], numbers[name], node["inputs"].index(slot),
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
            "extra": {"ds": VIEW},
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
        {"name": value, "url": DOWNLOADS[value][0], "directory": DOWNLOADS[value][1]}
        for value in inputs.values()
        if isinstance(value, str) and value in DOWNLOADS
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


def backbone(graph: Graph, name: str) -> None:
    """The loaders; files for the real backbones, nothing but names for the miniatures."""
    mini = name.startswith("mini")
    none = dict.fromkeys(["diffusion_model", *COMMON_FILES], "none")
    graph.add(
        "Backbone",
        "InfuseNet_LoadBackbone",
        "Models",
        backbone=name,
        **(none if mini else {**FILES[name], **COMMON_FILES}),
        weight_dtype="default",
    )
    infusenet = "miniature" if mini else INFUSENET_FILE
    graph.add("InfuseNet", "InfuseNet_LoadInfuseNet", "Models", infusenet=infusenet, weight_dtype="default")
    encoder = dict.fromkeys(ENCODER_FILES, "miniature") if mini else ENCODER_FILES
    graph.add("Identity encoder", "InfuseNet_LoadIdentityEncoder", "Models", **encoder, device="auto")


def person(graph: Graph, suffix: str = "", picture: str = REFERENCE) -> Link:
    """A photo and the identity read off it."""
    image = graph.add(f"Reference{suffix}", "LoadImage", f"Person{suffix}", image=picture)
    identity = graph.add(
        f"Identity{suffix}",
        "InfuseNet_EncodeIdentity",
        f"Person{suffix}",
        encoder=("Identity encoder", 0),
        image=(image, 0),
        batch="fuse",
        face="largest",
        face_index=0,
        on_no_face="error",
    )
    graph.add(f"What was read{suffix}", "PreviewImage", f"Person{suffix}", images=(identity, 1))
    return (identity, 0)


def prompt(graph: Graph, text: str) -> Link:
    """The prompt, with the backbone's own guidance."""
    graph.add("Prompt", "CLIPTextEncode", "Prompt and identity", clip=("Backbone", 1), text=text)
    graph.add("Guidance", "FluxGuidance", "Prompt and identity", conditioning=("Prompt", 0), guidance=("Backbone", 4))
    return ("Guidance", 0)


def apply(graph: Graph, positive: Link, identity: Link, suffix: str = "", **more: Any) -> str:
    """Apply InfuseNet with its default settings."""
    settings = {
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "gate": "step",
        "on_negative": False,
    }
    return graph.add(
        f"Apply{suffix}",
        "InfuseNet_Apply",
        "Prompt and identity",
        positive=positive,
        infusenet=("InfuseNet", 0),
        identity=identity,
        vae=("Backbone", 2),
        **settings,
        **more,
    )


def sample(graph: Graph, positive: Link, width: int, height: int, prefix: str, model: Link = ("Backbone", 0)) -> None:
    """The exact schedule, euler, and the picture."""
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=width, height=height, batch_size=1)
    graph.add(
        "Schedule", "InfuseNet_Sigmas", "Sampling", model=("Backbone", 0), latent=("Size", 0), steps=0, denoise=1.0
    )
    graph.add("Noise", "RandomNoise", "Sampling", noise_seed=SEED)
    graph.add("Sampler", "KSamplerSelect", "Sampling", sampler_name="euler")
    graph.add("Guider", "BasicGuider", "Sampling", model=model, conditioning=positive)
    graph.add(
        "Sampling",
        "SamplerCustomAdvanced",
        "Sampling",
        noise=("Noise", 0),
        guider=("Guider", 0),
        sampler=("Sampler", 0),
        sigmas=("Schedule", 0),
        latent_image=("Size", 0),
    )
    picture(graph, prefix)


def picture(graph: Graph, prefix: str) -> None:
    """Decode and save."""
    graph.add("Decode", "VAEDecode", "Picture", samples=("Sampling", 0), vae=("Backbone", 2))
    graph.add("Picture", "SaveImage", "Picture", images=("Decode", 0), filename_prefix=prefix)


_SWITCH = (
    "dev or schnell: change `backbone` (and `diffusion_model`) in *Backbone*. Steps, guidance, text length and "
    "schedule follow by themselves."
)
_REAL = (
    "Files: FLUX in `models/diffusion_models`, `clip_l` and `t5xxl` in `models/text_encoders`, `ae` in `models/vae`; "
    "`infusenet_sim_bf16.safetensors`, `sim_stage1/image_proj_model.bin` and `recognition_arcface_ir_se50.pth` in "
    "`models/infinite_you`; `antelopev2` in `models/insightface/models`. Nothing is downloaded by itself.\n\n"
    "Licences: InfiniteYou's weights are CC BY-NC 4.0, InsightFace's packs are for non-commercial research, "
    "FLUX.1 [dev] is non-commercial, FLUX.1 [schnell] is Apache-2.0. *Reference*: a photo of someone who agrees."
)


_WORDS = (
    "The miniature knows few words. A style: `a photo of`, `a pencil sketch of`, `a watercolor painting of`, "
    "`pixel art of`. A mood: `smiling`, `sad`, `surprised`. Clothes: `wearing a blue suit and glasses`. "
    "A place: `at the beach`, `in a forest`, `in a city at night`, `in the snow`, `in a library`."
)


def miniature() -> Graph:
    """Everything in small: runs as it comes."""
    graph = Graph(
        "## Identity-preserved FLUX, in small\n\nRuns on any machine with what comes with the pack: a drawn person who "
        "does not exist, kept in a new scene, in 4 steps at 128x128.\n\n"
        + _WORDS
        + "\n\n"
        + _SWITCH
        + " For 28 steps choose `mini-dev`."
    )
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
    sample(graph, (apply(graph, positive, identity), 0), 128, 128, "infusenet_miniature")
    return graph


def flux(name: str, title: str) -> Graph:
    """FLUX with InfiniteYou's weights."""
    graph = Graph(f"## {title}\n\n{_SWITCH}\n\n{_REAL}")
    backbone(graph, name)
    identity = person(graph)
    positive = prompt(graph, "A person in a red coat on a snowy street at dusk, 85mm photograph")
    sample(graph, (apply(graph, positive, identity), 0), 864, 1152, "infusenet_" + name.replace("-", "_"))
    return graph


def two_people() -> Graph:
    """Two identities, each in its half."""
    graph = Graph(
        "## Two people\n\nOne *Apply InfuseNet* for each, chained, each with a mask. A mask limits the identity, not "
        "the picture: the prompt says where people are. Paint other masks in *Left*.\n\n" + _REAL
    )
    backbone(graph, "flux-schnell")
    first, second = person(graph), person(graph, " 2", REFERENCE_2)
    positive = prompt(
        graph, "Two people side by side at a cafe table, one on the left and one on the right, photograph"
    )
    graph.add("Left", "SolidMask", "Masks", value=1.0, width=576, height=864)
    graph.add("Nothing", "SolidMask", "Masks", value=0.0, width=1152, height=864)
    graph.add(
        "Left half", "MaskComposite", "Masks", destination=("Nothing", 0), source=("Left", 0), x=0, y=0, operation="add"
    )
    graph.add("Right half", "InvertMask", "Masks", mask=("Left half", 0))
    one = apply(graph, positive, first, mask=("Left half", 0))
    two = apply(graph, (one, 0), second, " 2", mask=("Right half", 0))
    sample(graph, (two, 0), 1152, 864, "infusenet_two_people")
    return graph


def ksampler() -> Graph:
    """The plain KSampler with the closest stock scheduler."""
    graph = Graph(
        "## Plain KSampler\n\nThe scheduler `simple` is schnell's exact schedule at 4 steps. For dev it is close: "
        "set 28 steps, `cfg` 1, and put ModelSamplingFlux (max_shift 1.15, base_shift 0.5, your size) behind the "
        "model; the noise levels then differ by up to 4.5e-3 from the exact ones, which *FLUX Sigmas* gives.\n\n"
        + _SWITCH
    )
    backbone(graph, "mini-schnell")
    identity = person(graph, picture=REFERENCE_2)
    positive = prompt(graph, "a photo of a smiling person in a forest")
    applied = apply(graph, positive, identity)
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=128, height=128, batch_size=1)
    graph.add(
        "Sampling",
        "KSampler",
        "Sampling",
        model=("Backbone", 0),
        seed=SEED,
        steps=("Backbone", 3),
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=(applied, 0),
        negative=(applied, 1),
        latent_image=("Size", 0),
        denoise=1.0,
    )
    picture(graph, "infusenet_ksampler")
    return graph


def probe(graph: Graph, reference: str, when: str) -> Link:
    """A probe on the backbone."""
    graph.add("Recognizer", "InfuseNet_LoadFaceRecognizer", "Models", face_pack="miniature", device="auto")
    graph.add(
        "Probe",
        "InfuseNet_IdentityProbe",
        "Probe",
        model=("Backbone", 0),
        recognizer=("Recognizer", 0),
        reference=(reference, 0),
        when=when,
        every=1,
        vae=("Backbone", 2),
    )
    return ("Probe", 0)


def report(graph: Graph) -> None:
    """The report on the sampler, its pictures, and the best step decoded."""
    graph.add("Report", "InfuseNet_DriftReport", "Report", trace=("Probe", 1), samples=("Sampling", 0))
    graph.add("Chart", "PreviewImage", "Report", images=("Report", 0))
    graph.add("Faces", "PreviewImage", "Report", images=("Report", 1))
    graph.add("Decode best", "VAEDecode", "Report", samples=("Report", 2), vae=("Backbone", 2))
    graph.add("Best step", "PreviewImage", "Report", images=("Decode best", 0))


_MEASURED = (
    "*Probe* measures each step's prediction against *Reference* and draws the curve on its node; *Report* says where "
    "the likeness peaked and what to try next. The picture is the same with and without it.\n\nAs it comes it runs on "
    "the miniature. With real weights choose `antelopev2` in *Recognizer* (InsightFace's packs are for non-commercial "
    "research)"
)


def probe_schnell() -> Graph:
    """See the likeness at every step."""
    graph = Graph(f"## Identity probe, 4 steps\n\n{_MEASURED}, and your files in the other loaders.\n\n{_SWITCH}")
    backbone(graph, "mini-schnell")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
    applied = apply(graph, positive, identity)
    sample(graph, (applied, 0), 128, 128, "infusenet_probe", probe(graph, "Reference", "live"))
    report(graph)
    return graph


def probe_dev() -> Graph:
    """End at the best step."""
    graph = Graph(
        "## Stop at the identity peak, 28 steps\n\n*Stop* ends sampling once the likeness has fallen and gives back "
        f"the best step's own prediction.\n\n{_MEASURED}, and your files in the other loaders.\n\n{_SWITCH}"
    )
    backbone(graph, "mini-dev")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
    applied = apply(graph, positive, identity)
    model = probe(graph, "Reference", "live")
    graph.add("Stop", "InfuseNet_StopAtPeak", "Probe", model=model, patience=2, min_steps=2, tolerance=0.01)
    sample(graph, (applied, 0), 128, 128, "infusenet_stop_at_peak", ("Stop", 0))
    report(graph)
    return graph


def probe_ksampler() -> Graph:
    """Any model, any way of carrying identity."""
    graph = Graph(
        f"## Identity probe without InfuseNet\n\n{_MEASURED}.\n\nPut your own loader in place of *Backbone*: any image "
        "model, with PuLID, InstantID, a LoRA or nothing to carry the identity. Here nothing does, so that the curve "
        "should stay at the strangers' line. PuLID and InstantID condition with antelopev2 themselves, so that "
        "measuring with it flatters them."
    )
    none = dict.fromkeys(["diffusion_model", *COMMON_FILES], "none")
    graph.add("Backbone", "InfuseNet_LoadBackbone", "Models", backbone="mini-schnell", **none, weight_dtype="default")
    graph.add("Reference", "LoadImage", "Person", image=REFERENCE)
    graph.add(
        "Prompt",
        "CLIPTextEncode",
        "Prompt and identity",
        clip=("Backbone", 1),
        text="a photo of a smiling person at the beach",
    )
    graph.add("Negative", "CLIPTextEncode", "Prompt and identity", clip=("Backbone", 1), text="")
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=128, height=128, batch_size=1)
    graph.add(
        "Sampling",
        "KSampler",
        "Sampling",
        model=probe(graph, "Reference", "after the run"),
        seed=SEED,
        steps=8,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=("Prompt", 0),
        negative=("Negative", 0),
        latent_image=("Size", 0),
        denoise=1.0,
    )
    graph.add("Decode", "VAEDecode", "Picture", samples=("Sampling", 0), vae=("Backbone", 2))
    graph.add("Picture", "SaveImage", "Picture", images=("Decode", 0), filename_prefix="infusenet_probe_ksampler")
    report(graph)
    return graph


def sweep() -> Graph:
    """The step count that suits one face."""
    graph = Graph(
        "## Sweep one setting\n\n*Sweep* samples once for each of its `values` and measures every picture against "
        "*Reference*: the chart says which step count keeps this person best, the sheet shows the pictures. Set `axis` "
        "to `strength` (try `0.25:1.5:0.25`), `guidance` (with dev: `0, 1, 2, 3.5, 5`) or `seed` (`1:8:1`).\n\nEach "
        "value is one run, and one run is one draw of noise: sweep the seed before you trust a small difference.\n\n"
        "As it comes it runs on the miniature. With real weights choose `antelopev2` in *Recognizer* (InsightFace's "
        f"packs are for non-commercial research), and your files in the other loaders.\n\n{_SWITCH}"
    )
    backbone(graph, "mini-schnell")
    graph.add("Recognizer", "InfuseNet_LoadFaceRecognizer", "Models", face_pack="miniature", device="auto")
    identity = person(graph)
    positive = prompt(graph, "a photo of a smiling person at the beach")
    applied = apply(graph, positive, identity)
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=128, height=128, batch_size=1)
    graph.add(
        "Sweep",
        "InfuseNet_Sweep",
        "Sampling",
        model=("Backbone", 0),
        positive=(applied, 0),
        negative=(applied, 1),
        latent_image=("Size", 0),
        vae=("Backbone", 2),
        recognizer=("Recognizer", 0),
        reference=("Reference", 0),
        axis="steps",
        values="1, 2, 4, 8",
        steps=0,
        cfg=1.0,
        seed=SEED,
        sampler_name="euler",
    )
    graph.add("Decode best", "VAEDecode", "Picture", samples=("Sweep", 2), vae=("Backbone", 2))
    graph.add("Best picture", "SaveImage", "Picture", images=("Decode best", 0), filename_prefix="infusenet_sweep")
    graph.add("Chart", "PreviewImage", "Report", images=("Sweep", 0))
    graph.add("Sheet", "PreviewImage", "Report", images=("Sweep", 1))
    return graph


TEMPLATES = {
    "miniature": miniature,
    "miniature_ksampler": ksampler,
    "flux_schnell_4_steps": lambda: flux("flux-schnell", "FLUX.1 schnell, 4 steps"),
    "flux_dev_28_steps": lambda: flux("flux-dev", "FLUX.1 dev, 28 steps"),
    "two_people": two_people,
    "probe_schnell": probe_schnell,
    "probe_dev_stop_at_peak": probe_dev,
    "probe_ksampler": probe_ksampler,
    "sweep_steps": sweep,
}


def write(info: dict[str, Any], folder: Path = FOLDER) -> list[Path]:
    """Write all templates in both forms."""
    (folder / "api").mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in TEMPLATES.items():
        graph = make()
        for path, form in ((folder / f"{name}.json", graph.ui(info)), (folder / "api" / f"{name}.json", graph.api())):
            path.write_text(json.dumps(form, indent=1) + "\n", encoding="utf-8")
            written.append(path)
    return written


def draw_people(folder: Path = FOLDER) -> None:
    """Draw the templates' references: persons who do not exist."""
    from infusenet.demo import draw_people as draw
    from infusenet.pictures import save_picture

    (folder / "input").mkdir(parents=True, exist_ok=True)
    for name, seed in PEOPLE.items():
        save_picture(draw(seed).reference, folder / "input" / name, {"Title": f"a drawn person (seed {seed})"})


if __name__ == "__main__":
    if "--people" in sys.argv:
        draw_people()
        sys.exit()
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8188"
    with urlopen(f"{address}/object_info", timeout=60) as answer:
        for path in write(json.load(answer)):
            print(path)
