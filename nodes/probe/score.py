"""How alike finished pictures are to a person: sorted, the best one, and the figures. No sampler is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ...infusenet.errors import require
from ...infusenet.measures import as_measure
from ...infusenet.measures.scores import TOLD, Scores
from ..checks import checked
from ..convert import Picture, image_to_pictures, pictures_to_image
from ..shared import show as tell
from ..sockets import recognizer_input, reference_input, schema, strangers_input
from .probe import ONE, other_people, read_references, references_input

PICTURES, FACES = "pictures", "aligned faces"


class Score(io.ComfyNode):
    """A batch of pictures, by likeness."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "Score",
            "Identity Score",
            description="Measures how much each picture in a batch looks like the reference, and sorts them. The "
            "pictures can come from anywhere: a sampler, another pack, a folder of files.",
            search_aliases=[
                "face similarity",
                "arcface score",
                "likeness",
                "rank images",
                "pick best",
                "compare faces",
            ],
            inputs=[
                io.Image.Input("images", tooltip="The pictures to measure: one, or a batch."),
                recognizer_input(),
                reference_input(),
                io.Combo.Input(
                    "show",
                    options=[PICTURES, FACES],
                    default=PICTURES,
                    tooltip="What the sheet shows: whole pictures, or the faces as they were compared (with Likeness "
                    "Measure, the middle of each picture).",
                ),
                strangers_input(),
                references_input(),
            ],
            outputs=[
                io.Image.Output(
                    "pictures",
                    display_name="pictures",
                    tooltip="All pictures, most alike first; those that could not be measured come last.",
                ),
                io.Image.Output(
                    "best",
                    display_name="best",
                    tooltip="The picture most like the reference, or the first one given if none could be measured.",
                ),
                io.Int.Output(
                    "best_index",
                    display_name="best_index",
                    tooltip="Position of best in images, counted from 0; -1 if none could be measured.",
                ),
                io.Float.Output(
                    "best_similarity",
                    display_name="best_similarity",
                    tooltip="Likeness of best (cosine); NaN if undefined.",
                ),
                io.Float.Output(
                    "scores",
                    display_name="scores",
                    is_output_list=True,
                    tooltip="A list with the likeness of each picture, in the order of pictures; NaN if not measured.",
                ),
                io.String.Output("text", display_name="text", tooltip="The results in words, one line per picture."),
                io.String.Output(
                    "json", display_name="json", tooltip="The numbers, the lines, and what measured them."
                ),
                io.Image.Output(
                    "sheet", display_name="sheet", tooltip="All pictures with their likeness, the best one framed."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(cls, images, recognizer, reference, show, strangers=None, references=ONE) -> io.NodeOutput:
        """Read the reference, then each picture."""
        require("matplotlib")
        pictures, people = image_to_pictures(images), read_references(recognizer, reference, references)
        others, message = other_people(recognizer, people, strangers)
        scores = Scores.of(as_measure(recognizer), one_by_one(pictures), people, others)
        best = 0 if scores.best is None else scores.best
        words = "\n".join(filter(None, [scores.in_words(TOLD), message]))
        tell(cls, words)
        return io.NodeOutput(
            images[list(scores.order)],
            images[best : best + 1],
            -1 if scores.best is None else best,
            math.nan if scores.best is None else scores.similarity(best),
            scores.sorted,
            scores.in_words(),
            scores.to_json(),
            sheet_of(scores, pictures, show == FACES),
            ui={"text": [words]},
        )


def one_by_one(pictures: Sequence[Picture]) -> Iterator[Picture]:
    """The pictures, with the host's progress bar; ends where the user has cancelled."""
    bar = comfy.utils.ProgressBar(len(pictures))
    for picture in pictures:
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield picture
        bar.update(1)


def sheet_of(scores: Scores, pictures: Sequence[Picture], faces: bool):
    """The sheet as an IMAGE; Pillow and its font are imported here."""
    from ...infusenet.charts import scores_sheet

    return pictures_to_image([scores_sheet(scores, pictures, faces=faces)])
