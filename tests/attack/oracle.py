"""What every attack must end in: a result that is right, or one clear line. All else is a fault, and is told by kind.

A case runs in a folder of its own, `Place`. What it does outside, and each word to a network, an audit hook sees.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infusenet.cli import main
from infusenet.errors import InfuseNetError
from infusenet.files import AI_MARK

RIGHT, REFUSED = "right", "refused"
FAULTS = ("unclear", "crash", "wrong", "left behind", "outside", "network", "endless")
SECRET = "kept-outside-5f3a"
_LONGEST, _PATIENCE = 2000, 30  # characters of a line, and seconds of a case

_FOREIGN = re.compile(
    r"^\W*(Errno|\[Errno|\w+(Error|Exception)\b)|object has no attribute|object is not|not subscriptable|unhashable"
    r"|0x[0-9a-f]{6}|out of range\W*$|unexpected keyword|positional argument|not supported between|Traceback"
)
"""Words that an error of Python's or of a library has, and that tell nobody what to do."""


class Fault(AssertionError):
    """A case ended neither in a right result nor in a clear line."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(f"{kind}: {words}")
        self.kind = kind


class Refused(Exception):
    """The command said a line and gave 2."""


class Endless(BaseException):
    """A case lasts too long."""


def expect(holds: bool, words: str) -> None:
    """A result that does not hold is wrong in silence."""
    if not holds:
        raise Fault("wrong", words)


# -- what a case does to the world -----------------------------------------------------------------------------------

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.truncate", "os.chmod")
_watching: list[Watch] = []


@dataclass
class Watch:
    """Where may be written, and what was done besides."""

    allowed: tuple[Path, ...]
    faults: list[Fault] = field(default_factory=list)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NETWORK:
            self.faults.append(Fault("network", f"{event} {arguments!r}"))
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
            self.faults.append(Fault("outside", f"{event} {arguments!r}"))
        elif event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES):
            for path in arguments[: 2 if event == "os.rename" else 1]:
                if isinstance(path, str | bytes | os.PathLike) and not self._may(Path(os.fsdecode(path))):
                    self.faults.append(Fault("outside", f"{event} {os.fsdecode(path)!r}"))

    def _may(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        own = "__pycache__" in real.parts or str(real) == os.devnull or real.is_relative_to(os.environ["MPLCONFIGDIR"])
        return own or any(real.is_relative_to(place) for place in self.allowed)


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    for watch in _watching:
        watch.see(event, arguments)


sys.addaudithook(_see)


@contextmanager
def _watched(allowed: Sequence[Path]) -> Iterator[Watch]:
    watch = Watch(tuple(Path(os.path.realpath(place)) for place in allowed))
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.remove(watch)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _limited() -> Iterator[None]:
    """A case may last so long; only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise Endless

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Place:
    """A case's folder: `home` is the current one while it runs, what lies in `given` it reads, `out` it writes."""

    root: Path
    allowed: list[Path] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)  # files that the case may write over

    def __post_init__(self) -> None:
        for folder in (self.given, self.out, self.outside):
            folder.mkdir(parents=True)
        (self.outside / "secret.txt").write_text(SECRET)
        self.allowed.append(self.out)

    @property
    def home(self) -> Path:
        return self.root / "inner" / "home"

    @property
    def given(self) -> Path:
        return self.home / "in"

    @property
    def out(self) -> Path:
        return self.home / "out"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    def content(self) -> dict[Path, str]:
        """Every file with what is in it."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        return {path: _digest(path) for path in files}


def _digest(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return "no plain file"
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- the verdict -----------------------------------------------------------------------------------------------------


def judge(place: Place, act: Callable[[], None]) -> str:
    """RIGHT or REFUSED.

    Args:
        place: where the case runs.
        act: does it, checks a result with `expect`, and passes on what the library or `command` raises.

    Raises:
        Fault: it ended otherwise.
    """
    before = place.content()
    with _inside(place.home), warnings.catch_warnings(), _watched(place.allowed) as watch:
        warnings.simplefilter("ignore")  # a notice to developers is no error for a user
        try:
            with _limited():
                act()
            ending = RIGHT
        except (InfuseNetError, Refused) as error:
            check_line(str(error) if isinstance(error, Refused) else " ".join(str(error).split()))
            ending = REFUSED
        except Endless:
            raise Fault("endless", f"more than {_PATIENCE} seconds") from None
        except (Fault, KeyboardInterrupt):
            raise
        except BaseException as error:
            frames = [at for at in traceback.extract_tb(error.__traceback__) if "infusenet/" in at.filename]
            where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
            raise Fault("crash", f"{type(error).__name__} in {where}: {' '.join(str(error).split())[:160]}") from error
    for fault in watch.faults:
        raise fault
    _check_files(place, before, place.content(), ending)
    return ending


def check_line(line: str) -> None:
    """Whether a refusal is clear.

    Raises:
        Fault: it is not.
    """
    said = line.split(": ", 1)[1] if line.startswith("infusenet") and ": " in line else line
    own = re.sub(r"\(.*\)", "", said)  # a library's words may stand in brackets, as the detail
    for bad, words in (
        (len(own.strip()) < 15, "says next to nothing"),
        (len(line) > _LONGEST, f"has {len(line)} characters"),
        ("\n" in line, "has several lines"),
        (not line.isprintable(), "holds what a terminal obeys"),
        (SECRET in line, "quotes a file that is no input"),
        (_FOREIGN.search(own) is not None, "is a library's error"),
    ):
        if bad:
            raise Fault("unclear", f"{words}: {line[:300]!r}")


def _check_files(place: Place, before: dict[Path, str], after: dict[Path, str], ending: str) -> None:
    changed = [path for path in before if after.get(path) != before[path]]
    new = [path for path in after if path not in before]
    for path in changed:
        of_out = path.is_relative_to(place.out)
        if not (of_out or path in place.replaced):
            raise Fault("outside", f"{path.relative_to(place.root)} was changed or is gone")
    for path in new:
        name = path.relative_to(place.root)
        if (
            path.suffix == ".part"
            or path.name == ".lock"
            or (ending == REFUSED and not path.name.startswith("compare."))
        ):
            raise Fault("left behind", f"{name} after a case that was {ending}")
        if path.suffix == ".png":
            check_picture(path)
        if path.suffix == ".json":
            finite_json(path)


def check_picture(path: Path, *, generated: bool = False) -> Image.Image:
    """A picture that was written: it decodes, and is not of one colour alone; a generated one says that it is."""
    with suppress(OSError, SyntaxError):
        with Image.open(path) as image:
            image.load()
        expect(float(np.asarray(image.convert("L")).std()) > 0, f"{path.name} is of one colour")
        expect(not generated or image.text.get(AI_MARK) == "true", f"{path.name} does not say that a model made it")
        return image
    raise Fault("left behind", f"{path.name} is no whole picture")


def finite_json(path: Path) -> Any:
    """A JSON file's content, without NaN or infinity."""

    def refuse(constant: str) -> None:
        raise Fault("wrong", f"{path.name} holds {constant}")

    try:
        return json.loads(path.read_bytes(), parse_constant=refuse)
    except ValueError as error:
        raise Fault("left behind", f"{path.name} is no JSON ({error})") from error


