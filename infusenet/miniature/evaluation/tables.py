"""From measured batches to the tables of the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import captions
from .measure import auc, by_person, correlation, defined, mean, obeyed, pooled, ratio, similarities
from .subjects import (
    DEV,
    NINE,
    SCHNELL,
    VIEWS,
    Job,
    Seen,
    Setting,
    View,
    blank_crops,
    embed,
    look,
    name_of,
    references,
    second_recognizer,
)


def perception(views: Sequence[View]) -> dict[str, Any]:
    """Detector, measuring recognizer and autoencoder, view by view."""
    embeddings = {name: np.concatenate([v.embeddings for v in views if v.name == name]) for name in VIEWS}
    table: dict[str, Any] = {}
    for name in VIEWS:
        same = [view for view in views if view.name == name]
        row: dict[str, Any] = {
            "people": len(embeddings[name]),
            "found": defined(np.concatenate([v.found for v in same]).mean()),
            "several_boxes": defined(np.concatenate([v.boxes > 1 for v in same]).mean()),
            "landmark_error": mean(np.concatenate([v.landmark_errors for v in same])),
            "psnr_db": mean(np.concatenate([v.psnr for v in same])),
        }
        if name != VIEWS[0]:
            cosine = embeddings[name] @ embeddings[VIEWS[0]].T
            own, others = np.diag(cosine), cosine[~np.eye(len(cosine), dtype=bool)]
            row |= {"auc": auc(own, others), "own": mean(own), "others": mean(others)}
        table[name] = row
    return table


def judging(views: Sequence[View], seen: Sequence[Seen], crowd: int) -> dict[str, Any]:
    """The judging recognizer: on unseen people by view, on blank crops, and beside the measuring one on pictures made.

    Args:
        views: as `perceive` gives them.
        seen: batches; those of a strength of 1 on the nine prompts count.
        crowd: how many people `seen` is about.
    """
    second = {name: np.concatenate([v.second for v in views if v.name == name]) for name in VIEWS}
    people = second[VIEWS[0]]
    groups: dict[Setting, list[Seen]] = {}
    for s in seen:
        if s.job.prompt in NINE and s.job.setting.strength == 1:
            groups.setdefault(s.job.setting, []).append(s)
    first, _, best = look(references(crowd))
    known = embed(second_recognizer(), references(crowd), best)
    blank = second_recognizer().embed(blank_crops()) @ people.T
    return {
        "views": {name: _told_apart(second[name], people) for name in VIEWS[1:]},
        "blank": {"mean": mean(blank), "highest": defined(np.nanmax(blank))},
        "pictures": {name_of(setting): _both(group, first, known) for setting, group in groups.items()},
    }


def _told_apart(embeddings: Any, people: Any) -> dict[str, Any]:
    cosine = embeddings @ people.T
    own, others = np.diag(cosine), cosine[~np.eye(len(cosine), dtype=bool)]
    right = np.nan_to_num(cosine, nan=-2.0).argmax(1) == np.arange(len(cosine))
    return {
        "people": len(people),
        "auc": auc(own, others),
        "rank_1": defined(np.where(np.isfinite(own), right, False).mean()),
        "own": mean(own),
        "others": mean(others),
        "others_deviation": defined(np.nanstd(others)),
    }


def by_both(seen: Sequence[Seen], crowd: int) -> dict[str, Any]:
    """One setting's pictures by the measuring and by the judging recognizer."""
    first, _, best = look(references(crowd))
    return _both(seen, first, embed(second_recognizer(), references(crowd), best))


def _both(seen: Sequence[Seen], first: Any, second: Any) -> dict[str, Any]:
    people = np.concatenate([np.array(s.job.people) for s in seen])
    mini = similarities(np.concatenate([s.embeddings for s in seen]), first, people)
    ours = similarities(np.concatenate([s.second for s in seen]), second, people)
    sums = {
        name: {
            "similarity": pooled(*by_person(own, people, len(first))),
            "strangers": pooled(*by_person(others, people, len(first))),
            "rank_1": pooled(*by_person(right, people, len(first))),
        }
        for name, (own, others, right) in (("measuring", mini), ("judging", ours))
    }
    return {"pictures": len(people), **sums, "correlation": correlation(mini[0], ours[0])}


@dataclass(frozen=True)
class Summary:
    """One setting's figures for the record, and the sums by person behind them."""

    figures: dict[str, Any]
    similarity: tuple[Any, Any]


