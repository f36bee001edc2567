"""The main job on the miniature, from start to end: a reference, the person in new scenes, every step measured."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import generate
from ..backbones import BACKBONES
from ..errors import SettingsError, require
from ..files import Picture, check_folder, open_picture, png, save_picture, write_atomically
from .findings import BackboneResults, DemoResults, MeasuredPicture, summarise
from .page import demo_page

if TYPE_CHECKING:
    from ..adapters import Condition
    from ..probe import ProbeRecorder, Trace

COLOURS = {"mini-schnell": "curve-2", "mini-dev": "curve-1"}  # of the backbones, the quick one first
PROBED = 3  # index of the prompt whose run is measured step by step
IMPOSTORS, GENUINE = 48, 24
FIRST_SEED = 7_000_000  # seeds of people from here on are used by no training


@dataclass(frozen=True)
class Subjects:
    """The reference and whom it is compared with; pictures RGB uint8 [H, W, 3].

    Attributes:
        reference: the person.
        note: what the reference is, in a few words.
        genuine: true pictures of the same person; empty where there are none.
        impostors: pictures of other people.
    """

    reference: Picture
    note: str
    genuine: tuple[Picture, ...]
    impostors: tuple[Picture, ...]


@dataclass(frozen=True)
class BackboneRuns:
    """What one backbone made: pictures, seconds a picture, and the probed run's trace and faces sheets."""

    results: tuple[generate.Result, ...]
    seconds: tuple[float, ...]
    trace: Trace
    sheet: Picture
    dark_sheet: Picture


def drawn_subjects(seed: int) -> Subjects:
    """A person no model was trained on, the same person in other scenes, and strangers; the same for the same seed."""
    import torch

    from ..miniature.faces import render, sample_identities, sample_scenes, to_uint8

    generator = torch.Generator().manual_seed(FIRST_SEED + seed)
    everyone = sample_identities(1 + IMPOSTORS, generator)
    order = torch.tensor([0] * (1 + GENUINE) + list(range(1, 1 + IMPOSTORS)))
    plain = sample_scenes(1 + IMPOSTORS, generator, plain=True)
    other = sample_scenes(GENUINE, generator, styled=0.0)
    scenes = {key: torch.cat([plain[key][:1], other[key], plain[key][1:]]) for key in plain}
    images = to_uint8(render({key: value[order] for key, value in everyone.items()}, scenes).images)
    pictures = [image.permute(1, 2, 0).numpy() for image in images]
    note = f"a drawn person that no model has seen (seed {seed})"
    return Subjects(pictures[0], note, tuple(pictures[1 : 1 + GENUINE]), tuple(pictures[1 + GENUINE :]))


def user_subjects(face: Path, seed: int) -> Subjects:
    """The user's own reference among drawn strangers."""
    return Subjects(open_picture(face), "the picture given with --face", (), drawn_subjects(seed).impostors)


def run_backbone(
    name: str,
    condition: Condition,
    prompts: Sequence[str],
    seed: int,
    recorder_for: Callable[[Any], ProbeRecorder],
    tick: Callable[[], None],
) -> BackboneRuns:
    """All pictures of one backbone, and one run of them again with a probe listening.

    Args:
        name: a miniature backbone.
        condition: whom to show.
        prompts: a picture for each.
        seed: the first picture's; each has its own.
        recorder_for: makes the recorder for a loaded pipeline.
        tick: called after every picture.
    """
    from ..charts import faces_sheet

    pipeline = generate.load_pipeline(generate.files_for(name, ()), "cpu")
    requests = [generate.GenerateRequest(prompt, seed=seed + index) for index, prompt in enumerate(prompts)]
    generate.generate(pipeline, condition, generate.GenerateRequest(prompts[0], steps=1))  # the first run warms up
    results, seconds = [], []
    for request in requests:
        began = time.perf_counter()
        results.append(generate.generate(pipeline, condition, request))
        seconds.append(time.perf_counter() - began)
        tick()
    recorder = recorder_for(pipeline)
    probed = generate.generate(pipeline, condition, requests[PROBED], recorder=recorder)
    tick()
    if probed.trace is None:
        raise RuntimeError("a run with a recorder gave no trace")
    sheets = [faces_sheet(probed.trace, recorder.gallery, theme=theme) for theme in ("light", "dark")]
    return BackboneRuns(tuple(results), tuple(seconds), probed.trace, *sheets)


