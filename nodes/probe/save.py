"""Save Identity Results: chart, faces, pictures, figures and the record of a run, as files under one prefix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io
from torch import Tensor

from ...infusenet.errors import SettingsError, require
from ...infusenet.files import png, write_atomically
from ...infusenet.measures import as_measure
from ...infusenet.measures.scores import Scores
from ...infusenet.probe import Trace
from ..checks import checked
from ..convert import image_to_pictures
from ..sockets import TraceSocket, schema
from .best import pictures_of
from .choice import Choice, find_run
from .report import draw, faces_of, finished, others, record_json, second_of
from .watch import Watch

DEFAULT = "infusenet/result"  # prefix


class SaveResults(io.ComfyNode):
    """Writes what a probe saw into the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "SaveResults",
            "Save Identity Results",
            description="Saves what the probe saw to the output folder: the chart, the face at each step, the "
            "pictures sorted by likeness, every picture on its own, a table (CSV) and the full record "
            "(JSON). Pictures are marked as AI-generated. No embedding is saved.",
            search_aliases=["save chart", "export", "csv", "json", "face similarity", "report"],
            inputs=[
                TraceSocket.Input("trace", tooltip="From Identity Probe."),
                io.String.Input(
                    "filename_prefix",
                    default=DEFAULT,
                    tooltip="Start of the file names, inside the output folder. %year%, %month% and the like work as "
                    "in Save Image.",
                ),
                io.Latent.Input(
                    "samples", optional=True, tooltip="The sampler's latent. Connect this or image: it starts the save."
                ),
                io.Image.Input("image", optional=True, tooltip="The finished pictures. These are the ones saved."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes samples if image is not connected. If this is not connected either, the "
                    "probe's VAE is used.",
                ),
                io.Int.Input(
                    "run",
                    default=0,
                    min=0,
                    max=100000,
                    optional=True,
                    tooltip="Which run, if the node sampled several times. 0: chosen automatically, as in Identity "
                    "Drift Report.",
                ),
            ],
            outputs=[io.String.Output("files", display_name="files", tooltip="The paths of the files, one per line.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, trace, filename_prefix, samples=None, image=None, vae=None, run=0) -> io.NodeOutput:
        """Find the run, make everything, then write it."""
        if samples is None and image is None:
            raise SettingsError(
                "Save Identity Results does not know when to save. Connect the sampler's latent to samples, or the "
                "finished picture to image."
            )
        require("matplotlib")
        hidden = getattr(cls, "hidden", None)
        prompt = getattr(hidden, "prompt", None)
        choice = find_run(trace, prompt, getattr(hidden, "unique_id", None), samples, image, run)
        record = finished(trace, choice.run, vae)
        image = pictures_of(trace, choice.run, vae) if image is None else image
        contents = contents_of(trace, choice, record, image, {**(getattr(hidden, "extra_pnginfo", None) or {})}, prompt)
        saved, subfolder = write(filename_prefix, record, image, contents)
        shown = [path.name for path in saved if path.suffix == ".png"]
        return io.NodeOutput(
            "\n".join(map(str, saved)),
            ui={
                "images": [{"filename": name, "subfolder": subfolder, "type": "output"} for name in shown],
                "text": ["\n".join([f"Saved {len(saved)} files as {saved[0].parent / filename_of(saved[0])}…"])],
            },
        )


def contents_of(
    watch: Watch,
    choice: Choice,
    trace: Trace,
    image: Tensor | None,
    workflow: dict[str, Any],
    prompt: dict[str, Any] | None,
) -> dict[str, bytes]:
    """What is saved, by the end of its name."""
    run = choice.run
    metadata = {} if args.disable_metadata else {**({} if prompt is None else {"prompt": prompt}), **workflow}
    (chart,), (faces,) = (image_to_pictures(made) for made in (draw(run, trace, others(run)), faces_of(run, trace)))
    contents = {"chart.png": png(chart), "faces.png": png(faces, generated=True)}
    if image is not None:
        from ...infusenet.charts import scores_sheet

        pictures = image_to_pictures(image)
        scores = Scores.of(as_measure(watch.recognizer), pictures, watch.references, watch.strangers)
        contents["sheet.png"] = png(scores_sheet(scores, pictures), generated=True)
        for number, picture in enumerate(pictures, start=1):
            contents[f"picture_{number}.png"] = png(picture, metadata, generated=True)
    contents["steps.csv"] = trace.to_csv().encode()
    contents["record.json"] = record_json(trace, run, second_of(watch, run)).encode()
    return contents


def write(prefix: str, trace: Trace, image: Tensor | None, contents: dict[str, bytes]) -> tuple[list[Path], str]:
    """Write all files, or none: where the disk refuses one, those before it are taken back.

    Returns:
        Their paths, and the folder below the output folder.

    Raises:
        SettingsError: the folder lies outside the output folder, or cannot be written.
    """
    width, height = (0, 0) if image is None else (image.shape[2], image.shape[1])
    prefix = os.path.normpath(prefix.strip().rstrip("/\\") or DEFAULT)  # the host counts by what it is given
    written: list[Path] = []
    try:
        home, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory(), width, height
        )
        while any((Path(home) / f"{name}_{counter:05}_{end}").exists() for end in contents):
            counter += 1  # of another kind of save, or of another case in a file system that knows none
        for end, content in contents.items():
            path = Path(home) / f"{name}_{counter:05}_{end}"
            write_atomically(path, content)
            written.append(path)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise SettingsError(
            f"The results could not be saved ({error.strerror or error}), so no file was kept. Free "
            "some space, or change filename_prefix."
        ) from error
    except Exception as error:  # the host's own, for a folder outside; or of a name that is none
        raise SettingsError(
            f"filename_prefix {prefix!r:.80} points outside the output folder. Use a name inside it, such as "
            "infusenet/portrait."
        ) from error
    return written, subfolder


def filename_of(path: Path) -> str:
    """What the names of files that were saved together begin with."""
    return os.path.basename(path).rsplit("_chart", 1)[0]
