"""What other people's workflow files are keyed by: ids, inputs, order, types, outputs. Fixed for ever."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CONTRACT = {
    "LoadBackbone": (
        "Load FLUX Backbone",
        "backbone COMBO, diffusion_model COMBO, text_encoder_1 COMBO, text_encoder_2 COMBO, vae COMBO, "
        "weight_dtype COMBO, compile BOOLEAN",
        "model MODEL, clip CLIP, vae VAE, steps INT, guidance FLOAT",
    ),
    "Sigmas": (
        "FLUX Sigmas",
        "model MODEL, latent LATENT, steps INT, denoise FLOAT, keep INT, last_steps INT",
        "sigmas SIGMAS, steps INT",
    ),
    "LoadRecipe": (
        "Load Recipe",
        "model MODEL, recipe COMBO, text STRING",
        "steps INT, keep INT, last_steps INT, strength FLOAT, refresh STRING, about STRING",
    ),
    "LoadInfuseNet": (
        "Load InfuseNet Adapter",
        "infusenet COMBO, weight_dtype COMBO, compile BOOLEAN",
        "infusenet INFUSENET_MODEL",
    ),
    "LoadIdentityEncoder": (
        "Load Identity Encoder",
        "image_proj COMBO, arcface COMBO, face_pack COMBO, device COMBO",
        "encoder INFUSENET_IDENTITY_ENCODER",
    ),
    "EncodeIdentity": (
        "Encode Identity",
        "encoder INFUSENET_IDENTITY_ENCODER, image IMAGE, batch COMBO, face COMBO, face_index INT, on_no_face COMBO",
        "identity INFUSENET_IDENTITY, faces IMAGE, count INT",
    ),
    "FacePose": (
        "Face Pose Image",
        "encoder INFUSENET_IDENTITY_ENCODER, image IMAGE, width INT, height INT",
        "image IMAGE",
    ),
    "Apply": (
        "Apply InfuseNet Identity",
        "positive CONDITIONING, infusenet INFUSENET_MODEL, identity INFUSENET_IDENTITY, vae VAE, strength FLOAT, "
        "start_percent FLOAT, end_percent FLOAT, gate COMBO, on_negative BOOLEAN, negative CONDITIONING, "
        "pose_image IMAGE, mask MASK, refresh STRING, attention COMBO, attention_scale FLOAT",
        "positive CONDITIONING, negative CONDITIONING",
    ),
    "LoadMiniSDXL": (
        "Load Miniature SDXL",
        "few_steps BOOLEAN",
        "model MODEL, clip CLIP, vae VAE",
    ),
    "LoadIPAdapter": (
        "Load IP-Adapter",
        "ip_adapter COMBO",
        "ip_adapter INFUSENET_IP_ADAPTER",
    ),
    "ApplyIPAdapter": (
        "Apply IP-Adapter",
        "model MODEL, ip_adapter INFUSENET_IP_ADAPTER, recognizer INFUSENET_RECOGNIZER,INFUSENET_IDENTITY_ENCODER, "
        "image IMAGE, weight FLOAT, start_percent FLOAT, end_percent FLOAT, batch COMBO, lora_strength FLOAT, "
        "attention COMBO, clip_vision CLIP_VISION, block_weights STRING",
        "model MODEL, faces IMAGE",
    ),
    "DecoupledGuider": (
        "FastFace Guider",
        "model MODEL, positive CONDITIONING, negative CONDITIONING, kind COMBO, a STRING, b STRING, rescale FLOAT, "
        "model_without_identity MODEL",
        "guider GUIDER",
    ),
    "Sweep": (
        "Identity Sweep",
        "model MODEL, positive CONDITIONING, negative CONDITIONING, latent_image LATENT, vae VAE, "
        "recognizer INFUSENET_RECOGNIZER, reference IMAGE, axis COMBO, values STRING, steps INT, cfg FLOAT, seed INT, "
        "sampler_name COMBO",
        "chart IMAGE, sheet IMAGE, best LATENT, best_value FLOAT, csv STRING, pictures IMAGE",
    ),
    "LoadFaceRecognizer": (
        "Load Face Recognizer",
        "face_pack COMBO, device COMBO",
        "recognizer INFUSENET_RECOGNIZER",
    ),
    "Measure": (
        "Likeness Measure",
        "clip_vision CLIP_VISION",
        "measure INFUSENET_RECOGNIZER",
    ),
    "IdentityProbe": (
        "Identity Probe",
        "model MODEL, recognizer INFUSENET_RECOGNIZER, reference IMAGE, when COMBO, every INT, vae VAE, "
        "strangers IMAGE, references COMBO, skip_below INT, second_recognizer INFUSENET_RECOGNIZER",
        "model MODEL, trace INFUSENET_TRACE",
    ),
    "StopAtPeak": (
        "Stop at Identity Peak",
        "model MODEL, patience INT, min_steps INT, tolerance FLOAT, mode COMBO, share FLOAT, tail_steps INT",
        "model MODEL",
    ),
    "DriftReport": (
        "Identity Drift Report",
        "trace INFUSENET_TRACE, samples LATENT, image IMAGE, vae VAE, run INT, step INT",
        "chart IMAGE, faces IMAGE, best LATENT, best_step INT, peak FLOAT, drift FLOAT, json STRING, csv STRING, "
        "best_picture IMAGE, best_latent LATENT, best_index INT, best_similarity FLOAT",
    ),
    "SaveResults": (
        "Save Identity Results",
        "trace INFUSENET_TRACE, filename_prefix STRING, samples LATENT, image IMAGE, vae VAE, run INT",
        "files STRING",
    ),
    "Score": (
        "Identity Score",
        "images IMAGE, recognizer INFUSENET_RECOGNIZER, reference IMAGE, show COMBO, strangers IMAGE, references COMBO",
        "pictures IMAGE, best IMAGE, best_index INT, best_similarity FLOAT, scores FLOAT, text STRING, json STRING, "
        "sheet IMAGE",
    ),
}
OPTIONAL = {
    "Apply": ["negative", "pose_image", "mask", "refresh", "attention", "attention_scale"],
    "Sigmas": ["keep", "last_steps"],
    "LoadBackbone": ["compile"],
    "LoadInfuseNet": ["compile"],
    "DecoupledGuider": ["model_without_identity"],
    "ApplyIPAdapter": ["attention", "clip_vision", "block_weights"],
    "IdentityProbe": ["vae", "strangers", "references", "skip_below", "second_recognizer"],
    "Score": ["strangers", "references"],
    "DriftReport": ["samples", "image", "vae", "run", "step"],
    "SaveResults": ["samples", "image", "vae", "run"],
    "StopAtPeak": ["mode", "share", "tail_steps"],
}
DEFAULTS = {
    ("Sigmas", "steps"): (0, 0, 200),
    ("Sigmas", "denoise"): (1.0, 0.0, 1.0),
    ("Sigmas", "keep"): (0, 0, 200),
    ("Sigmas", "last_steps"): (0, 0, 200),
    ("EncodeIdentity", "face_index"): (0, 0, None),
    ("Apply", "strength"): (1.0, 0.0, 3.0),
    ("Apply", "start_percent"): (0.0, 0.0, 1.0),
    ("Apply", "end_percent"): (1.0, 0.0, 1.0),
    ("Apply", "attention_scale"): (1.55, 0.0, 10.0),
    ("DecoupledGuider", "rescale"): (0.75, 0.0, 1.0),
    ("ApplyIPAdapter", "weight"): (0.8, 0.0, 3.0),
    ("ApplyIPAdapter", "start_percent"): (0.0, 0.0, 1.0),
    ("ApplyIPAdapter", "end_percent"): (1.0, 0.0, 1.0),
    ("ApplyIPAdapter", "lora_strength"): (1.0, 0.0, 2.0),
    ("IdentityProbe", "every"): (1, 1, 1000),
    ("IdentityProbe", "skip_below"): (0, 0, 16384),
    ("DriftReport", "run"): (0, 0, 100000),
    ("DriftReport", "step"): (0, 0, 100000),
    ("StopAtPeak", "patience"): (2, 1, 100),
    ("StopAtPeak", "min_steps"): (2, 1, 1000),
    ("StopAtPeak", "tolerance"): (0.01, 0.0, 1.0),
    ("Sweep", "steps"): (0, 0, 200),
    ("Sweep", "cfg"): (1.0, 0.0, 100.0),
    ("Sweep", "seed"): (0, 0, 2**64 - 1),
}
CHOICES = {
    ("LoadBackbone", "backbone"): ["mini-schnell", "mini-dev", "flux-schnell", "flux-dev"],
    ("LoadBackbone", "weight_dtype"): ["default", "fp8_e4m3fn", "fp8_e5m2", "fp8_e4m3fn_fast"],
    ("LoadInfuseNet", "weight_dtype"): ["default", "fp8_e4m3fn", "fp8_e5m2"],
    ("LoadIdentityEncoder", "device"): ["auto", "cpu", "cuda"],
    ("EncodeIdentity", "batch"): ["fuse", "one per image"],
    ("EncodeIdentity", "face"): ["largest", "index"],
    ("EncodeIdentity", "on_no_face"): ["error", "skip"],
    ("Apply", "gate"): ["step", "percent"],
    ("Apply", "attention"): ["none", "scale", "soft mask"],
    ("ApplyIPAdapter", "batch"): ["fuse", "one per image"],
    ("ApplyIPAdapter", "attention"): ["none", "scale", "soft mask"],
    ("DecoupledGuider", "kind"): ["identity", "text-then-identity", "separate", "direction"],
    ("LoadFaceRecognizer", "device"): ["auto", "cpu", "cuda"],
    ("IdentityProbe", "when"): ["live", "after the run"],
    ("IdentityProbe", "references"): ["one person", "one per image"],
    ("StopAtPeak", "mode"): ["short tail", "finish, keep the best", "at the peak"],
    ("Score", "references"): ["one person", "one per image"],
    ("Score", "show"): ["pictures", "aligned faces"],
    ("Sweep", "axis"): ["steps", "strength", "guidance", "true_cfg", "first_steps", "seed"],
}
FILE_COMBOS = [
    ("LoadBackbone", "diffusion_model"),
    ("LoadBackbone", "text_encoder_1"),
    ("LoadBackbone", "text_encoder_2"),
    ("LoadBackbone", "vae"),
    ("LoadInfuseNet", "infusenet"),
    ("LoadIdentityEncoder", "image_proj"),
    ("LoadIdentityEncoder", "arcface"),
    ("LoadIdentityEncoder", "face_pack"),
    ("LoadFaceRecognizer", "face_pack"),
    ("LoadRecipe", "recipe"),
]


def inputs_of(cls):
    """(id, type, settings, required) of a node's inputs as /object_info tells them."""
    kinds = cls.INPUT_TYPES()
    return [
        (name, spec[0], spec[1] if len(spec) > 1 else {}, kind == "required")
        for kind in ("required", "optional")
        for name, spec in kinds.get(kind, {}).items()
    ]