def run_demo(out: Path, *, face: Path | None = None, seed: int = 0, quiet: bool = False) -> dict[str, Any]:
    """Do the main job on the miniature and write everything into a folder.

    Args:
        out: the folder; made if missing. Files of an earlier demo there are replaced.
        face: the user's own reference; by default a person is drawn.
        seed: draws another person and other pictures.
        quiet: no progress bar.

    Returns:
        What summary.json holds.

    Raises:
        InfuseNetError: the reference is no picture, or shows no face; a seed that is none.
    """
    if not 0 <= seed < 2**62:
        raise SettingsError(f"Expected a seed between 0 and 2^62 - 1, got {seed}.")
    from tqdm import tqdm

    from ..faces import FaceRecognizer
    from ..miniature.captions import NINE
    from ..probe import Baseline, ProbeRecorder, Reference, vae_decoder

    check_folder(out)
    require("jinja2", "matplotlib")
    out.mkdir(parents=True, exist_ok=True)
    subjects = drawn_subjects(seed) if face is None else user_subjects(face, seed)
    prompts = tuple(prompt.text for prompt in NINE)
    files = generate.files_for("mini-dev", ())
    recognizer = FaceRecognizer.from_pack(files.face_pack)
    reference = Reference.from_pictures(recognizer, [subjects.reference], source=subjects.note)
    impostors = defined(reference.similarities(recognizer, subjects.impostors))
    condition = generate.load_adapter(files, "cpu").encode([subjects.reference])

    def recorder_for(pipeline: Any) -> ProbeRecorder:
        baseline = Baseline.of_impostors(impostors)
        return ProbeRecorder(recognizer, reference, vae_decoder(pipeline.vae), strangers=baseline)

    inputs = [] if face is None else [face]
    save_picture(subjects.reference, out / "reference.png", {"Title": subjects.note}, inputs=inputs)
    with tqdm(total=len(COLOURS) * (len(prompts) + 1), desc="pictures", disable=quiet, leave=False) as bar:
        runs = {name: run_backbone(name, condition, prompts, seed, recorder_for, bar.update) for name in COLOURS}
    backbones = []
    for name, run in runs.items():
        similarities = reference.similarities(recognizer, [result.picture for result in run.results])
        backbones.append(write_backbone(out, name, run, similarities, files, inputs))
    genuine = defined(reference.similarities(recognizer, subjects.genuine))
    measured = (tuple(backbones), tuple(impostors), tuple(genuine))
    results = DemoResults(out / "reference.png", subjects.note, prompts, PROBED, *measured, seed)
    return write_findings(out, results)


def defined(values: Sequence[float | None]) -> list[float]:
    """The values that are not None."""
    return [value for value in values if value is not None]


def write_backbone(
    out: Path,
    name: str,
    runs: BackboneRuns,
    similarities: Sequence[float | None],
    files: generate.Files,
    inputs: Sequence[Path],
) -> BackboneResults:
    """Write one backbone's pictures and faces sheet, and say what the page shows of them."""
    pictures = []
    for number, (result, similarity) in enumerate(zip(runs.results, similarities, strict=True), 1):
        path = out / f"{name}-{number}.png"
        save_picture(result.picture, path, result.metadata(files, photos=1), inputs=inputs)
        pictures.append(MeasuredPicture(path, similarity))
    return BackboneResults(
        name,
        COLOURS[name],
        BACKBONES[name].num_inference_steps,
        statistics.median(runs.seconds),
        tuple(pictures),
        runs.trace,
        save_picture(runs.sheet, out / f"faces-{name}.png", inputs=inputs),
        png(runs.dark_sheet),
    )


def write_findings(out: Path, results: DemoResults) -> dict[str, Any]:
    """Write the chart, the traces, the summary, which is returned, and the page."""
    from ..charts import save_chart

    quick, slow = results.backbones
    save_chart([slow.trace, quick.trace], out / "drift.png")
    slow.trace.save(out / "trace.json")
    quick.trace.save(out / "trace-mini-schnell.json")
    summary = summarise(results)
    write_atomically(out / "summary.json", (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(out / "report.html", demo_page(results, summary).encode())
    return summary
