"""What was added to the library's tables from outside, in the Sweep node: axis, measure, metric, another MODEL."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

SIZE = 16

OUTPUTS = ("chart", "sheet", "best", "best_value", "csv", "pictures")


@pytest.fixture
def sweep(run, mini):
    """`sweep(axis, values, ...)`: the node's outputs, on the miniature without InfuseNet."""
    from types import SimpleNamespace

    def go(axis, values, **changes):
        model, clip, vae = mini("mini-dev")[:3]
        text = clip.encode_from_tokens_scheduled(clip.tokenize("a portrait"), add_dict={"guidance": 3.5})
        given = {
            "model": model,
            "positive": text,
            "negative": text,
            "latent_image": {"samples": torch.zeros(1, 16, SIZE, SIZE)},
            "vae": vae,
            "axis": axis,
            "values": values,
            "steps": 2,
            "cfg": 1.0,
            "seed": 5,
            "sampler_name": "euler",
        }
        outputs = run("Sweep", **(given | changes))
        return SimpleNamespace(**dict(zip(OUTPUTS, outputs, strict=True)))

    return go


@pytest.fixture
def edges(pack):
    """A measure that is not about faces: how far a picture's edges agree with those of a control picture."""
    measures = pack.module("infusenet.measures")

    def embed(pictures):
        fields = [torch.tensor(np.ascontiguousarray(picture)).float().mean(2) for picture in pictures]
        small = [
            torch.nn.functional.interpolate(field[None, None], size=(24, 24), mode="area")[0, 0] for field in fields
        ]
        return torch.stack([torch.cat([field.diff(dim=0).flatten(), field.diff(dim=1).flatten()]) for field in small])

    return measures.PictureMeasure("edge agreement", measures.Rule("edges 1", {"size": "24"}, "picture"), embed)


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_measure_an_axis_and_a_metric_from_outside(pack, sweep, edges, person, monkeypatch):
    axes, metrics = pack.module("infusenet.axes"), pack.module("infusenet.metrics")
    double = axes.Axis("double", "twice as many steps", True, 1, 9, apply=lambda s, value: replace(s, steps=2 * value))
    redness = metrics.Metric(
        "redness", "redness", "0..1", None, "mean of red", lambda s: float(s.picture[..., 0].mean() / 255), always=True
    )
    monkeypatch.setitem(axes.AXES, "double", double)
    monkeypatch.setitem(metrics.METRICS, "redness", redness)
    made = sweep("double", "1, 2", recognizer=edges, reference=person)
    found = rows(made.csv)
    assert [(row["axis"], row["value"], row["steps"]) for row in found] == [("double", "1", "2"), ("double", "2", "4")]
    assert {row["rule"] for row in found} == {"edges 1 (size 24)"} and {row["recognizer"] for row in found} == {
        "edge agreement"
    }
    assert all(-1 <= float(row["similarity"]) <= 1 and 0 < float(row["redness"]) < 1 for row in found)
    assert made.best_value == float(max(found, key=lambda row: float(row["similarity"]))["value"])
    assert made.chart.shape[-1] == made.sheet.shape[-1] == 3


def test_the_reference_itself_agrees_with_its_own_edges(pack, edges, person):
    picture = (person[0].numpy() * 255).round().astype(np.uint8)
    (reading,) = edges.read([picture], edges.reference([picture]))
    assert reading.seen and reading.similarity == pytest.approx(1.0) and reading.place is None


def test_another_family_of_models(sweep, edges, stable_diffusion):
    model, text, vae = stable_diffusion
    given = {
        "model": model,
        "positive": text,
        "negative": text,
        "vae": vae,
        "latent_image": {"samples": torch.zeros(1, 4, 16, 16)},
    }
    made = sweep("seed", "1, 2", recognizer=edges, reference=torch.rand(1, 64, 64, 3), **given)
    assert [row["seed"] for row in rows(made.csv)] == ["1", "2"]
