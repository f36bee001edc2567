"""Jobs: what their ids depend on, and how they are parted."""

import time
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from infusenet.sweep.jobs import Job, SweepPlan, expand, noise_seed, partition
from infusenet.sweep.people import find_people
from infusenet.sweep.request import make_plan
from infusenet.sweep.results import pending
from infusenet.sweep.runner import Models
from infusenet.sweep.spec import read_spec
from infusenet.sweep.toml import SpecError

JOB = Job("mini-dev x", "dev", "drawn:0", "a person", 4, 1.0, None, 1.0, "", 5, 0.0, 1.0, None, 1, ())
OTHER: dict[str, Any] = {
    "backbone": "mini-dev y",
    "role": "schnell",
    "identity": "drawn:1",
    "prompt": "a cat",
    "steps": 5,
    "strength": 0.5,
    "guidance": 0.0,
    "true_cfg": 2.0,
    "negative": "blur",
    "seed": 6,
    "start": 0.5,
    "end": 0.5,
    "size": (64, 64),
    "threads": 2,
    "metrics": ("trajectory",),
    "format": 99,
    "adapter": "ip-adapter",
    "measure": "dino 1234",
    "axes": (("half", 0.5),),
    "branches": "both",
    "refresh": "1,3",
    "schedule": "2+4",
    "decoupled": "direction a=2 rescale=0",
    "attention": "scale 1.2",
}


def test_every_field_has_another_value_here() -> None:
    assert set(OTHER) == {field.name for field in fields(Job)}


@pytest.mark.parametrize("name", OTHER)
def test_an_id_depends_on_every_field(name: str) -> None:
    assert replace(JOB, **{name: OTHER[name]}).id != JOB.id


def test_whom_a_face_is_recognised_among_is_part_of_a_job(
    write: Callable[..., Path], plan_of: Callable[[Path], SweepPlan]
) -> None:
    ids = {}
    for metric in ("rank_1", "second_similarity"):
        asked = ('title = "Small"', f'title = "Small"\nmetrics = ["{metric}"]')
        few, more = (plan_of(write(asked, ("drawn = 2", f"drawn = {count}"))).jobs[0] for count in (2, 3))
        assert few.identity == more.identity
        ids[metric] = few.id == more.id
    assert ids == {"rank_1": False, "second_similarity": True}


def test_what_takes_longer_costs_more() -> None:
    changes: list[dict[str, Any]] = [{"steps": 5}, {"true_cfg": 2.0}, {"metrics": ("streams",)}]
    changes += [{"metrics": ("trajectory",)}, {"metrics": ("streams", "trajectory")}, {"branches": "both"}]
    changes += [{"decoupled": "direction a=2 rescale=0"}]
    assert replace(JOB, decoupled="identity").cost > replace(JOB, decoupled="direction a=2 rescale=0").cost
    assert all(replace(JOB, **change).cost > JOB.cost for change in changes)
    assert replace(JOB, strength=0.0).cost == replace(JOB, end=0.0).cost < JOB.cost
    assert replace(JOB, metrics=("lpips",)).cost == JOB.cost


def test_an_id_is_the_same_everywhere() -> None:
    assert JOB.id == replace(JOB).id == "296d5e45f489f6d9c572"


def test_rows_are_all_combinations(write: Callable[..., Path], plan_of: Callable[[Path], SweepPlan]) -> None:
    plan = plan_of(write())
    assert len(plan.points) == (2 + 1) * 2 * 2
    assert len(plan.jobs) == len(plan.points)
    told = {(row.method, row.person, row.prompt, row.job.steps) for row in plan.points}
    assert ("dev", "drawn-02", "beach", 2) in told
    assert ("schnell", "drawn-01", "portrait", 1) in told


def test_methods_and_prompts_share_a_persons_noise(
    write: Callable[..., Path], plan_of: Callable[[Path], SweepPlan]
) -> None:
    plan = plan_of(write(('title = "Small"', 'title = "Small"\nseeds = [0, 1]')))
    seeds = {
        (row.person, row.seed): {other.job.seed for other in plan.points if key(other) == key(row)}
        for row in plan.points
    }
    assert all(len(found) == 1 for found in seeds.values())
    assert len({next(iter(found)) for found in seeds.values()}) == 4
    assert noise_seed(0, "drawn:0") == next(iter(seeds["drawn-01", 0]))