@pytest.mark.parametrize("name", CONTRACT)
def test_ids_order_and_types(pack, name):
    title, inputs, outputs = CONTRACT[name]
    cls = pack.nodes[name]
    schema = cls.GET_SCHEMA()
    assert (schema.node_id, schema.display_name, schema.category) == (f"InfuseNet_{name}", title, "InfuseNet")
    told = [f"{key} {'COMBO' if isinstance(kind, list) else kind}" for key, kind, _, _ in inputs_of(cls)]
    assert ", ".join(told) == inputs
    names = zip(cls.RETURN_NAMES, cls.RETURN_TYPES, strict=True)
    assert ", ".join(f"{label} {kind}" for label, kind in names) == outputs


@pytest.mark.parametrize("name", CONTRACT)
def test_every_input_has_a_tooltip_and_every_node_a_help_page(pack, name):
    cls = pack.nodes[name]
    assert all(settings.get("tooltip") for _, _, settings, _ in inputs_of(cls))
    assert cls.GET_SCHEMA().description
    page = Path(pack.root.__file__).parent / pack.root.WEB_DIRECTORY / "docs" / f"InfuseNet_{name}.md"
    text = page.read_text(encoding="utf-8")
    missing = [key for key, *_ in inputs_of(cls) if f"`{key}`" not in text]
    assert not missing


