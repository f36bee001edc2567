"""The replay's page: one file, readable offline."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from .compare import LOSS, OFTEN

H200 = {"step": 0.211, "look": 0.145}
"""Seconds of a step of FLUX dev with InfuseNet at 864x1152 on one H200 (measured), and of a look there with the face
networks on a CPU: a tiny decoder, a detector at 640 pixels, a recognizer (measured apart)."""

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>InfuseNet replay</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%;margin:1em 0}
th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}.no{color:#888}caption{text-align:left;font-weight:600;padding:.4em 0}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}th,td{border-color:#333}}</style>"""


def page(record: dict[str, Any]) -> str:
    """The record of `python -m infusenet.miniature.replay` as HTML."""
    stopping, clock, runs = record["stopping"], record["seconds_of"], record["runs"]
    advice = [{**one["row"], "name": f"{one['kind']}, of {one['of']}"} for one in record["advice"]]
    guard = stopping["guard"]
    parts = [
        _HEAD,
        "<h1>Replay on the miniature</h1>",
        f"<p>{runs} runs of the crowd <em>{escape(record['crowd'])}</em>: each another drawn person, with one of "
        "its prompts and a noise of its own. One recognizer chooses, another judges; neither knows these people. "
        "<b>Gain</b>: mean difference of the judge's cosine to the run as it was, with its 95 % interval. "
        f"<b>Worse</b>: share of runs below by more than {LOSS}. <b>Sharpness</b>: mean variance of the Laplacian, as "
        "a share. A run that loses the face is worse; a pair without a face is in no mean "
        f"({_faceless(record)}).</p>",
        "<h2>Stopping early (mini-dev, 28 steps)</h2>",
        _rules(stopping["rules"], clock),
        f"<p>Time: of a run to its end without any probe, on this machine (a step {clock['step']:.3f} s, a look "
        f"{clock['look']:.3f} s) and for FLUX dev on an H200 (a step {H200['step']} s, a look {H200['look']} s). Looks "
        "are those that the rule needs; a probe that draws a curve looks at every step besides.</p>",
        f"<p>The guard delayed {guard['delayed']} of {runs} runs; {guard['never_stopped']} went to their end.</p>",
        "<h3>Choosing the step by the face, or not, at the same mean number of evaluations</h3>",
        _pairs(stopping["paired"]),
        "<h2>mini-schnell, 4 steps</h2>",
        _rules(stopping["schnell"], None),
        "<h2>Advice, followed</h2>",
        f"<p>Advised is what gains (interval above 0) and makes at most {OFTEN:.0%} of runs worse.</p>",
        _rules(advice, None),
        "<h2>Not advised</h2>",
        _rules(record["rejected"], None),
        "<p>What one run cannot know, but a sweep can:</p>",
        _rules([record["by_others"]], None),
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _faceless(record: dict[str, Any]) -> str:
    """How many pairs of all tables are in no mean for want of a face."""
    stopping = record["stopping"]
    rows = [*stopping["rules"], *stopping["schnell"], *(one["row"] for one in record["advice"]), *record["rejected"]]
    return f"{sum(row['faceless'] for row in rows)} of {sum(row['runs'] for row in rows)}"


def share_of_time(row: dict[str, Any], clock: dict[str, float], steps: int = 28) -> float:
    """Time of a rule as a share of a run to its end without any probe."""
    return float((row["evaluations"] * clock["step"] + row["looks"] * clock["look"]) / (steps * clock["step"]))


def _rules(rows: Sequence[dict[str, Any]], clock: dict[str, float] | None) -> str:
    titles = ["", "runs", "gain", "95 % interval", "worse", "evaluations", "sharpness"]
    titles += ["looks", "time here", "time on an H200"] if clock else ["helps"]
    body = []
    for row in rows:
        if row["gain"] is None:
            body.append(f'<tr class="no"><td>{escape(row["name"])}</td><td colspan="6">no run asked for it</td></tr>')
            continue
        cells = [escape(row["name"]), str(row["runs"]), f"{row['gain']:+.3f}", _interval(row)]
        cells += [f"{row['worse']:.1%}", f"{row['evaluations']:.1f}", f"{row['sharpness']:.2f}"]
        if clock:
            cells += [f"{row['looks']:.1f}", *(f"{share_of_time(row, one):.0%}" for one in (clock, H200))]
        else:
            cells.append("yes" if row["helps"] else "no")
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{''.join(f'<th>{title}</th>' for title in titles)}</tr>{''.join(body)}</table>"


def _pairs(rows: Sequence[dict[str, Any]]) -> str:
    body = [f"<tr><td>{escape(r['name'])}</td><td>{r['gain']:+.4f}</td><td>{_interval(r, 4)}</td></tr>" for r in rows]
    return f"<table><tr><th></th><th>difference</th><th>95 % interval</th></tr>{''.join(body)}</table>"


def _interval(row: dict[str, Any], digits: int = 3) -> str:
    return "" if row["low"] is None else f"{row['low']:+.{digits}f} to {row['high']:+.{digits}f}"
