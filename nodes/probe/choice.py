"""Which run a report is of: a node may sample once, or each face, tile or cell of a plot by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, equal

from ...infusenet.errors import SettingsError
from .executions import Execution, pixels
from .others import ancestors
from .run import Run
from .sampler_node import SamplerNode
from .watch import Watch

_OTHER = (
    "The latent connected here is not the one that sampler node {} ended with, so this may be the record of an "
    "earlier run. Connect the probe's model to the sampler and run again."
)
_CHANGED = (
    "Node {} changed the latent after sampling (for example, scaled or composited it). This report is about the "
    "latent as it was sampled."
)
_FAR = "This is the latest run (sampler node {}), but that sampler is not connected to this report."


@dataclass(frozen=True)
class Choice:
    """A run, and what to say of it.

    Attributes:
        run: the run.
        which: of several, which one and why; "" where it is the only one.
        note: where it may be another than the one meant; None where it is not.
    """

    run: Run
    which: str = ""
    note: str | None = None


def find_run(
    watch: Watch,
    prompt: dict[str, Any] | None,
    report: str | None,
    samples: dict[str, Any] | None = None,
    image: Tensor | None = None,
    number: int = 0,
) -> Choice:
    """The run that gave `samples`; else one of the sampler upstream of a report, else the latest one.

    Args:
        watch: the probe's.
        prompt: nodes by id, as POST /prompt takes them.
        report: the report's id.
        samples: the LATENT given to it.
        image: the IMAGE [B, H, W, 3] given to it.
        number: of several runs which, from 1; 0 chooses: what the latent holds, what has its size, the largest.

    Raises:
        SettingsError: nothing has been measured with this probe's MODEL, or there is no such run.
    """
    everything = watch.executions.found()
    if not everything:
        raise SettingsError(_nothing(watch))
    here, prompt = SamplerNode.now(), prompt or {}
    for node in upstream(prompt, report):
        found = watch.executions.found(node)
        if not found:
            continue
        execution = next((one for one in found if one.sampler.index == here.index), found[-1])
        if not number:  # the host may have kept the result of an earlier execution
            known = [execution, *found, *watch.executions.before(node)]
            execution = next((one for one in known if any(holds(run, samples) for run in one.runs)), execution)
        run, why = choose(execution, samples, image, number)
        linked = prompt.get(str(report), {}).get("inputs", {}).get("samples")
        direct = isinstance(linked, list) and str(linked[0]) == node
        probed = watch.node in ancestors(node, prompt) or (
            here.prompt is not None and run.sampler.prompt == here.prompt
        )
        note = None if number else _mismatch(run, samples, image, direct, probed)
        return Choice(run, _which(run, execution, why), note)
    known = [one for one in reversed(everything) if any(holds(run, samples) for run in one.runs)]  # as inside a loop
    execution = (known or everything[::-1])[0]
    run, why = choose(execution, samples, image, number)
    sure = bool(known) or (len(everything) == 1 and not prompt)
    return Choice(run, _which(run, execution, why), None if sure else _FAR.format(execution.sampler.node))


def choose(
    execution: Execution, samples: dict[str, Any] | None, image: Tensor | None, number: int = 0
) -> tuple[Run, str]:
    """One run of an execution, and why this one."""
    runs = execution.runs[::-1]  # the latest first
    if number:
        chosen = next((run for run in runs if run.number == number), None)
        if chosen is None:
            raise SettingsError(_no_such(execution, number))
        return chosen, "you chose its number"
    whole = next((run for run in runs if gave(run, samples)), None)
    if whole is not None:
        return whole, "its result is the latent connected here"
    part = next((run for run in runs if holds(run, samples)), None)
    if part is not None:
        return part, "the last one whose result is part of the latent connected here"
    fitting = next((run for run in runs if _fits(run, samples, image)), None)
    if fitting is not None:
        return fitting, "the last one of this size"
    return max(runs, key=pixels), "the last of the largest pictures"


def gave(run: Run, samples: dict[str, Any] | None) -> bool:
    """Whether these latents are what a run ended with, or its last prediction, which some nodes hand on."""
    latents = _latents(samples)
    return latents is not None and any(
        latents.shape == known.shape and _same(latents, known) for known in _results(run)
    )


def holds(run: Run, samples: dict[str, Any] | None) -> bool:
    """Whether what a run ended with is these latents, or some of their batch."""
    latents = _latents(samples)
    if latents is None:
        return False
    for known in _results(run):
        count = known.shape[0]
        if known.shape[1:] == latents.shape[1:]:
            starts = range(latents.shape[0] - count + 1)
            if any(_same(latents[at : at + count], known) for at in starts):
                return True
    return False


def upstream(prompt: dict[str, Any], report: str | None) -> list[str]:
    """The nodes that a report's samples or image come from, the nearest first."""
    report = str(report)
    inputs = prompt.get(report, {}).get("inputs", {})
    meant = {name: inputs[name] for name in ("samples", "image") if name in inputs}
    return ancestors(report, {**prompt, report: {"inputs": meant}})


