"""Two shipped experiments on made-up results: what their pages say, computed anew from table.csv by other code."""

import csv
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infusenet.sweep.jobs import Job, SweepPlan, expand
from infusenet.sweep.people import find_people
from infusenet.sweep.request import find_spec, report
from infusenet.sweep.results import picture_path
from infusenet.sweep.runner import run
from infusenet.sweep.spec import read_spec

WEIGHTS = {("dev", "infusenet"): "mini-dev x", ("schnell", "infusenet"): "mini-schnell x"}
PEOPLE, SEEDS = 7, (0, 1, 2, 3)


class Maker:
    """Numbers that look like results: a level a person, a curve over steps, noise; now and then no face."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups: dict[Any, list[str]] = {}

    def do(self, job: Job) -> dict[str, Any]:
        rng = np.random.default_rng(int(job.id[:12], 16))
        person = int(hashlib.sha256(job.identity.encode()).hexdigest()[:6], 16) % 100 / 500
        siblings = self.groups.setdefault((job.role, job.steps, job.identity, job.prompt), [])
        path = picture_path(self.folder, job)
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)
        likeness = 0.5 + person - 0.02 * abs(np.log2(job.steps) - 2) + rng.normal(0, 0.05)
        found = {
            "similarity": None if rng.random() < 0.02 else float(likeness),
            "second_similarity": float(likeness + rng.normal(0, 0.02)),
            "prompt_fit": float(rng.uniform(0.5, 1)),
            "agreement": {other: float(0.65 - 0.01 * job.steps**0.5 + rng.normal(0, 0.03)) for other in siblings},
            "seconds": 0.3 + 0.02 * job.steps + float(rng.uniform(0, 0.02)),
            "alone": True,
        }
        siblings.append(job.id)
        return found


@pytest.fixture(scope="module", params=["step-budget", "main-table"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = read_spec(find_spec(request.param))
    changes = {"people": spec.people.model_copy(update={"limit": PEOPLE}), "seeds": SEEDS}
    spec = spec.model_copy(update=changes)
    people = find_people(spec.people)
    out = tmp_path_factory.mktemp("recomputed") / request.param
    plan = SweepPlan(spec, tuple(people), (), tuple(expand(spec, people, WEIGHTS)), "infusenet sweep")
    run(plan, out, lambda rank, device: Maker(out).do, device="cpu", quiet=True)
    report(out)
    return out


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def figure(folder: Path, part: str) -> list[dict[str, str]]:
    (path,) = folder.glob(f"figures/*{part}*.csv")
    return read(path)


def cells(folder: Path, column: str) -> dict[tuple[str, int, str, str, str], float]:
    """A column by method, steps, person, prompt and seed, NaN where undefined."""
    return {
        (row["method"], int(row["steps"]), row["person"], row["prompt"], row["seed"]): float(row[column] or "nan")
        for row in read(folder / "table.csv")
    }


def students(people: list[str], values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval of values of seven people, as a ratio of sums; t of 6 degrees of freedom: 2.4469."""
    who, x = np.array(people)[np.isfinite(values)], np.array(values)[np.isfinite(values)]
    sums = np.array([(x[who == name] - x.mean()).sum() for name in sorted(set(who))])
    half = 2.44691 * np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(x)
    return x.mean(), x.mean() - half, x.mean() + half


def close(row: dict[str, str], names: tuple[str, ...], wanted: Any) -> None:
    assert [float(row[name]) for name in names] == pytest.approx(list(wanted), abs=1e-5)


def differences(
    values: dict[Any, float], one: tuple[str, int], other: tuple[str, int]
) -> tuple[list[str], list[float]]:
    keys = sorted({key[2:] for key in values if key[:2] == one})
    return [key[0] for key in keys], [values[(*one, *key)] - values[(*other, *key)] for key in keys]


def method_and_steps(folder: Path, label: str) -> tuple[str, int]:
    """A line of a table figure: "dev 28", or "dev, steps 4"."""
    name, _, told = label.partition(", steps ")
    return name, int(told or name.split()[1])


def test_means_and_paired_differences(folder: Path) -> None:
    values = cells(folder, "similarity")
    rows = figure(folder, "all-numbers" if folder.name == "step-budget" else "01-identity")
    first = method_and_steps(folder, rows[0]["method"])
    assert len(rows) == (16 if folder.name == "step-budget" else 3)
    for row in rows:
        own = method_and_steps(folder, row["method"])
        keys = [key for key in values if key[:2] == own]
        close(row, ("mean", "low", "high"), students([key[2] for key in keys], [values[key] for key in keys]))
        if own != first:
            wanted = students(*differences(values, own, first))
            close(row, ("difference", "difference low", "difference high"), wanted)