def command(*argv: str) -> str:
    """Run the command in this process, on streams as a terminal's; what it says on stdout.

    Raises:
        Refused: it gave 2, with what it said on stderr.
        Fault: another exit code.
    """
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    level = logging.getLogger().level
    try:
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main(list(argv))
            except SystemExit as stop:
                code = stop.code
    finally:
        logging.getLogger().setLevel(level)
    said, line = (stream.buffer.getvalue().decode() for stream in (out, err))
    if code == 2:
        named = any("secret" in word for word in argv)  # then it is an input, and its first words may be told
        raise Refused((line.replace(SECRET, "") if named else line).removesuffix("\n"))
    if code != 0 or SECRET in said:
        raise Fault("wrong", f"exit code {code}, {line[:200]!r}" if code else "a file that is no input is quoted")
    return said


# -- many cases ------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """How the cases of one surface ended, and the first case of each fault."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    def add(self, story: object, ending: Callable[[], str]) -> None:
        """Run a case; a fault is kept once, by kind and words, for the end."""
        try:
            self.ends[ending()] += 1
        except Fault as fault:
            self.ends[fault.kind] += 1
            key = re.sub(r"/\S+|\d+", "…", str(fault))[:120]
            self.faults.setdefault(key, f"case {sum(self.ends.values())}: {fault}\n    of {_shown(story)}")

    def __str__(self) -> str:
        return ", ".join([f"{sum(self.ends.values())} tried", *(f"{n} {kind}" for kind, n in self.ends.most_common())])


def _shown(story: object) -> str:
    """What a case was, without long repetitions."""
    return re.sub(r"(.{1,6}?)\1{9,}", r"\1…", repr(story))[:1200]
