"""Ids, inputs, order, types and outputs of the probe's nodes. Fixed for ever."""

from pathlib import Path

import pytest

CONTRACT = {
    "LoadFaceRecognizer": (
        "Load Face Recognizer",
        "face_pack COMBO, device COMBO",
        "recognizer INFUSENET_RECOGNIZER",
    ),
    "IdentityProbe": (
        "Identity Probe",
        "model MODEL, recognizer INFUSENET_RECOGNIZER, reference IMAGE, when COMBO, every INT, vae VAE, "
        "strangers IMAGE",
        "model MODEL, trace INFUSENET_TRACE",
    ),
    "StopAtPeak": (
        "Stop at Identity Peak",
        "model MODEL, patience INT, min_steps INT, tolerance FLOAT",
        "model MODEL",
    ),
    "DriftReport": (
        "Identity Drift Report",
        "trace INFUSENET_TRACE, samples LATENT, image IMAGE, vae VAE",
        "chart IMAGE, faces IMAGE, best LATENT, best_step INT, peak FLOAT, drift FLOAT, json STRING, csv STRING",
    ),
}
OPTIONAL = {"IdentityProbe": ["vae", "strangers"], "DriftReport": ["samples", "image", "vae"]}
DEFAULTS = {
    ("LoadFaceRecognizer", "face_pack"): "none",
    ("LoadFaceRecognizer", "device"): "auto",
    ("IdentityProbe", "when"): "live",
    ("IdentityProbe", "every"): 1,
    ("StopAtPeak", "patience"): 2,
    ("StopAtPeak", "min_steps"): 2,
    ("StopAtPeak", "tolerance"): 0.01,
}


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
    told = inputs_of(cls)
    kinds = [f"{key} {'COMBO' if isinstance(kind, list) else kind}" for key, kind, _, _ in told]
    assert ", ".join(kinds) == inputs
    names = zip(cls.RETURN_NAMES, cls.RETURN_TYPES, strict=True)
    assert ", ".join(f"{label} {kind}" for label, kind in names) == outputs
    assert [key for key, _, _, required in told if not required] == OPTIONAL.get(name, [])
    assert all(settings.get("tooltip") for _, _, settings, _ in told) and schema.description
    assert {key: settings["default"] for key, _, settings, _ in told if "default" in settings} == {
        key: value for (node, key), value in DEFAULTS.items() if node == name
    }


@pytest.mark.parametrize("name", CONTRACT)
def test_every_input_is_on_the_help_page(pack, name):
    page = Path(pack.root.__file__).parent / pack.root.WEB_DIRECTORY / "docs" / f"InfuseNet_{name}.md"
    text = page.read_text(encoding="utf-8")
    assert not [key for key, *_ in inputs_of(pack.nodes[name]) if f"`{key}`" not in text]


def test_choices_and_what_makes_a_node_run(pack):
    def options(node, key):
        _, kind, settings, _ = next(entry for entry in inputs_of(pack.nodes[node]) if entry[0] == key)
        return kind if isinstance(kind, list) else settings["options"]

    assert options("LoadFaceRecognizer", "face_pack")[:2] == ["none", "miniature"]
    assert options("LoadFaceRecognizer", "device") == ["auto", "cpu", "cuda"]
    assert options("IdentityProbe", "when") == ["live", "after the run"]
    assert pack.nodes["DriftReport"].OUTPUT_NODE and not pack.nodes["IdentityProbe"].OUTPUT_NODE
    assert pack.nodes["IdentityProbe"].NOT_IDEMPOTENT
