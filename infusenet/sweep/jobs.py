"""The pictures of a sweep as frozen records. A job's id is a hash of what makes its result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

from .people import Person
from .spec import Method, Role, Spec

FORMAT = 1  # rises when results of older versions must not be used any more


@dataclass(frozen=True)
class Job:
    """One picture to make and measure.

    Attributes:
        backbone: the weights at work, by name and content.
        role: which of the two backbones that is.
        identity: content of the person's pictures.
        prompt: the scene, in words.
        steps: of the run.
        strength: of InfuseNet.
        guidance: None for the backbone's own.
        true_cfg: 1 is off.
        negative: what true CFG steers away from.
        seed: of the noise.
        start: share of the run at which InfuseNet sets in.
        end: share at which it ends.
        size: width and height; None for the backbone's own.
        threads: CPU threads.
        metrics: what is measured beside similarity, sharpness and contrast; "lpips" with its weights' content.
        format: of the result.
    """

    backbone: str
    role: Role
    identity: str
    prompt: str
    steps: int
    strength: float
    guidance: float | None
    true_cfg: float
    negative: str
    seed: int
    start: float
    end: float
    size: tuple[int, int] | None
    threads: int
    metrics: tuple[str, ...]
    format: int = FORMAT

    @property
    def id(self) -> str:
        """20 hexadecimal digits; the same on every machine."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def cost(self) -> float:
        """How long it takes, in steps of the backbone: for dealing and for estimates."""
        acting = max(self.end - self.start, 0.0) if self.strength else 0.0
        run = self.steps * (1.0 + (self.true_cfg != 1) + 0.35 * acting)
        probed = "trajectory" in self.metrics  # a run of its own, every step decoded and looked at
        return run * (1 + probed + ("streams" in self.metrics)) + probed * self.steps + 1.0


@dataclass(frozen=True)
class Row:
    """One line of the table: a job, and what the specification calls its parts. Several rows may share a job."""

    method: str
    person: str
    prompt: str
    seed: int
    first_steps: int | None
    job: Job


def expand(
    spec: Spec, people: Sequence[Person], weights: Mapping[Role, str], metrics: Sequence[str] | None = None
) -> list[Row]:
    """All rows of a sweep, in the specification's order.

    Args:
        spec: the sweep.
        people: whom to show.
        weights: content of the weights behind each role.
        metrics: what is measured beside the usual; by default the specification's own names.

    Returns:
        A row for each method, value of its axes, person, prompt and seed.
    """
    measured = tuple(sorted(spec.metrics if metrics is None else metrics))
    return [
        _row(spec, weights, measured, method, settings, person, prompt, seed)
        for method in spec.methods
        for settings in product(
            method.steps, method.strength, method.guidance or (None,), method.true_cfg, method.first_steps or (None,)
        )
        for person, prompt, seed in product(people, spec.prompts, spec.seeds)
    ]


def noise_seed(seed: int, identity: str) -> int:
    """The noise of a person's pictures: the same for all methods and prompts, whoever makes them and in what order."""
    return int(hashlib.sha256(f"{seed}/{identity}".encode()).hexdigest()[:12], 16)


def _row(
    spec: Spec,
    weights: Mapping[Role, str],
    metrics: tuple[str, ...],
    method: Method,
    settings: tuple[int, float, float | None, float, int | None],
    person: Person,
    prompt: tuple[str, str],
    seed: int,
) -> Row:
    steps, strength, guidance, true_cfg, first = settings
    job = Job(
        backbone=weights[method.backbone],
        role=method.backbone,
        identity=person.digest,
        prompt=prompt[1],
        steps=steps,
        strength=strength,
        guidance=guidance,
        true_cfg=true_cfg,
        negative=method.negative if true_cfg != 1 else "",
        seed=noise_seed(seed, person.digest),
        start=method.start,
        end=method.end if first is None else first / steps,
        size=spec.size,
        threads=spec.threads,
        metrics=metrics,
    )
    return Row(method.label, person.name, prompt[0], seed, first, job)


def unique(rows: Sequence[Row]) -> list[Job]:
    """The jobs behind rows, each once, in order."""
    return list({row.job.id: row.job for row in rows}.values())


def deal(jobs: Sequence[Job], hands: int) -> list[list[Job]]:
    """Jobs dealt so that all hands finish together, each sorted by backbone so that it is loaded once.

    Args:
        jobs: what is to be done.
        hands: how many processes.

    Returns:
        A list for each process: the longest jobs first to whoever has the least.
    """
    dealt: list[list[Job]] = [[] for _ in range(hands)]
    load = [0.0] * hands
    for job in sorted(jobs, key=lambda job: (-job.cost, job.id)):
        hand = load.index(min(load))
        dealt[hand].append(job)
        load[hand] += job.cost
    order = {job.id: place for place, job in enumerate(jobs)}
    return [sorted(hand, key=lambda job: (job.role, order[job.id])) for hand in dealt]
