"""What anyone may add without touching the library: an adapter, a measure, a metric, a backbone, an axis.

Each toy here is made from outside, put into its table, and used through `generate`, the probe, a sweep with its table
and page, and (the adapter aside) the Sweep node, whose part is in `tests/host/test_seams.py`.
"""

from __future__ import annotations

import csv
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from infusenet import axes, generate, loading, miniature
from infusenet.adapters import ADAPTERS, AdapterSpec
from infusenet.backbones import BACKBONES
from infusenet.generate import GenerateRequest, files_for, load_adapter, load_pipeline
from infusenet.measures import MEASURES, Baseline, MeasureSpec, Reading, ReferenceData, ReferenceInfo, Rule
from infusenet.metrics import METRICS, Metric, Subject
from infusenet.probe import ProbeRecorder, Trace, vae_decoder

ROOT = Path(__file__).parents[1]
PICTURE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)


# -- the toys --------------------------------------------------------------------------------------------------------


class ConstantResiduals:
    """An adapter that adds the same to every token after each double block; it reads one brightness."""

    def encode(self, pictures, *, face="largest"):
        return SimpleNamespace(value=float(np.mean(pictures)) / 255, recognizer=None)

    def control(self, pose, width, height):
        raise generate.SettingsError("The toy takes no pose.")

    def bind(self, pipeline):
        self.bound = pipeline

    @contextmanager
    def acting(self, pipeline, condition, settings, control=None):
        def add(module, args, named):
            x, width = named["hidden_states"], pipeline.transformer.inner_dim
            ramp = torch.linspace(-1, 1, width, dtype=x.dtype)  # the same number in all channels would be normed away
            residual = (condition.value * settings.strength * ramp).expand(*x.shape[:2], width)
            return args, {**named, "controlnet_block_samples": [residual]}

        hook = pipeline.transformer.register_forward_pre_hook(add, with_kwargs=True)
        try:
            yield {}
        finally:
            hook.remove()


TOY_ADAPTER = AdapterSpec("constant", "Constant residuals", (), ("flux",), lambda *_: ConstantResiduals())


class GradientVae:
    """Latents are pictures in 1/8 of the size, three channels of them."""

    config = SimpleNamespace(scaling_factor=1.0, shift_factor=0.0)
    device, dtype = torch.device("cpu"), torch.float32

    def decode(self, latents, return_dict=True):
        return (torch.nn.functional.interpolate(latents[:, :3], scale_factor=8, mode="nearest") * 2 - 1,)


class RampPipeline:
    """A backbone of another family: each step goes a part of the way from noise to a ramp of the prompt's length."""

    def __init__(self, spec):
        self.spec, self.vae = spec, GradientVae()
        self.scheduler = SimpleNamespace(sigmas=None)

    def set_progress_bar_config(self, **_):
        pass

    def register_modules(self, **_):
        raise AssertionError("nothing of FLUX belongs here")

    def __call__(
        self, *, prompt, width, height, num_inference_steps, guidance_scale, generator,
        callback_on_step_end=None, callback_on_step_end_tensor_inputs=(), brightness=0.0,
    ):  # fmt: skip
        rows, columns = height // 8, width // 8
        target = torch.linspace(0, 1, columns).expand(1, 3, rows, columns) * min(len(prompt) / 40, 1) + brightness
        noise = torch.randn(1, 3, rows, columns, generator=generator)
        self.scheduler.sigmas = torch.linspace(1, 0, num_inference_steps + 1)
        for step in range(num_inference_steps):
            share = (step + 1) / num_inference_steps
            denoised = target + (1 - share) * noise * 0.1
            if callback_on_step_end is not None:
                callback_on_step_end(self, step, None, {"denoised": denoised})
        pixels = (self.vae.decode(denoised)[0] / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0) * 255
        return SimpleNamespace(images=[Image.fromarray(pixels.round().to(torch.uint8).numpy())])


