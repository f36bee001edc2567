"""The model card's "Beside the paper", from the verdicts of a full sweep.

`python -m infusenet.miniature.evaluation.beside DIR`, where DIR is the folder of `infusenet sweep all --out DIR`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ...files import write_atomically
from ...sweep.report import FOUND
from ...sweep.report.verdicts import ORDER, WORDS, Verdict, in_order
from ...sweep.request import order_of_reading

CARD = Path(__file__).parents[1] / "MODEL_CARD.md"
_HEAD = "## Beside the paper"
_ELSEWHERE = ("fastface", "speed")  # mostly statements of our own and of FastFace, which their own pages tell


def beside_the_paper(folder: Path) -> str:
    """The section's text, contradictions first.

    Args:
        folder: of all shipped sweeps of the paper, each reported.

    Raises:
        OSError: a sweep has no verdicts there.
    """
    found: list[Verdict] = []
    for name in (name for name in order_of_reading() if name not in _ELSEWHERE):
        found += [Verdict.of(record) for record in json.loads((folder / name / FOUND).read_bytes())["verdicts"]]
    counts = [f"{WORDS[status]}: {count}" for status in ORDER if (count := sum(one.status == status for one in found))]
    lines = [
        _HEAD,
        "",
        f"Verdicts on {len(found)} statements, the paper's and some that follow from it: {'; '.join(counts)}.",
        "Intervals are over people. Written by `python -m infusenet.miniature.evaluation.beside DIR` from",
        "`infusenet sweep all --out DIR`. The step-budget page says why likeness falls over steps.",
        "",
        *(f"- **{WORDS[one.status]}**: {one.says} {one.found} ({one.source})" for one in in_order(found)),
        "",
        "None of this confirms or refutes anything about the real models: this mini-schnell was distilled in one",
        "minute, and nothing was tuned towards or away from the paper.",
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the section into the model card."""
    parser = argparse.ArgumentParser(prog="python -m infusenet.miniature.evaluation.beside", description=__doc__)
    parser.add_argument("folder", type=Path)
    section = beside_the_paper(parser.parse_args(arguments).folder)
    card = CARD.read_text(encoding="utf-8")
    pattern = re.compile(rf"^{_HEAD}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    assert len(pattern.findall(card)) == 1, "the card has this heading once"
    write_atomically(CARD, pattern.sub(lambda _: f"{section}\n", card).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