def key(row: Any) -> tuple[str, int]:
    return row.person, row.seed


def test_changing_a_specification_keeps_the_other_jobs(
    write: Callable[..., Path], plan_of: Callable[[Path], SweepPlan]
) -> None:
    before = {job.id for job in plan_of(write()).jobs}
    changes = (
        ("steps = [1, 2]", "steps = [2, 3]"),
        ('label = "schnell"', 'label = "quick one"'),
        ("drawn = 2", "drawn = 3"),
    )
    after = {job.id for job in plan_of(write(*changes)).jobs}
    assert len(before & after) == (1 + 1) * 2 * 2


def test_rows_may_share_a_job(write: Callable[..., Path], plan_of: Callable[[Path], SweepPlan]) -> None:
    twice = ('label = "schnell"\nbackbone = "schnell"', 'label = "dev again"\nbackbone = "dev"')
    plan = plan_of(write(twice))
    assert (len(plan.points), len(plan.jobs)) == (12, 8)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_jobs_are_parted_evenly(ranks: int) -> None:
    jobs = [
        replace(JOB, steps=steps, seed=seed, role=role)
        for seed in range(8)
        for steps, role in ((28, "dev"), (4, "schnell"))
    ]
    parts = partition(jobs, ranks)
    assert sorted(job.id for part in parts for job in part) == sorted(job.id for job in jobs)
    loads = [sum(job.cost for job in part) for part in parts]
    assert max(loads) - min(loads) <= max(job.cost for job in jobs)
    assert max(loads) <= 1.1 * sum(loads) / ranks or ranks == 3  # 8 long ones do not go into 3
    for part in parts:  # each backbone is loaded once
        roles = [job.role for job in part]
        assert roles == sorted(roles)


SEEDS = [
    replace(JOB, seed=seed, identity=identity, role=role, metrics=("agreement",))
    for role in ("dev", "schnell")
    for identity in ("drawn:0", "drawn:1", "drawn:2", "drawn:3", "drawn:4", "drawn:5")
    for seed in range(5)
]


def test_a_group_is_all_but_the_noise_where_that_is_asked_for() -> None:
    assert len({job.group for job in SEEDS}) == 12
    assert replace(JOB, seed=9).group != JOB.group == JOB.id


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_groups_stay_together_and_in_order(ranks: int) -> None:
    shuffled = [SEEDS[number * 7 % 60] for number in range(60)]
    for part in (parts := partition(shuffled, ranks)):
        groups = [job.group for job in part]
        assert sum(a != b for a, b in pairwise(groups)) == len(set(groups)) - 1
    assert sorted(job.id for part in parts for job in part) == sorted(job.id for job in SEEDS)
    owners = [{part for part, jobs in enumerate(parts) if any(job.group == name for job in jobs)} for name in groups]
    assert all(len(owner) == 1 for owner in owners)


def test_jobs_are_done_in_rounds_over_the_people() -> None:
    """A third of the people by all methods, then the next third: no method has the machine's slow hour for itself."""
    (part,) = partition(SEEDS, 1)
    thirds = [part[:20], part[20:40], part[40:]]
    assert [sorted({job.identity for job in third}) for third in thirds] == [
        [f"drawn:{number}", f"drawn:{number + 1}"] for number in (0, 2, 4)
    ]
    for third in thirds:
        assert [role for role, _ in groupby(third, lambda job: job.role)] in (["dev", "schnell"], ["schnell", "dev"])
    assert len([*groupby(part, lambda job: job.role)]) == 4  # the one that is loaded goes on


def test_one_person_is_one_round() -> None:
    (part,) = partition([job for job in SEEDS if job.identity == "drawn:0"], 1)
    assert [job.role for job in part] == ["dev"] * 5 + ["schnell"] * 5
    assert partition([], 2) == [[], []]


def test_what_is_as_it_always_was_is_in_no_id() -> None:
    """So that results made before there were adapters, measures and further axes are found again."""
    assert (
        replace(
            JOB,
            adapter="infusenet",
            measure="face",
            axes=(),
            branches="positive",
            refresh="every step",
            schedule="exact",
            decoupled="none",
            attention="none",
        ).id
        == JOB.id
    )
    later = {"adapter", "measure", "axes", "branches", "refresh", "schedule", "decoupled", "attention"}
    assert set(JOB.record) == set(OTHER) - later


