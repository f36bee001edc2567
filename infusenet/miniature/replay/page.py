"""The replay's page: one file, readable offline."""

from __future__ import annotations

from typing import Any

from ...pages import render
from .compare import LOSS, OFTEN

H200 = {"step": 0.211, "look": 0.145}
"""Seconds of a step of FLUX dev with InfuseNet at 864x1152 on one H200 (measured), and of a look there with the face
networks on a CPU: a tiny decoder, a detector at 640 pixels, a recognizer (measured apart)."""


def page(record: dict[str, Any]) -> str:
    """The record of `python -m infusenet.miniature.replay` as HTML."""
    stopping = record["stopping"]
    followed = [
        *stopping["rules"],
        *stopping["schnell"],
        *(one["row"] for one in record["advice"]),
        *record["rejected"],
    ]
    return render(
        "replay.html",
        record=record,
        clocks=(record["seconds_of"], H200),
        share_of_time=share_of_time,
        advice=[{**one["row"], "name": f"{one['kind']}, of {one['of']}"} for one in record["advice"]],
        faceless=sum(row["faceless"] for row in followed),
        pairs=sum(row["runs"] for row in followed),
        loss=LOSS,
        often=OFTEN,
    )


def share_of_time(row: dict[str, Any], clock: dict[str, float], steps: int = 28) -> float:
    """Time of a rule as a share of a run to its end without any probe."""
    return float((row["evaluations"] * clock["step"] + row["looks"] * clock["look"]) / (steps * clock["step"]))
