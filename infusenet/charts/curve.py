"""One run as numbers to draw."""

import math
from dataclasses import dataclass, replace

from ..probe.drift import Drift, analyse
from ..probe.trace import Trace


@dataclass(frozen=True)
class Curve:
    """One trace as numbers to draw; undefined is NaN, which breaks the line."""

    name: str
    steps: list[float]
    sigmas: list[float]
    means: list[float]
    low: list[float]
    high: list[float]
    unseen: list[float]  # measured where the face is known to be, though none was seen there
    final: tuple[float, float, float] | None  # step, sigma, mean of the finished picture
    figures: Drift
    trace: Trace

    @classmethod
    def of(cls, trace: Trace, name: str | None) -> "Curve":
        """Read a trace."""
        counted, final, means = trace.counted, trace.final, trace.means
        seen = [record if mean is not None else None for record, mean in zip(trace.records, means, strict=True)]
        shown = [[v for i in counted if record and (v := record.similarity[i]) is not None] for record in seen]
        mean = None if final is None else trace.mean(final)
        return cls(
            name=name or title_of(trace),
            steps=[float(record.step) for record in trace.records],
            sigmas=[nan_of(record.sigma) for record in trace.records],
            means=[nan_of(mean) for mean in means],
            low=[min(values, default=math.nan) for values in shown],
            high=[max(values, default=math.nan) for values in shown],
            unseen=[nan_of(trace.unseen_mean(record)) for record in trace.records],
            final=None if final is None or mean is None else (float(final.step), nan_of(final.sigma), mean),
            figures=analyse(trace),
            trace=trace,
        )

    def along(self, axis: str) -> list[float]:
        """Positions of the steps on an axis."""
        return self.sigmas if axis == "sigma" else self.steps

    def squeezed(self) -> "Curve":
        """The same with noise levels as shares of noise, σ / (1 + σ), which have an upper bound."""
        final = self.final and (self.final[0], share_of_noise(self.final[1]), self.final[2])
        return replace(self, sigmas=[share_of_noise(sigma) for sigma in self.sigmas], final=final)

    def point_of(self, step: int, axis: str) -> tuple[float, float] | None:
        """Where a step's mean is drawn."""
        at = self.steps.index(step) if step in self.steps else None
        return None if at is None else (self.along(axis)[at], self.means[at])

    def end(self, axis: str) -> tuple[float, float] | None:
        """Where the finished picture is drawn."""
        return None if self.final is None else (self.final[1 if axis == "sigma" else 0], self.final[2])


def title_of(trace: Trace) -> str:
    """A curve's name: the backbone, its steps, and what cut it short."""
    name = trace.run.backbone or "run"
    name = name if len(name) <= 32 else f"…{name[-31:]}"
    cut = "" if trace.status == "complete" else f", {trace.status}"
    return f"{name}, {trace.steps} step{'s' * (trace.steps != 1)}{cut}"


def share_of_noise(sigma: float) -> float:
    """Noise as a share of what is seen, 0 to 1."""
    return sigma / (1 + sigma)


def nan_of(value: float | None) -> float:
    """A value to draw; NaN where it is undefined."""
    return math.nan if value is None else value