def test_verdicts(folder: Path) -> None:
    told = json.loads((folder / "verdicts.json").read_text())["verdicts"]
    one, other = (("dev", 4), ("dev", 28)) if folder.name == "step-budget" else (("schnell 4", 4), ("dev 28", 28))
    mean, low, high = students(*differences(cells(folder, "similarity"), one, other))
    assert [told[0][name] for name in ("mean", "low", "high")] == pytest.approx([mean, low, high], abs=1e-5)
    as_large = low <= told[0]["paper"] <= high
    words = {(1, 1): "agrees" if as_large else "size", (-1, -1): "contradicts", (1, -1): "same", (-1, 1): "opposite"}
    signs = (int(np.sign(mean)), int(np.sign(low if mean > 0 else high)))
    assert told[0]["status"] == words[signs]
    assert told[0]["people"] == PEOPLE


def halves(folder: Path, method: str, places: list[int]) -> np.ndarray:
    """[people, 2, places]: means over prompts, then over either half of the noises, whole curves only."""
    values = cells(folder, "similarity")
    people = list(dict.fromkeys(key[2] for key in values))
    prompts = list(dict.fromkeys(key[3] for key in values))
    found = []
    for person in people:
        parts = []
        for half in (("0", "2"), ("1", "3")):
            curves = [
                [np.nanmean([values[method, n, person, prompt, seed] for prompt in prompts]) for n in places]
                for seed in half
            ]
            parts.append(np.mean([curve for curve in curves if np.isfinite(curve).all()], axis=0))
        found.append(parts)
    return np.array(found)


def test_drift_from_a_peak_that_others_chose(folder: Path) -> None:
    if folder.name != "step-budget":
        pytest.skip("the main table has no drift")
    for row in figure(folder, "drift"):
        places = [1, 2, 4, 8, 12, 16, 20, 28]
        curves = halves(folder, row["method"], places)
        lost = []
        for person, noise in itertools.product(range(PEOPLE), range(2)):
            others = [who for who in range(PEOPLE) if who % 2 != person % 2]
            peak = int(np.argmax(np.mean([curves[who, 1 - noise] for who in others], axis=0)))
            lost.append(curves[person, noise, peak] - curves[person, noise, -1])
        people = [str(person) for person in range(PEOPLE) for _ in range(2)]
        names = ("peak that others chose", "difference low", "difference high")
        close(row, names, students(people, lost))
        own = curves.mean(1)
        fixed = students([str(who) for who in range(PEOPLE)], list(own[:, 2] - own[:, -1]))
        close(row, ("lost", "low", "high"), fixed)
        close(row, ("peak less end",), [own.mean(0).max() - own.mean(0)[-1]])


def test_spread_and_direction(folder: Path) -> None:
    likeness, agreement = cells(folder, "similarity"), cells(folder, "agreement")
    if folder.name != "step-budget":
        ours = [value for value in agreement.values() if np.isfinite(value)]
        assert 0.5 < np.mean(ours) < 0.7, "it is in the table for whoever wants it"
        return
    parts: dict[Any, dict[Any, tuple[float, float]]] = {}
    for method, steps, person, prompt, _ in likeness:
        keys = [(method, steps, person, prompt, str(seed)) for seed in SEEDS]
        s, c = (np.nanmean([values[key] for key in keys]) for values in (likeness, agreement))
        parts.setdefault((method, steps), {})[person, prompt] = s / np.sqrt(c), c
    for row in figure(folder, "spread-and-direction"):
        own, base = parts[row["method"], int(row["steps"])], parts[row["method"], 4]
        people = [person for person, _ in own]
        for name, place in (("direction", 0), ("agreement", 1)):
            wanted = students(people, [each[place] for each in own.values()])
            close(row, (name, f"{name} low", f"{name} high"), wanted)
        if row["steps"] != "4":
            by_direction, by_dispersion = [], []
            for key, (d1, c1) in own.items():
                d0, c0 = base[key]
                by_direction.append((d1 - d0) * (c1**0.5 + c0**0.5) / 2)
                by_dispersion.append((c1**0.5 - c0**0.5) * (d1 + d0) / 2)
            close(row, ("by direction", "by direction low", "by direction high"), students(people, by_direction))
            close(row, ("by dispersion", "by dispersion low", "by dispersion high"), students(people, by_dispersion))