def _same(latents: Tensor, known: Tensor) -> bool:
    """Whether two latents of one shape are equal; what is not finite counts as equal, as NaN does not by itself."""
    return equal(latents.nan_to_num(), known.to(latents).nan_to_num())


def _results(run: Run) -> Sequence[Tensor]:
    return [tensor for tensor in (run.final, run.predicted) if tensor is not None]


def _latents(samples: dict[str, Any] | None) -> Tensor | None:
    latents = None if samples is None else samples.get("samples")
    return latents.detach().cpu() if isinstance(latents, Tensor) else None


def _given(run: Run, samples: dict[str, Any] | None, image: Tensor | None) -> tuple[int, int, int] | None:
    """How many pictures were given, and their width and height in pixels; None where nothing of pictures was."""
    latents = _latents(samples)
    if latents is not None and run.final is not None and latents.ndim >= 4:
        ratio = run.size[0] // run.final.shape[-1]
        return latents.shape[0], latents.shape[-1] * ratio, latents.shape[-2] * ratio
    if samples is None and isinstance(image, Tensor) and image.ndim == 4:
        return image.shape[0], image.shape[2], image.shape[1]
    return None


def _made(run: Run) -> tuple[int, int, int]:
    """The same of what a run ended with."""
    return (0 if run.final is None else run.final.shape[0], *run.size)


def _fits(run: Run, samples: dict[str, Any] | None, image: Tensor | None) -> bool:
    return run.final is not None and _given(run, samples, image) == _made(run)


def _mismatch(run: Run, samples: dict[str, Any] | None, image: Tensor | None, direct: bool, probed: bool) -> str | None:
    """Why what was given may not be what the run ended with.

    Args:
        direct: it comes from the sampler node itself.
        probed: that node samples with the probe's MODEL, so its record is no earlier one.
    """
    if (samples is None and image is None) or holds(run, samples):
        return None
    if direct:
        return (_CHANGED if probed else _OTHER).format(run.sampler.node)
    given, made = _given(run, samples, image), _made(run)
    if run.final is None or given is None or given == made:
        return None
    what = "latent" if samples is not None else "picture"
    return f"The {what} connected here is {_size(given)}, and this run made {_size(made)}."


def _size(pictures: tuple[int, int, int]) -> str:
    count, width, height = pictures
    return f"{width} x {height} pixels" + (f", batch of {count}" if count > 1 else "")


def _which(run: Run, execution: Execution, why: str) -> str:
    """Which of several runs this is."""
    parts = []
    if execution.count > 1:
        parts.append(
            f"This is run {run.number} of {execution.count} by node {run.sampler.node}, {run.size[0]} x "
            f"{run.size[1]} pixels ({why}). For another one, set run."
        )
    if len(execution.runs) < execution.count:
        parts.append(f"Only the {len(execution.runs)} largest and latest are kept.")
    if execution.skipped:
        were = "1 smaller one was" if execution.skipped == 1 else f"{execution.skipped} smaller ones were"
        parts.append(f"{were} not measured (skip_below).")
    return " ".join(parts)


def _no_such(execution: Execution, number: int) -> str:
    if number > execution.count:
        runs = "1 run" if execution.count == 1 else f"{execution.count} runs"
        return f"There is no run {number}: node {execution.sampler.node} made {runs}. Set run to 0 to have one chosen."
    kept = ", ".join(str(run.number) for run in execution.runs[:8])
    more = ", ..." if len(execution.runs) > 8 else ""
    return f"Run {number} of {execution.count} is no longer kept. Set run to one of {kept}{more}."


def _nothing(watch: Watch) -> str:
    skipped = sum(one.skipped for one in watch.executions.newest.values())
    if skipped:
        return (
            f"Nothing was measured: every picture sampled ({skipped}) is smaller than Identity Probe's skip_below "
            f"of {watch.skip_below} pixels. Lower skip_below."
        )
    return (
        "The probe has not seen any sampling. Connect Identity Probe's model output to the sampler that feeds this "
        "report."
    )
