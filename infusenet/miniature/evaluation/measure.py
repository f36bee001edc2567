"""The numbers of the miniature's evaluation: pure functions of arrays; undefined is None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
DRAWS = 2000  # of the bootstrap


def defined(value: Any, digits: int = 5) -> float | None:
    """A number for the record, or None where it is not finite."""
    return round(float(value), digits) if np.isfinite(value) else None


def mean(values: Any) -> float | None:
    """Mean of the defined values, or None where there is none."""
    values = np.asarray(values)
    good = np.isfinite(values)
    return defined(values[good].mean()) if good.any() else None


def auc(own: Floats, others: Floats) -> float | None:
    """Probability that a pair of one person scores above a pair of two; ties count half. NaN entries are left out.

    Args:
        own: scores of pairs of one person, any shape.
        others: scores of pairs of two persons, any shape.

    Returns:
        0..1, or None without a pair of either kind.
    """
    own, others = own[np.isfinite(own)], np.sort(others[np.isfinite(others)])
    if not len(own) or not len(others):
        return None
    below = np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")
    return defined(below.mean() / 2 / len(others))


def _resampled(people: int) -> NDArray[np.intp]:
    return np.random.default_rng(0).integers(0, people, (DRAWS, people))


def pooled(total: Floats, count: Floats) -> dict[str, Any]:
    """A mean over pictures, with its bootstrap 95 % interval over people.

    Args:
        total: [people] sum over a person's pictures.
        count: [people] how many of them are defined.

    Returns:
        mean, low, high (None where undefined) and n, the number of summands.
    """
    if not count.sum():
        return {"mean": None, "low": None, "high": None, "n": 0}
    total, count = total[count > 0], count[count > 0]
    index = _resampled(len(total))
    low, high = _quantiles(total[index].sum(1), count[index].sum(1))
    return {"mean": defined(total.sum() / count.sum()), "low": low, "high": high, "n": int(count.sum())}


def ratio(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> dict[str, Any]:
    """The ratio of two such means over the same people, with its bootstrap 95 % interval over people."""
    index = _resampled(len(one[0]))
    means = [(total.sum() / count.sum(), total[index].sum(1) / count[index].sum(1)) for total, count in (one, other)]
    low, high = _quantiles(means[0][1], means[1][1])
    return {"mean": defined(means[0][0] / means[1][0]), "low": low, "high": high}


def _quantiles(upper: Floats, lower: Floats) -> tuple[float | None, float | None]:
    with np.errstate(invalid="ignore", divide="ignore"):
        values = upper / lower
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None
    return defined(np.quantile(values, 0.025)), defined(np.quantile(values, 0.975))


def by_person(values: Floats, people: NDArray[np.intp], count: int) -> tuple[Floats, Floats]:
    """Sum and number of the defined values of each person: [n], [n] -> [count], [count]."""
    good = np.isfinite(values)
    total = np.bincount(people[good], values[good], minlength=count).astype(np.float64)
    return total, np.bincount(people[good], minlength=count).astype(np.float64)


def similarities(embeddings: Floats, references: Floats, people: NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
    """What the recognizer says of pictures.

    Args:
        embeddings: [n, d] unit vectors, NaN where no face was found.
        references: [people, d] unit vectors.
        people: [n] whom each picture should show.

    Returns:
        similarity to the right person [n], mean similarity to the others [n] (both NaN without a face), and whether
        the right person is the most similar one [n] (0 without a face).
    """
    cosine = embeddings @ references.T
    own = cosine[np.arange(len(people)), people]
    others = (cosine.sum(1) - own) / (len(references) - 1)
    first = np.where(np.isfinite(own), np.nan_to_num(cosine, nan=-2.0).argmax(1) == people, False)
    return own, others, first.astype(float)


def correlation(values: Floats, others: Floats) -> float | None:
    """Pearson's, of the pairs that are defined; None where one side does not vary."""
    good = np.isfinite(values) & np.isfinite(others)
    if good.sum() < 2 or not values[good].std() or not others[good].std():
        return None
    return defined(np.corrcoef(values[good], others[good])[0, 1])


def obeyed(read: Mapping[str, NDArray[Any]], asked: Sequence[Mapping[str, int]]) -> tuple[Floats, Floats]:
    """How many requested attributes are read back from each picture.

    Args:
        read: [n] codes by attribute.
        asked: n requests, code by attribute; attributes that are not read do not count.

    Returns:
        number right [n], number asked for [n].
    """
    right = np.zeros(len(asked))
    wanted = np.zeros(len(asked))
    for k, request in enumerate(asked):
        for name, value in request.items():
            if name in read:
                wanted[k] += 1
                right[k] += int(read[name][k]) == value
    return right, wanted


def overlap(box: Sequence[float] | Floats, other: Sequence[float] | Floats) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    inner = float(np.prod(np.clip(high - low, 0, None)))
    areas = [float((b[2] - b[0]) * (b[3] - b[1])) for b in (box, other)]
    return inner / (sum(areas) - inner)


def landmark_error(found: Floats, truth: Floats) -> float:
    """Mean distance of the five points [5, 2] in parts of the distance of the true eyes."""
    eyes = float(np.linalg.norm(truth[0] - truth[1]))
    return float(np.linalg.norm(found - truth, axis=1).mean() / eyes)


def psnr(picture: Floats, other: Floats) -> float:
    """Peak signal to noise ratio of two pictures in 0..1: dB, higher is closer."""
    error = float(((picture - other) ** 2).mean())
    return float(-10 * np.log10(max(error, 1e-10)))