def summarise(seen: Sequence[Seen], reference: Any) -> Summary:
    """Identity and prompts of the pictures of one setting."""
    crowd = len(reference)
    people = np.concatenate([np.array(s.job.people) for s in seen])
    prompts = np.concatenate([np.full(len(s.job.people), s.job.prompt) for s in seen])
    embeddings = np.concatenate([s.embeddings for s in seen])
    boxes = np.concatenate([s.boxes for s in seen])
    read = {name: np.concatenate([s.read[name] for s in seen]) for name in seen[0].read}
    own, others, first = similarities(embeddings, reference, people)
    right, asked = obeyed(read, [captions.PROMPTS[k].attributes for k in prompts])
    sums = by_person(own, people, crowd)
    figures: dict[str, Any] = {
        "pictures": len(people),
        "people": len(set(people.tolist())),
        "no_face": int((boxes == 0).sum()),
        "several_boxes": defined((boxes > 1).mean()),
        "similarity": pooled(*sums),
        "strangers": pooled(*by_person(others, people, crowd)),
        "own_minus_strangers": pooled(*by_person(own - others, people, crowd)),
        "rank_1": pooled(*by_person(first, people, crowd)),
        "obeyed": pooled(by_person(right, people, crowd)[0], by_person(asked, people, crowd)[0]),
        "obeyed_without_style": _without_style(read, prompts),
        "obeyed_shuffled": _floor(read, prompts),
        "obeyed_by_attribute": {name: _share(read, prompts, [name]) for name in read},
        "by_prompt": [
            {
                "prompt": captions.PROMPTS[k].text,
                "level": captions.PROMPTS[k].level,
                "similarity": mean(own[prompts == k]),
                "rank_1": defined(first[prompts == k].mean()),
                "obeyed": defined(right[prompts == k].sum() / asked[prompts == k].sum()),
            }
            for k in sorted(set(prompts.tolist()))
        ],
    }
    return Summary(figures, sums)


def _share(read: Any, prompts: Any, names: Sequence[str]) -> float | None:
    requests = [{n: v for n, v in captions.PROMPTS[k].attributes.items() if n in names} for k in prompts]
    right, asked = obeyed(read, requests)
    return defined(right.sum() / asked.sum()) if asked.sum() else None


def _without_style(read: Any, prompts: Any) -> float | None:
    return _share(read, prompts, [name for name in read if name != "style"])


def _floor(read: Any, prompts: Any) -> float | None:
    """The share found by chance: every picture judged by the requests of all the other prompts."""
    right = asked = 0.0
    for other in sorted(set(prompts.tolist())):
        rest = prompts != other
        found = obeyed({k: v[rest] for k, v in read.items()}, [captions.PROMPTS[other].attributes] * int(rest.sum()))
        right, asked = right + found[0].sum(), asked + found[1].sum()
    return defined(right / asked) if asked else None


def identity(seen: Sequence[Seen], crowd: int, part: int) -> dict[str, Any]:
    """All settings on the nine prompts, mini-dev 28 on the first `part` people, both backbones on all prompts."""
    reference = look(references(crowd))[0]
    nine = [s for s in seen if s.job.prompt in NINE]
    groups: dict[Setting, list[Seen]] = {}
    for s in nine:
        groups.setdefault(s.job.setting, []).append(s)
    done = {setting: summarise(group, reference) for setting, group in groups.items()}
    every = {
        name_of(setting): summarise(
            [s for s in seen if s.job.setting == setting and s.job.seed == 0], reference
        ).figures
        for setting in (DEV, SCHNELL)
    }
    subset = [_cut(s, part) for s in groups[DEV] if s.job.seed == 0 and s.job.people[0] < part]
    return {
        "nine_prompts": {name_of(setting): summary.figures for setting, summary in done.items()},
        "subset_strength_1": summarise(subset, reference).figures if subset else None,
        "all_prompts": every,
        "schnell_4_over_dev_28": ratio(done[SCHNELL].similarity, done[DEV].similarity),
        "dev_4_over_dev_28": ratio(done[Setting("mini-dev", 4)].similarity, done[DEV].similarity),
        "strangers_of_the_renderer": _strangers(reference),
    }


def _cut(seen: Seen, people: int) -> Seen:
    """Only the pictures of the first `people`."""
    n = sum(person < people for person in seen.job.people)
    job = Job(seen.job.setting, seen.job.prompt, seen.job.seed, seen.job.people[:n], seen.job.crowd)
    read = {name: value[:n] for name, value in seen.read.items()}
    return Seen(job, seen.pictures[:n], seen.embeddings[:n], seen.boxes[:n], read, seen.second[:n])


def _strangers(reference: Any) -> float | None:
    cosine = reference @ reference.T
    return mean(cosine[~np.eye(len(cosine), dtype=bool)])
