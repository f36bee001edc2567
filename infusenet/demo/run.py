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
from ..cli.picture import save_chart
from ..files import png
from .findings import page_of, summarise
from .page import Series, Shot, render
from .svg import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..adapters.infusenet.encoder import Identity
    from ..probe import ProbeRecorder, Trace

    Picture = NDArray[np.uint8]

NAMES = {"mini-schnell": "quick", "mini-dev": "slow"}  # backbones and their colours on the page
PROBED = 3  # index of the prompt whose run is measured step by step
STRANGERS, REDRAWN = 48, 24
_PEOPLE = 7_000_000  # seeds of people from here on are used by no training


@dataclass(frozen=True)
class People:
    """The reference and whom it is compared with; pictures RGB uint8 [H, W, 3]."""

    reference: Picture
    note: str
    redrawn: tuple[Picture, ...]
    strangers: tuple[Picture, ...]


@dataclass(frozen=True)
class Made:
    """What one backbone made: pictures, seconds a picture, and the trace of the probed run."""

    results: tuple[generate.Result, ...]
    seconds: tuple[float, ...]
    trace: Trace
    sheet: Picture
    dark_sheet: Picture


def draw_people(seed: int) -> People:
    """A person no model was trained on, the same person in other scenes, and strangers; the same for the same seed."""
    import torch

    from ..miniature.faces import render, sample_identities, sample_scenes, to_uint8

    generator = torch.Generator().manual_seed(_PEOPLE + seed)
    everyone = sample_identities(1 + STRANGERS, generator)
    order = torch.tensor([0] * (1 + REDRAWN) + list(range(1, 1 + STRANGERS)))
    plain = sample_scenes(1 + STRANGERS, generator, plain=True)
    other = sample_scenes(REDRAWN, generator, styled=0.0)
    scenes = {key: torch.cat([plain[key][:1], other[key], plain[key][1:]]) for key in plain}
    drawn = to_uint8(render({key: value[order] for key, value in everyone.items()}, scenes).images)
    pictures = [picture.permute(1, 2, 0).numpy() for picture in drawn]
    note = f"a drawn person whom no model has seen (seed {seed})"
    return People(pictures[0], note, tuple(pictures[1 : 1 + REDRAWN]), tuple(pictures[1 + REDRAWN :]))


def user_person(face: Path, seed: int) -> People:
    """The user's own reference among drawn strangers."""
    from ..files import open_picture

    drawn = draw_people(seed)
    return People(open_picture(face), "the picture given with --face", (), drawn.strangers)


def make(
    name: str,
    identity: Identity,
    prompts: Sequence[str],
    seed: int,
    probe: Callable[[Any], ProbeRecorder],
    tick: Callable[[], None],
) -> Made:
    """All pictures of one backbone, and one run of them again with a probe listening.

    Args:
        name: a miniature backbone.
        identity: whom to show.
        prompts: a picture for each.
        seed: the first picture's; each has its own.
        probe: makes the recorder for a loaded pipeline.
        tick: called after every picture.
    """
    from ..charts import faces_sheet

    pipeline = generate.load_pipeline(generate.files_for(name, ()), "cpu")
    generate.generate(pipeline, identity, generate.GenerateRequest(prompts[0], steps=1))  # the first run warms up
    results, seconds = [], []
    for place, prompt in enumerate(prompts):
        began = time.perf_counter()
        results.append(generate.generate(pipeline, identity, generate.GenerateRequest(prompt, seed=seed + place)))
        seconds.append(time.perf_counter() - began)
        tick()
    recorder = probe(pipeline)
    settings = generate.GenerateRequest(prompts[PROBED], seed=seed + PROBED)
    probed = generate.generate(pipeline, identity, settings, recorder=recorder)
    tick()
    if probed.trace is None:
        raise RuntimeError("a run with a recorder gave no trace")
    sheets = [faces_sheet(probed.trace, recorder.gallery, theme=theme) for theme in ("light", "dark")]
    return Made(tuple(results), tuple(seconds), probed.trace, *sheets)


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
        InfuseNetError: the reference is no picture, or shows no face.
    """
    from tqdm import tqdm

    from ..faces import FaceRecognizer
    from ..files import save_picture
    from ..miniature.captions import NINE
    from ..probe import Baseline, ProbeRecorder, Reference, vae_decoder

    out.mkdir(parents=True, exist_ok=True)
    people = draw_people(seed) if face is None else user_person(face, seed)
    prompts = tuple(prompt.text for prompt in NINE)
    files = generate.files_for("mini-dev", ())
    recognizer = FaceRecognizer.from_pack(files.face_pack)
    reference = Reference.from_pictures(recognizer, [people.reference], source=people.note)
    strangers = defined(reference.similarities(recognizer, people.strangers))
    baseline = Baseline(statistics.fmean(strangers), statistics.stdev(strangers), len(strangers))
    identity = generate.load_adapter(files, "cpu").encode([people.reference])

    def probe(pipeline: Any) -> ProbeRecorder:
        return ProbeRecorder(recognizer, reference, vae_decoder(pipeline.vae), strangers=baseline)

    inputs = [] if face is None else [face]
    save_picture(people.reference, out / "reference.png", {"Title": people.note}, inputs=inputs)
    with tqdm(total=len(NAMES) * (len(prompts) + 1), desc="pictures", disable=quiet, leave=False) as bar:
        made = {name: make(name, identity, prompts, seed, probe, bar.update) for name in NAMES}

    series = []
    for name, colour in NAMES.items():
        pictures = [result.picture for result in made[name].results]
        found = reference.similarities(recognizer, pictures)
        series.append(write_series(out, name, colour, made[name], found, files, inputs))
    save_chart([made[name].trace for name in reversed(NAMES)], out / "drift.png")
    made["mini-dev"].trace.save(out / "trace.json")
    made["mini-schnell"].trace.save(out / "trace-mini-schnell.json")
    redrawn = defined(reference.similarities(recognizer, people.redrawn))
    summary = summarise(series, strangers, redrawn, made["mini-dev"].trace, people.note, seed)
    write_text(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "report.html", render(page_of(out, prompts, PROBED, series, strangers, redrawn, summary)))
    return summary


def defined(values: Sequence[float | None]) -> list[float]:
    """The values that are not None."""
    return [value for value in values if value is not None]


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole."""
    from ..files import write_atomically

    write_atomically(path, text.encode())


def write_series(
    out: Path,
    name: str,
    colour: str,
    made: Made,
    found: Sequence[float | None],
    files: generate.Files,
    inputs: Sequence[Path],
) -> Series:
    """Write one backbone's pictures and faces sheet, and say what the page shows of them."""
    from ..files import save_picture
    from ..probe.drift import in_words

    shots = []
    for place, (result, similarity) in enumerate(zip(made.results, found, strict=True), 1):
        path = out / f"{name}-{place}.png"
        save_picture(result.picture, path, generate.metadata(files, result, photos=1), inputs=inputs)
        shots.append(Shot(path, similarity))
    sheet = save_picture(made.sheet, out / f"faces-{name}.png", inputs=inputs)
    trace = made.trace
    measured = [*trace.records, *([trace.final] if trace.final else [])]
    run = Run(name, colour, [record.sigma or 0.0 for record in measured], [trace.mean(record) for record in measured])
    steps = BACKBONES[name].num_inference_steps
    return Series(
        name,
        colour,
        steps,
        statistics.median(made.seconds),
        tuple(shots),
        run,
        in_words(trace),
        sheet,
        png(made.dark_sheet),
    )