TOY_BACKBONE = replace(
    BACKBONES["mini-schnell"], name="ramp", title="A ramp", family="ramps", variant="only", latent_channels=3,
    size_multiple=8, num_inference_steps=3,
)  # fmt: skip


class Brightness(ConstantResiduals):
    """The toy backbone's own adapter: it conditions by an argument of the call."""

    @contextmanager
    def acting(self, pipeline, condition, settings, control=None):
        yield {"brightness": condition.value * settings.strength}


RAMP_ADAPTER = AdapterSpec("brightness", "Brightness", (), ("ramps",), lambda *_: Brightness())


class Edges:
    """A measure that is not about faces: how far a picture's edges agree with those of a control picture."""

    name, rule, detector, published_line = "edge agreement", Rule("edges 1", {"size": "32"}), None, None

    def _edges(self, picture):
        small = torch.tensor(np.array(Image.fromarray(picture).convert("L").resize((32, 32)))).float()
        across, down = small.diff(dim=1)[:-1], small.diff(dim=0)[:, :-1]
        return torch.nn.functional.normalize(torch.stack([across, down]).flatten(), dim=0)

    def reference(self, pictures, *, source=None):
        edges = torch.nn.functional.normalize(sum(map(self._edges, pictures)), dim=0)
        return ReferenceData(edges, (), ReferenceInfo(len(pictures), source))

    def read(self, pictures, reference):
        return [
            Reading(False) if picture is None else Reading(True, float(self._edges(picture) @ reference.embedding))
            for picture in pictures
        ]

    def reader(self, references, fallback=None):
        return EdgesOfARun(self, references)

    def impostors(self, reference, pictures):
        return Baseline.of_impostors([reading.similarity for reading in self.read(pictures, reference)])


class EdgesOfARun:
    """It needs to remember nothing of a run."""

    def __init__(self, measure, references):
        self._measure, self._references = measure, references

    def read(self, pictures, items):
        one = [self._references[item % len(self._references)] for item in items]
        return [self._measure.read([picture], reference)[0] for picture, reference in zip(pictures, one, strict=True)]

    def can_back_fill(self, item):
        return False

    def back_fill(self, pictures, items):
        raise AssertionError("there is nothing to fill")

    def remembered(self):
        return None

    def restore(self, known):
        assert known is None


TOY_METRIC = Metric(
    "redness", "redness", "share of 0..1", None, "mean of the red channel",
    lambda subject: float(subject.picture[..., 0].mean() / 255),
)  # fmt: skip

TOY_AXIS = axes.Axis(
    "push", "twice the strength", False, 0, 1, title="push",
    apply=lambda request, value: replace(request, strength=2 * value),
)  # fmt: skip


@pytest.fixture
def toys(monkeypatch):
    """All five tables with a toy in each."""
    monkeypatch.setitem(ADAPTERS, TOY_ADAPTER.name, TOY_ADAPTER)
    monkeypatch.setitem(ADAPTERS, RAMP_ADAPTER.name, RAMP_ADAPTER)
    monkeypatch.setitem(BACKBONES, TOY_BACKBONE.name, TOY_BACKBONE)
    monkeypatch.setitem(loading.LOADERS, "ramps", lambda backbone, **_: RampPipeline(BACKBONES[backbone]))
    monkeypatch.setitem(METRICS, TOY_METRIC.name, TOY_METRIC)
    monkeypatch.setitem(axes.AXES, TOY_AXIS.name, TOY_AXIS)


# -- the library -----------------------------------------------------------------------------------------------------


def test_an_adapter_acts_in_a_run_and_is_gone_after_it(toys):
    files = files_for("mini-schnell", (), adapter="constant")
    assert files.parts == {} and files.adapter == "constant"
    adapter = load_adapter(files, "cpu")
    pipeline = load_pipeline(files, "cpu", adapter=adapter)
    assert adapter.bound is pipeline and pipeline.controlnet is None
    condition = adapter.encode([PICTURE])
    request = GenerateRequest("a portrait", seed=3)
    made = [
        generate.generate(pipeline, condition, replace(request, strength=strength), adapter=adapter)
        for strength in (0.0, 1.0, 0.0)
    ]
    plain = generate.generate(pipeline, None, replace(request, strength=0.0))
    assert np.array_equal(made[0].picture, plain.picture) and np.array_equal(made[2].picture, plain.picture)
    assert not np.array_equal(made[1].picture, plain.picture)
    assert made[1].made_with["strength"] == 1.0 and "photos" not in files.names()


