"""The model card's "Beside the paper": every statement of the paper's sweeps, contradictions first."""

import json
import re
from pathlib import Path

from infusenet.miniature.evaluation.beside import CARD, beside_the_paper
from infusenet.sweep.report import FOUND
from infusenet.sweep.request import find_spec, order_of_reading
from infusenet.sweep.spec import read_spec


def test_it_tells_the_statements_of_the_papers_sweeps_alone(tmp_path: Path) -> None:
    count = 0
    for name in order_of_reading():
        (tmp_path / name).mkdir()
        told = []
        for claim in [claim for figure in read_spec(find_spec(name)).figures for claim in figure.claims]:
            status = "agrees" if len(told) else "contradicts"
            same = {"low": None, "high": None, "people": 0, "mean": None, "paper": None, "ratio": False}
            told.append({"says": claim.says, "source": name, "status": status, "found": "here 0", **same})
        count += 0 if name in ("fastface", "speed") else len(told)
        (tmp_path / name / FOUND).write_text(json.dumps({"verdicts": told}))
    text = beside_the_paper(tmp_path)
    told_of = [line for line in text.splitlines() if line.startswith("- **")]
    assert len(told_of) == count and f"Verdicts on {count} statements" in text
    assert "contradicts" in told_of[0] and "agrees" in told_of[-1]
    card = CARD.read_text(encoding="utf-8").partition("## Beside the paper")[2]
    assert f"Verdicts on {count} statements" in card, "the card tells as many"
    said = [line.partition("**: ")[2] for line in card.splitlines() if line.startswith("- **")]
    known = {line.partition("**: ")[2].partition(" here 0")[0] for line in told_of}
    assert len(said) == count and [line for line in said if not line.startswith(tuple(known))] == []
    assert not re.search(r"\((fastface|speed)\)", text)
