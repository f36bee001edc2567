"""What users have keeps working: traces, specifications, job ids and module names as before the house was rebuilt.

Old workflows are run in `tests/host/test_old_workflows.py`, an old sweep's folder in `tests/sweep/test_old_folder.py`.
"""

import hashlib
import importlib
import json
import warnings
from pathlib import Path

import pytest

import infusenet
from infusenet.charts import similarity_figure
from infusenet.probe import Trace
from infusenet.probe.drift import in_words
from infusenet.probe.trajectory import analyse
from infusenet.sweep import jobs, people, spec

HERE = Path(__file__).parent
JOBS = json.loads((HERE / "jobs.json").read_text())
WEIGHTS = {
    ("dev", "infusenet"): "mini-dev 0123456789abcdef",
    ("schnell", "infusenet"): "mini-schnell fedcba9876543210",
}
PEAKS = {
    "no-rule-28-steps": (19, 0.7697, 0.7377),
    "no-rule-4-steps": (3, 0.7733, 0.7619),
    "rule-4-steps": (3, 0.5316, 0.498),
}


def within(old, new):
    """Whether nothing that was written has changed; new fields may have come."""
    if isinstance(old, dict):
        return all(key in new and within(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(within, old, new))
    return old == new


@pytest.mark.parametrize("name", PEAKS)
def test_a_trace_reads_and_means_what_it_meant(name):
    path = HERE / "traces" / f"{name}.json"
    trace = Trace.load(path)
    figures, (step, value, final) = analyse(trace), PEAKS[name]
    assert (figures.peak.step, round(figures.peak.value, 4), round(figures.final, 4)) == (step, value, final)
    assert f"It peaked at step {step}" in in_words(trace) and similarity_figure([trace]) is not None
    assert within(json.loads(path.read_text()), json.loads(trace.to_json()))
    assert trace.to_csv().count("\n") == len(trace.records) + 2


@pytest.mark.parametrize("name", JOBS)
def test_a_specification_asks_for_the_same_jobs(name):
    """So that folders of results made before are gone on with, and nothing is made twice."""
    asked = spec.read_spec(HERE / "specs" / f"{name.split()[0]}.toml", quick=name.endswith("quick"))
    points = list(jobs.expand(asked, people.find_people(asked.people), WEIGHTS))
    ids = [job.id for job in jobs.unique(points)]
    digest = hashlib.sha256(" ".join(ids).encode()).hexdigest()[:20]
    assert {"rows": len(points), "jobs": len(ids), "first": ids[0], "all": digest} == JOBS[name]


@pytest.mark.parametrize("old", infusenet._MOVED)
def test_a_module_is_found_by_its_old_name(old):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its folder says so too
        importlib.import_module(f"infusenet.{old}")
    with pytest.warns(DeprecationWarning, match=f"infusenet.{old} has moved to infusenet."):
        module = importlib.reload(importlib.import_module(f"infusenet.{old}"))
    homes = [importlib.import_module(f"infusenet.{home}") for home in infusenet._MOVED[old].split()]
    for new in homes:
        for name in getattr(new, "__all__", [name for name in vars(new) if name[0] != "_"]):
            assert getattr(module, name) is next(getattr(home, name) for home in homes if hasattr(home, name))
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


def test_old_names_that_people_use():
    names = {
        "identity": ("Identity", "IdentityEncoder", "IRSE", "Resampler", "FaceDetector", "FaceRecognizer", "norm_crop"),
        "drift": ("analyse", "in_words", "recommended_steps", "should_stop", "window_of"),
        "pictures": ("open_picture", "save_picture", "png"),
        "values": ("AXES", "Axis", "parse_values", "Tried"),
        "plots": ("similarity_figure", "faces_sheet", "values_figure", "contact_sheet", "DARK", "LIGHT"),
        "generate": ("Settings", "files_for", "generate", "load_pipeline"),
        "probe.lines": ("lines_of", "bar_of", "judging_lines", "Line"),
        "probe.trace": ("Trace", "write_atomically"),
    }
    with pytest.warns(DeprecationWarning):
        for module, wanted in names.items():
            found = importlib.import_module(f"infusenet.{module}")
            assert [name for name in wanted if not hasattr(found, name)] == []
        importlib.reload(importlib.import_module("infusenet.values"))  # the others may have been imported before
