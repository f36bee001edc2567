"""What metrics look with beside the picture itself: networks, each loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from .. import miniature
from ..errors import FaceError
from ..metrics import METRICS, Undefined
from .base import Pixels, Reading, ReferenceData
from .faces import FaceMeasure


@dataclass
class Instruments:
    """The networks behind metrics, on one device.

    Attributes:
        lpips: VGG16 weights; None: there is no LPIPS.
        second: a face pack, or the miniature's judging recognizer; None: nothing looks a second time.
        prompt_fit: a CLIP folder, or the miniature's judge; None: no prompt is compared.
        device: where they run.
        crowd: pictures of everybody, by the name of the person, among whom a face is to be recognised.
    """

    lpips: Path | None = None
    second: Path | None = None
    prompt_fit: Path | None = None
    device: str = "cpu"
    crowd: Mapping[str, Callable[[], Sequence[Pixels]]] = field(default_factory=dict)
    _persons: dict[str, ReferenceData | str] = field(default_factory=dict)  # or why there is none

    def weights(self, metric: str) -> Path | None:
        """The weights that a metric depends on, None where it needs or has none."""
        needs = METRICS[metric].needs if metric in METRICS else ()
        return next((path for need in needs if (path := self._paths.get(need)) is not None), None)

    def check(self, metrics: Collection[str]) -> None:
        """Load what metrics need, so that what is wrong with a file is told before any picture is made.

        Raises:
            InfuseNetError: a file is missing or of another kind, or a package is missing.
        """
        self.notes(metrics)

    def resources(
        self, metrics: Collection[str], person: str, pictures: Sequence[Pixels], prompt: str
    ) -> dict[str, Any]:
        """What `Subject.resources` holds for these metrics of one picture; None where there is nothing.

        Args:
            metrics: names of METRICS.
            person: a name for whom the pictures show, to read them once.
            pictures: of the person, RGB uint8 [H, W, 3].
            prompt: what the picture was asked to show.
        """
        used = self._used(metrics)
        others = self.crowd.keys() - {person} if "rank_1" in metrics and "second" in used else None
        return {
            "lpips": self.network if "lpips" in used else None,
            "second": partial(self._second_similarity, person, pictures) if "second" in used else None,
            "nearest": partial(self._is_nearest, person, pictures) if others else None,
            "prompt_fit": partial(self._fit[0], prompt) if "prompt_fit" in used else None,
        }

    def notes(self, metrics: Collection[str]) -> dict[str, str]:
        """What measured, and how, for the record: "lpips_with" and so on."""
        used, told = self._used(metrics), {}
        if "lpips" in used:
            from ..metrics.perceptual import SIZE

            told = {
                "lpips": f"{self._vgg}, middle squares at {SIZE} pixels",
                "face_lpips": f"{self._vgg}, aligned faces",
            }
        if "second" in used:
            told["second_similarity"] = f"{self.recognizer.name}; {self.recognizer.rule}"
            told["rank_1"] = f"{told['second_similarity']}; among {len(self.crowd)} people"
        if "prompt_fit" in used:
            told["prompt_fit"] = self._fit[1]
        return {f"{name}_with": text for name, text in told.items() if name in metrics}

    def _used(self, metrics: Collection[str]) -> set[str]:
        needed = {need for name in metrics if name in METRICS for need in METRICS[name].needs}
        return {name for name, path in self._paths.items() if path is not None and name in needed}

    @property
    def _paths(self) -> dict[str, Path | None]:
        return {"lpips": self.lpips, "second": self.second, "prompt_fit": self.prompt_fit}

    # -- LPIPS ---------------------------------------------------------------------------------------------------------

    @cached_property
    def network(self) -> Any:
        """LPIPS."""
        from ..metrics.perceptual import lpips_network

        assert self.lpips is not None
        return lpips_network(self.lpips, device=self.device)

    @cached_property
    def _vgg(self) -> str:
        from importlib.metadata import version

        assert self.network is not None and self.lpips is not None
        return f"lpips {_digest(self.lpips)}: package {version('lpips')}"

    # -- a second recognizer -------------------------------------------------------------------------------------------

    @cached_property
    def recognizer(self) -> FaceMeasure:
        """The second recognizer."""
        from ..faces import FaceRecognizer

        assert self.second is not None
        if self.second == miniature.JUDGING_RECOGNIZER:
            return FaceMeasure(miniature.judging_recognizer(device=self.device))
        return FaceMeasure(FaceRecognizer.from_pack(self.second, device=self.device))

    def _person(self, person: str, pictures: Callable[[], Sequence[Pixels]]) -> ReferenceData:
        if person not in self._persons:
            try:
                self._persons[person] = self.recognizer.reference(pictures())
            except FaceError as error:  # its detector may be another one: the first has seen a face
                self._persons[person] = str(error)
        known = self._persons[person]
        if isinstance(known, str):
            raise Undefined(known)
        return known

    def _second_similarity(self, person: str, pictures: Sequence[Pixels], picture: Pixels) -> float:
        return _value(self.recognizer.read([picture], self._person(person, lambda: pictures))[0])

    def _is_nearest(self, person: str, pictures: Sequence[Pixels], picture: Pixels) -> float:
        """Whether a picture is more like its person than like anybody else: 1 or 0, and 0 without a face."""
        known = [self._person(person, lambda: pictures)]
        for other, shown in self.crowd.items():
            with suppress(Undefined):  # whoever the second detector misses cannot be taken for the person
                known += [] if other == person else [self._person(other, shown)]
        own, *others = [reading.similarity for (reading,) in self.recognizer.against([picture], known)]
        return float(own is not None and all(other is None or own > other for other in others))

    # -- the prompt ----------------------------------------------------------------------------------------------------

    @cached_property
    def _fit(self) -> tuple[Callable[[str, Pixels], float], str]:
        """How well a picture obeys a prompt, and what says so."""
        assert self.prompt_fit is not None
        if self.prompt_fit == miniature.JUDGE:
            return _judged_fit, f"{miniature.JUDGE.name} {_digest(miniature.JUDGE)}: share of what is asked for"
        from .vision import clip_text

        measure = clip_text(self.prompt_fit, device=self.device)
        known: dict[str, ReferenceData] = {}

        def fit(prompt: str, picture: Pixels) -> float:
            if prompt not in known:
                known[prompt] = measure.reference([prompt])
            return _value(measure.read([picture], known[prompt])[0])

        return fit, f"{measure.name}; {measure.rule}"


def _judged_fit(prompt: str, picture: Pixels) -> float:
    from ..miniature.captions import asked_of
    from ..miniature.judging import share_shown

    share = share_shown(picture, asked_of(prompt))
    if share is None:
        raise Undefined("the prompt asks for nothing the judge can recognise")
    return share


def _value(reading: Reading) -> float:
    if reading.similarity is None:
        raise Undefined(reading.reason or "nothing was seen")
    return reading.similarity


def _digest(path: Path) -> str:
    from ..weights.fingerprint import fingerprint

    return fingerprint(path)[:16]