def test_an_adapter_is_refused_where_it_does_not_fit(toys):
    with pytest.raises(generate.SettingsError, match="works with flux, not with ramps"):
        files_for("ramp", (), adapter="infusenet", face_pack=miniature.FACE_PACK)
    with pytest.raises(generate.SettingsError, match="Known: infusenet, ip-adapter-faceid, constant"):
        files_for("mini-dev", (), adapter="nothing")


def test_a_backbone_of_another_family_makes_pictures_and_is_probed(toys):
    files = files_for("ramp", (), adapter="brightness", face_pack=miniature.FACE_PACK)
    adapter = load_adapter(files, "cpu")
    pipeline = load_pipeline(files, "cpu", adapter=adapter)
    condition = adapter.encode([PICTURE // 4])
    request = GenerateRequest("a ramp from dark to bright", size=(72, 40), seed=1)
    plain = generate.generate(pipeline, condition, request, adapter=adapter)
    assert plain.picture.shape == (40, 72, 3) and plain.made_with["steps"] == 3
    measure = Edges()
    recorder = ProbeRecorder(measure, measure.reference([plain.picture]), vae_decoder(pipeline.vae))
    probed = generate.generate(pipeline, condition, request, adapter=adapter, recorder=recorder)
    assert np.array_equal(probed.picture, plain.picture)
    trace = probed.trace
    assert trace.status == "complete" and [record.step for record in trace.records] == [1, 2, 3]
    assert trace.mean(trace.final) == pytest.approx(1.0) and trace.run.backbone == "ramp"


def test_a_measure_follows_a_run_without_any_landmark(toys):
    pipeline = load_pipeline(files_for("mini-schnell", ()), "cpu")
    request = GenerateRequest("a portrait", seed=3, strength=0.0)
    plain = generate.generate(pipeline, None, request)
    measure = Edges()
    recorder = ProbeRecorder(measure, measure.reference([plain.picture]), vae_decoder(pipeline.vae))
    probed = generate.generate(pipeline, None, request, recorder=recorder)
    trace = probed.trace
    assert np.array_equal(probed.picture, plain.picture)
    assert trace.rule.name == "edges 1" and trace.recognizer == "edge agreement" and trace.detector is None
    values = [trace.mean(record) for record in trace.records]
    assert None not in values and values == sorted(values) and trace.mean(trace.final) == pytest.approx(1.0)
    assert Trace.from_json(trace.to_json()) == trace


def test_a_metric_is_a_number_or_nothing(toys):
    assert METRICS["redness"](Subject(PICTURE)) == pytest.approx(PICTURE[..., 0].mean() / 255)
    needy = replace(TOY_METRIC, needs=("reference",), run=lambda subject: float(subject["reference"].mean()))
    assert needy(Subject(PICTURE)) is None and needy(Subject(PICTURE, {"reference": PICTURE})) == PICTURE.mean()
    assert replace(TOY_METRIC, run=lambda _: float("nan"))(Subject(PICTURE)) is None


def test_an_axis_changes_a_request(toys):
    values = axes.parse_values("0.25, 1", axes.AXES["push"])
    assert [axes.AXES["push"].applied(GenerateRequest("a"), value).strength for value in values] == [0.5, 2.0]
    with pytest.raises(generate.SettingsError, match="has no apply=, and GenerateRequest has no field 'warmth'"):
        axes.Axis("warmth", "warmth", False, 0, 1).applied(GenerateRequest("a"), 0.5)
    with pytest.raises(generate.SettingsError, match="outside 0..1"):
        axes.parse_values("2", axes.AXES["push"])


# -- the promise -----------------------------------------------------------------------------------------------------


def test_contributing_names_at_most_two_files_for_each_and_tests_that_exist():
    """Of each seam: what it says is touched is there, its table is, and the test that shows it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (adapter|measure|metric|backbone|axis) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert len(rows) == 5
    for _, write, add, test in rows:
        files = {*re.findall(r"`(infusenet/\S+?\.py)`", f"{write} {add}")}
        assert 1 <= len(files) <= 2
        assert all((ROOT / file).is_file() for file in files if "NAME" not in file)
        table, home = re.search(r"`([A-Z]+)` in `(\S+?)`", add).groups()
        assert re.search(rf"^{table}\b", (ROOT / home).read_text(encoding="utf-8"), re.MULTILINE)
        assert f"def {test.strip('`')}(" in (ROOT / "tests" / "test_seams.py").read_text(encoding="utf-8")


def test_the_tables_are_importable_by_the_names_of_their_folders():
    from infusenet.adapters import ADAPTERS, Adapter
    from infusenet.axes import AXES, Axis
    from infusenet.backbones import BACKBONES, BackboneSpec
    from infusenet.measures import MEASURES, Measure
    from infusenet.metrics import METRICS, Metric

    assert {type(axis) for axis in AXES.values()} == {Axis} and {type(one) for one in METRICS.values()} == {Metric}
    assert {type(spec) for spec in BACKBONES.values()} == {BackboneSpec}
    assert "infusenet" in ADAPTERS and "face" in MEASURES and Adapter and Measure


# -- the sweep -------------------------------------------------------------------------------------------------------

SPEC = """
title = "Toys of every kind"
measure = "edges"
metrics = ["redness", "trajectory"]

[people]
drawn = 2

[prompts]
ramp = "a ramp from dark to bright"

[[methods]]
label = "constant residuals"
backbone = "schnell"
adapter = "constant"
steps = 2
push = [0.5, 1]

[[methods]]
label = "the ramp"
backbone = "ramp"
adapter = "brightness"
steps = [1, 3]

[[figures]]
kind = "curve"
title = "Red by push"
x = "push"
values = ["redness"]
methods = ["constant residuals"]

[[figures]]
kind = "trajectory"
title = "Edges step by step"
methods = ["the ramp"]

[[figures]]
kind = "table"
title = "All"
"""


def table(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_a_sweep_of_toys_has_its_table_and_its_page(toys, tmp_path, monkeypatch):
    from infusenet.sweep.request import SweepRequest, sweep
    from infusenet.sweep.runner import Models

    edges = MeasureSpec("edges", "edge agreement", False, "pictures", lambda *_: Edges())
    monkeypatch.setitem(MEASURES, "edges", edges)
    monkeypatch.setitem(METRICS, "redness", replace(TOY_METRIC, always=False))
    (tmp_path / "toys.toml").write_text(SPEC, encoding="utf-8")
    models = Models(given={"face_pack": miniature.FACE_PACK})
    request = SweepRequest(str(tmp_path / "toys.toml"), tmp_path / "out", models, device="cpu", quiet=True)
    assert "8 of 8 pictures made" in sweep(request)
    rows = table(tmp_path / "out" / "table.csv")
    assert {row["status"] for row in rows} == {"done"} and {row["rule"] for row in rows} == {"edges 1 (size 32)"}
    assert all(0 < float(row["redness"]) < 1 and -1 <= float(row["similarity"]) <= 1 for row in rows)
    assert [row["push"] for row in rows] == ["0.5", "0.5", "1.0", "1.0", "", "", "", ""]
    acting = [float(row["redness"]) for row in rows]
    assert acting[0] != acting[2]  # so the axis was applied
    meanings = {row["column"]: row["meaning"] for row in table(tmp_path / "out" / "columns.csv")}
    assert meanings["redness"] == "mean of the red channel" and "push" in meanings
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Red by push" in page and "redness" in page and "edge agreement" in page
    again = sweep(request)
    assert "8 of 8 pictures made" in again