@pytest.mark.parametrize(("node", "key"), DEFAULTS)
def test_defaults_and_ranges(pack, node, key):
    settings = next(settings for name, _, settings, _ in inputs_of(pack.nodes[node]) if name == key)
    default, low, high = DEFAULTS[node, key]
    assert (settings["default"], settings["min"]) == (default, low)
    assert high is None or settings["max"] == high


def options_of(pack, node, key):
    _, kind, settings, _ = next(entry for entry in inputs_of(pack.nodes[node]) if entry[0] == key)
    return kind if isinstance(kind, list) else settings["options"]


@pytest.mark.parametrize(("node", "key"), CHOICES)
def test_choices(pack, node, key):
    assert options_of(pack, node, key) == CHOICES[node, key]
    settings = next(settings for name, _, settings, _ in inputs_of(pack.nodes[node]) if name == key)
    assert settings.get("default", CHOICES[node, key][0]) == CHOICES[node, key][0]


@pytest.mark.parametrize(("node", "key"), FILE_COMBOS)
def test_file_combos_begin_with_none(pack, node, key):
    options = options_of(pack, node, key)
    assert options[0] == "none"
    if node not in ("LoadBackbone", "LoadRecipe"):
        assert options[1] == "miniature"


@pytest.mark.parametrize("name", CONTRACT)
def test_which_inputs_are_optional(pack, name):
    assert [key for key, _, _, need in inputs_of(pack.nodes[name]) if not need] == OPTIONAL.get(name, [])


