"""How the numbers of a measure are spoken of: by what it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .baselines import LEAST_IMPOSTORS

SubjectName = Literal["face", "picture", "prompt"]
"""What a measure looks at: a face in each picture, whole pictures, or whole pictures beside a prompt."""


@dataclass(frozen=True)
class Wording:
    """The words for one sort of measure, each without its capital where it may stand in mid-sentence.

    Attributes:
        axis: what a chart's vertical axis shows.
        others: name of the impostor line.
        blank: name of the blank line.
        blanks: what the blank line is of.
        missing: on a picture without a value, in two words.
        unseen: what a hollow point means, in a legend.
        nothing: instead of a curve.
        nothing_in: of several pictures none has a value; takes `count`.
        show: pictures with a value: "3 of 4 pictures show a face".
        some_missing: of a value tried, some pictures have none.
        without: pictures that ... a face.
        formed: what was there; takes `step` and `total`.
        no_final: why there is no drift.
        unknown: the impostor line is unknown, and what to do; "" where there is no such line.
        indistinct: the peak is within the lines.
        left_out: pictures not counted, before their numbers.
        most: of a batch, the best picture came out ...
        none_seen: of one picture of a batch, in no step.
        none_finished: likewise, when it was finished.
        model: whom or what the reference shows.
        unadvised: why there is no advice; "" where there may be.
    """

    axis: str
    others: str
    blank: str
    blanks: str
    missing: str
    unseen: str
    nothing: str
    nothing_in: str
    show: str
    some_missing: str
    without: str
    formed: str
    no_final: str
    unknown: str
    indistinct: str
    left_out: str
    most: str
    none_seen: str
    none_finished: str
    model: str
    unadvised: str = ""

    @property
    def others_unknown(self) -> str | None:
        """The impostor line where it is not known; None where the measure has none."""
        return f"{self.others}: unknown" if self.unknown else None


_FACE = Wording(
    axis="similarity (cosine)",
    others="other people",
    blank="no face (blank)",
    blanks="crops without a face",
    missing="no face",
    unseen="no face seen",
    nothing="No face was found, so there is no curve.",
    nothing_in="No face was found in any of {count} pictures",
    show="show a face",
    some_missing="some pictures without a face",
    without="show no face",
    formed="Identity formed at step {step} of {total}, the first step that shows a face within 5 % of the best "
    "likeness.",
    no_final="The finished picture shows no face",
    unknown=f"What other people score is unknown. Give the probe pictures of at least {LEAST_IMPOSTORS} other people.",
    indistinct="The peak is no higher than that, so this face cannot be told from a stranger's.",
    left_out="Not counted because no face was seen",
    most="most like the person",
    none_seen="no face was seen",
    none_finished="no face in the finished picture",
    model="person",
)
_PICTURE = Wording(
    axis="similarity of whole pictures (cosine)",
    others="other pictures",
    blank="blank pictures",
    blanks="blank pictures",
    missing="not measured",
    unseen="not measured",
    nothing="Nothing could be measured, so there is no curve.",
    nothing_in="None of {count} pictures could be measured",
    show="could be measured",
    some_missing="some pictures not measured",
    without="could not be measured",
    formed="The likeness was there at step {step} of {total}, the first step within 5 % of the best likeness.",
    no_final="The finished picture could not be measured",
    unknown=f"What other pictures score is unknown. Give the probe at least {LEAST_IMPOSTORS} other pictures.",
    indistinct="The peak is no higher than that, so this likeness may be chance.",
    left_out="Not counted because it could not be measured",
    most="most like the reference",
    none_seen="nothing could be measured",
    none_finished="the finished picture could not be measured",
    model="subject",
    unadvised="There is no advice: it was tested on faces only, and this measure looks at whole pictures.",
)
_PROMPT = Wording(
    **{
        **vars(_PICTURE),
        "axis": "fit to the prompt (cosine)",
        "formed": "The prompt was met at step {step} of {total}, the first step within 5 % of the best fit.",
        "unknown": "",
        "indistinct": "The peak is no higher than that, so this fit may be chance.",
        "most": "closest to the prompt",
        "unadvised": "There is no advice: it was tested on faces only, and this measure looks at the prompt.",
    }
)
_BY: dict[SubjectName, Wording] = {"face": _FACE, "picture": _PICTURE, "prompt": _PROMPT}


def wording(subject: SubjectName = "face") -> Wording:
    """The words for a measure that looks at faces, whole pictures, or a prompt."""
    return _BY[subject]