def test_a_sweep_too_large_to_plan_is_refused_with_the_number(write: Callable[..., Path]) -> None:
    values = ", ".join(f"{n / 1000}" for n in range(1, 2001))
    changes = (("steps = [1, 2]", f"steps = [1, 2]\nstrength = [{values}]"), ("drawn = 2", "drawn = 250"))
    spec = read_spec(write(*changes))
    with pytest.raises(SpecError, match=r"make 2,000,500 pictures .4,001 method settings, 250 people, 2 prompts"):
        make_plan(spec, Models(), "infusenet sweep")
    with pytest.raises(SpecError, match=r"1,000,000,000 people"):
        make_plan(read_spec(write(("drawn = 2", "drawn = 1000000000"))), Models(), "infusenet sweep")


def test_points_come_one_after_the_other(write: Callable[..., Path]) -> None:
    spec = read_spec(write(("drawn = 2", "drawn = 100000")))
    people = find_people(spec.people)
    points = expand(spec, people, {("dev", "infusenet"): "x", ("schnell", "infusenet"): "y"})
    assert next(points).person == "drawn-01"


def test_a_method_says_when_its_adapter_is_computed(
    write: Callable[..., Path], plan_of: Callable[[Path], SweepPlan]
) -> None:
    jobs = plan_of(write(("steps = [1, 2]", 'steps = 2\nrefresh = " 1, 3"\nschedule = "1 + 1"'))).jobs
    assert {(job.refresh, job.schedule) for job in jobs if job.steps == 2} == {("1,3", "1+1")}
    with pytest.raises(SpecError, match=r'refresh: expected refresh as "every step", .*got .daily.'):
        read_spec(write(("steps = [1, 2]", 'steps = 1\nrefresh = "daily"')))


def test_a_method_may_have_fastface(write: Callable[..., Path], plan_of: Callable[[Path], SweepPlan]) -> None:
    method = 'steps = 4\ndecoupled = "direction  a=1,1,2 rescale=0"\nnegative = "blur"\nattention = "scale 1.2"'
    jobs = [job for job in plan_of(write(("steps = [1, 2]", method))).jobs if job.role == "dev"]
    assert {(job.decoupled, job.attention, job.negative) for job in jobs} == {
        ("direction a=1,1,2 rescale=0", "scale 1.2", "blur")
    }
    for wrong, said in (
        ('decoupled = "sideways"', "decoupled: expected decoupled guidance as"),
        ('attention = "hard mask 1"', "attention: unknown attention 'hard mask'"),
        ('decoupled = "identity"\ntrue_cfg = 2', "decoupled: expected no decoupled guidance together with true CFG"),
    ):
        with pytest.raises(SpecError, match=said):
            read_spec(write(("steps = [1, 2]", f"steps = 1\n{wrong}")))


def test_branches_count_where_true_cfg_is_on(write: Callable[..., Path], plan_of: Callable[[Path], SweepPlan]) -> None:
    both = ("steps = [1, 2]", 'steps = 1\ntrue_cfg = [1, 2]\nbranches = "both"')
    jobs = {job.true_cfg: job for job in plan_of(write(both)).jobs if job.role == "dev"}
    assert {scale: job.branches for scale, job in jobs.items()} == {1.0: "positive", 2.0: "both"}
    alone = {job.true_cfg: job for job in plan_of(write((both[0], both[1][:-18]))).jobs if job.role == "dev"}
    assert (alone[1.0].id == jobs[1.0].id, alone[2.0].id == jobs[2.0].id) == (True, False)
    with pytest.raises(SpecError, match="branches: expected one of positive, both, got 'negative'"):
        read_spec(write(("steps = [1, 2]", 'steps = 1\nbranches = "negative"')))


def test_planning_twenty_thousand_jobs_is_quick(write: Callable[..., Path], tmp_path: Path) -> None:
    """It was 3.7 seconds."""
    values = ", ".join(f"{n / 2000}" for n in range(1, 1001))
    spec = read_spec(write(("steps = [1, 2]", f"steps = 4\nstrength = [{values}]"), ("drawn = 2", "drawn = 10")))
    plan = make_plan(spec, Models(), "infusenet sweep")  # the weights' fingerprints are kept from here on
    began = time.process_time()
    plan = make_plan(spec, Models(), "infusenet sweep")
    assert len(pending(plan, tmp_path)) == len(plan.jobs) == 20_020
    partition(plan.jobs, 2)
    assert time.process_time() - began < 2.5