def test_the_contract_holds_every_node(pack):
    assert set(pack.nodes) == set(CONTRACT)


def test_what_makes_a_node_run(pack):
    outputs = {name for name, node in pack.nodes.items() if node.OUTPUT_NODE}
    assert outputs == {"DriftReport", "SaveResults", "Score", "Sweep"}
    assert pack.nodes["IdentityProbe"].NOT_IDEMPOTENT  # two identical probes must not share one record


TERMS = {  # what a user of each loader's files must have read, in the node's description and on its help page
    "LoadBackbone": [
        "FLUX.1 [dev]",
        "non-commercial",
        "commercial use of the model",
        "Apache-2.0",
        "MIT",
        "InfiniteYou",
    ],
    "LoadInfuseNet": ["CC BY-NC 4.0", "commercial use", "Apache-2.0"],
    "LoadIdentityEncoder": ["image_proj_model", "CC BY-NC 4.0", "unstated", "antelopev2", "research", "Apache-2.0"],
    "LoadFaceRecognizer": ["InsightFace", "non-commercial research only", "Apache-2.0"],
    "LoadMiniSDXL": ["Apache-2.0"],
    "LoadIPAdapter": ["FaceID", "Apache-2.0", "research only", "no commercial use", "InsightFace"],
}


@pytest.mark.parametrize("name", TERMS)
def test_loaders_state_the_licence_of_each_file(pack, name):
    node = pack.nodes[name]
    page = Path(__file__).parents[2] / "nodes" / "web" / "docs" / f"{node.GET_SCHEMA().node_id}.md"
    for text in (node.GET_SCHEMA().description, page.read_text(encoding="utf-8")):
        told = " ".join(text.split()).lower()
        assert "licence" in told
        assert [term for term in TERMS[name] if term.lower() not in told] == []


def test_importing_the_pack_is_quick_and_light(host):
    """Less than a tenth of what the host itself takes, in the processor's time, and none of the large packages."""
    script = f"""
    import sys, time
    host = time.process_time()
    sys.path.insert(0, {str(host)!r})
    sys.argv = ["main.py", "--cpu"]
    import comfy.options
    comfy.options.enable_args_parsing()
    import asyncio, gc, importlib.util, comfy.sd, comfy.controlnet, comfy.samplers, folder_paths
    from comfy_api.latest import io
    before = set(sys.modules)
    gc.freeze()  # else a collection of all the host's objects, a third of a second, may fall into our import
    start = time.process_time()
    spec = importlib.util.spec_from_file_location(
        "p", {str(Path(__file__).parents[2] / "__init__.py")!r},
        submodule_search_locations=[{str(Path(__file__).parents[2])!r}])
    module = importlib.util.module_from_spec(spec)
    sys.modules["p"] = module
    spec.loader.exec_module(module)
    extension = asyncio.run(module.comfy_entrypoint())
    [cls.GET_SCHEMA() for cls in asyncio.run(extension.get_node_list())]
    print((time.process_time() - start) / (start - host))
    heavy = {{"insightface", "onnxruntime", "onnx", "diffusers", "matplotlib", "cv2", "skimage"}}
    print(sorted(heavy & (set(sys.modules) - before)))
    """
    shares = []
    while not shares or (min(shares) >= 0.1 and len(shares) < 3):  # what else the machine does only adds to it
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], cwd=host, capture_output=True, text=True, check=True
        )
        share, heavy = done.stdout.strip().splitlines()[-2:]
        assert heavy == "[]"
        shares.append(float(share))
    assert min(shares) < 0.1, shares


def test_a_failing_start_tells_where(pack, monkeypatch, caplog):
    """The host logs the message of what went wrong alone."""
    import asyncio

    monkeypatch.setitem(sys.modules, f"{pack.root.__name__}.nodes", None)
    with pytest.raises(ImportError):
        asyncio.run(pack.root.comfy_entrypoint())
    assert caplog.records[-1].exc_info


def test_settings_that_an_older_host_does_not_know_are_left_out(pack):
    made = pack.module("nodes.sockets").schema("X", "X", inputs=[], outputs=[], not_there_yet=1)
    assert made.node_id == "InfuseNet_X"
