"""Specifications: what they say, and what is said where they cannot be meant."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infusenet.errors import InfuseNetError, SettingsError
from infusenet.files import save_picture
from infusenet.sweep.people import filter_people, find_people
from infusenet.sweep.request import find_spec, shipped
from infusenet.sweep.runner import Models
from infusenet.sweep.spec import Filter, read_spec
from infusenet.sweep.toml import SpecError

Write = Callable[..., Path]


def test_what_a_specification_says(write: Write) -> None:
    spec = read_spec(write())
    assert (spec.title, spec.threads, spec.seeds, spec.size) == ("Small", 1, (0,), None)
    assert spec.prompts == {"portrait": "a portrait of a person", "beach": "a photo of a person at the beach"}
    assert [(each.label, each.axes, each.adapter) for each in spec.methods] == [
        ("dev", {"steps": (1, 2)}, "infusenet"),
        ("schnell", {"steps": (1,)}, "infusenet"),
    ]
    assert [person.name for person in find_people(spec.people)] == ["drawn-01", "drawn-02"]


@pytest.mark.parametrize(("text", "size"), [("128", (128, 128)), ("[96, 128]", (96, 128)), ("[64, 64]", (64, 64))])
def test_a_size(write: Write, text: str, size: tuple[int, int]) -> None:
    assert read_spec(write(('title = "Small"', f'title = "Small"\nsize = {text}'))).size == size


def test_quick_is_the_small_size(write: Write) -> None:
    path = write(("people = 1\n", "people = 1\nsteps = [2]\nprompts = ['beach']\nseeds = [3, 4]\n"))
    spec = read_spec(path, quick=True)
    assert len(find_people(spec.people)) == 1
    assert [*spec.prompts] == ["beach"]
    assert spec.seeds == (3, 4)
    assert [each.axes["steps"] for each in spec.methods] == [(2,), (1,)]  # none of the steps: its last one stays
    assert len(find_people(read_spec(path).people)) == 2


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("steps = [1, 2]", "steps = [4, -1]", "methods[0].steps", "got -1"),
        ("steps = [1, 2]", "steps = []", "methods[0].steps", "got []"),
        ("steps = [1, 2]", "steps = [2, 2]", "methods[0].steps", "different"),
        ("steps = [1, 2]", "steps = [1.5]", "methods[0].steps", "got 1.5"),
        ("steps = [1, 2]", "steps = true", "methods[0].steps", "got True"),
        ("steps = [1, 2]", "stepz = [1]", "methods[0].steps", "got nothing"),
        ("steps = [1, 2]", "steps = 1\nwobble = 1", "methods[0].wobble", "unknown key"),
        ("steps = [1, 2]", "steps = 4\nstrength = 3.5", "methods[0].strength", "to 3"),
        ("steps = [1, 2]", "steps = 4\nstrength = nan", "methods[0].strength", "got nan"),
        ("steps = [1, 2]", "steps = 4\nfirst_steps = [5]", "methods[0].first_steps", "at most the 4 steps"),
        ("steps = [1, 2]", "steps = 4\nstart = 0.5\nend = 0.2", "methods[0].end", "0.5 or more"),
        ('label = "schnell"', 'label = "dev"', "methods[1].label", "a different label"),
        ('backbone = "schnell"', 'backbone = "turbo"', "methods[1].backbone", "dev, schnell"),
        ('title = "Small"', 'title = "Small"\nmood = 1', "mood", "unknown key"),
        ('title = "Small"', 'title = " "', "title", "a text"),
        ('title = "Small"', 'title = "Small"\nmetrics = ["charm"]', "metrics", "got 'charm'"),
        ('title = "Small"', 'title = "Small"\nseeds = [-1]', "seeds", "got -1"),
        ('title = "Small"', 'title = "Small"\nthreads = 0', "threads", "1 or more"),
        ("drawn = 2", "drawn = 0", "people.drawn", "1 or more"),
        ("drawn = 2", 'folder = "nowhere"', "people.folder", "nowhere"),
        ("drawn = 2", 'drawn = 2\nfolder = "x"', "people", "either"),
        ('portrait = "a portrait of a person"', "portrait = 3", "prompts.portrait", "got 3"),
        ("[quick]\npeople = 1", "[quick]\npeople = 'few'", "quick.people", "got 'few'"),
        ("[quick]\npeople = 1", "[quick]\nprompts = ['moon']", "quick.prompts", "got 'moon'"),
        ("drawn = 2", "drawn = 2\n[people.filter]\nconfidence = 2", "people.filter.confidence", "got 2"),
        ('portrait = "a portrait of a person"', 'portrait = ""', "prompts.portrait", "got ''"),
        ('title = "Small"', 'title = "Small"\nsize = [128, 128, 128]', "size", "[width, height]"),
        ('title = "Small"', 'title = "Small"\nsize = [8, 8]', "size", "from 16"),
        ("steps = [1, 2]", "steps = 4\nguidance = [-1]", "methods[0].guidance", "got -1"),
        ("steps = [1, 2]", "steps = '4'", "methods[0].steps", "got '4'"),
    ],
)
def test_errors_name_the_place(write: Write, old: str, new: str, place: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        read_spec(write((old, new)))
    text = str(error.value)
    assert text.startswith(f"small.toml: {place}: "), text
    assert said in text
    assert "\n" not in text


FIGURE = "[[figures]]\nkind = 'curve'\ntitle = 'x'\n"


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("mood = 1", "mood", "unknown key"),
        ("values = ['charm']", "values", "got 'charm'"),
        ("values = []", "values", "got []"),
        ("values = ['stream_ratio']", "values", 'metrics = ["streams"] at the top'),
        ("values = ['lpips']", "values", 'metrics = ["lpips"] at the top'),
        ("methods = ['nobody']", "methods", "out of dev, schnell, got 'nobody'"),
        ("prompts = ['moon']", "prompts", "out of portrait, beach, got 'moon'"),
        ("people = 'best 3'", "people", "top 10"),
        ("people = 'top 0'", "people", "top 10"),
        ("less = 0.5", "less", "split by a number"),
        ("panels = 'prompt'\nsplit = 'strength'", "panels", "no other split"),
        ("paper = { dev = 'high' }", "paper.dev", "got 'high'"),
    ],
)
def test_errors_of_figures_name_the_place(write: Write, text: str, place: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        read_spec(write(("[quick]", f"{FIGURE}{text}\n[quick]")))
    assert str(error.value).startswith(f"small.toml: figures[0].{place}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("map", "values = ['similarity', 'contrast']", "one value, unless the kind is curve or trajectory"),
        (
            "map",
            "values = ['similarity', 'contrast', 'sharpness']",
            "one value, unless the kind is curve or trajectory",
        ),
        ("plane", "", "two values (up, across) of which more is better"),
        (
            "plane",
            "values = ['similarity', 'sharpness', 'sharpness']",
            "two values (up, across) of which more is better",
        ),
        ("plane", "values = ['similarity', 'seconds']", "two values (up, across) of which more is better"),
        ("blocks", "values = ['contrast']", "stream_ratio or residual_ratio"),
        ("trajectory", "", 'metrics = ["trajectory"]'),
        ("trajectory", "values = ['seconds']", "one of similarity"),
    ],
)
def test_what_a_kind_of_figure_can_show(write: Write, kind: str, text: str, said: str) -> None:
    figure = FIGURE.replace("curve", kind) + text
    with pytest.raises(SpecError, match=r"small\.toml: figures\[0\]\.values: ") as error:
        read_spec(write(("[quick]", f"{figure}\n[quick]")))
    assert said in str(error.value)


def test_no_toml_and_no_file(tmp_path: Path, write: Write) -> None:
    with pytest.raises(SpecError, match=r"small\.toml: cannot be read as TOML"):
        read_spec(write(('title = "Small"', "title = ")))
    with pytest.raises(SpecError, match="nothing-like-it: there is no such file.*main-table"):
        find_spec("nothing-like-it")


@pytest.mark.parametrize("name", shipped())
def test_shipped_specifications_can_be_read(name: str) -> None:
    path = find_spec(name)
    full, quick = read_spec(path), read_spec(path, quick=True)
    assert full.figures == quick.figures
    assert full.figures
    assert len(find_people(quick.people)) < len(find_people(full.people))


def test_a_folder_of_people(tmp_path: Path, write: Write) -> None:
    folder = tmp_path / "people"
    (folder / "bo").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("ann.png", "bo/1.png", "bo/2.png"):
        save_picture(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8), folder / name)
    (folder / "notes.txt").write_text("no picture")
    people = find_people(read_spec(write(("drawn = 2", 'folder = "people"'))).people)
    assert [(person.name, len(person.files)) for person in people] == [("ann", 1), ("bo", 2)]
    assert len({person.digest for person in people}) == 2
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    again = find_people(read_spec(write(), people=moved).people)
    assert [person.digest for person in again] == [person.digest for person in people]

    (moved / "bo.jpg").write_bytes((moved / "ann.png").read_bytes())
    with pytest.raises(SpecError, match=r"people\.folder: .*'bo' twice"):
        find_people(read_spec(write(), people=moved).people)
    (moved / "bo.jpg").unlink()

    (moved / "ann.png").write_bytes(b"not a picture")
    with pytest.raises(SpecError, match=r"people\.folder: .*ann\.png"):
        find_people(read_spec(write(), people=moved).people)


def test_an_empty_folder_of_people(tmp_path: Path, write: Write) -> None:
    (tmp_path / "people").mkdir()
    with pytest.raises(SpecError, match=r"people\.folder: expected pictures in"):
        find_people(read_spec(write(("drawn = 2", 'folder = "people"'))).people)


class Face:
    def __init__(self, width: float, score: float) -> None:
        self.bbox, self.score = (10.0, 10.0, 10.0 + width, 90.0), score


def test_the_papers_filter_tells_whom_it_leaves_out(write: Write) -> None:
    people = find_people(read_spec(write(("drawn = 2", "drawn = 4"))).people)
    seen = iter([[Face(81, 0.71)], [Face(80, 0.9)], [Face(99, 0.7)], [Face(99, 0.9)] * 2])
    kept, dropped = filter_people(people, Filter(), lambda picture: next(seen))
    assert [person.name for person in kept] == ["drawn-01"]
    assert [name for name, _ in dropped] == ["drawn-02", "drawn-03", "drawn-04"]
    assert ["80 pixels wide" in dropped[0][1], "0.70" in dropped[1][1], "2 faces" in dropped[2][1]] == [True] * 3
    with pytest.raises(SpecError, match=r"people\.filter: .*0 faces"):
        filter_people(people, Filter(), lambda picture: [])


def test_the_papers_filter_can_be_asked_for(write: Write) -> None:
    assert read_spec(write()).people.filter is None
    assert read_spec(write(), papers_filter=True).people.filter == Filter(confidence=0.7, width=80)
    path = write(("drawn = 2", "drawn = 2\n[people.filter]\nwidth = 40"))
    assert read_spec(path).people.filter == Filter(confidence=0.7, width=40)


def test_lpips_depends_on_its_weights(write: Write, tmp_path: Path) -> None:
    spec = read_spec(write(('title = "Small"', 'title = "Small"\nmetrics = ["lpips"]')))
    assert Models().metrics_of(spec) == ("lpips",)
    with pytest.raises(InfuseNetError, match=r"none\.pth"):
        Models(lpips=tmp_path / "none.pth").metrics_of(spec)
    assert Models(lpips=tmp_path / "none.pth").metrics_of(read_spec(write())) == ()  # not asked for: not looked at


def test_drawn_people_are_not_shown_to_real_models(write: Write) -> None:
    spec = read_spec(write())
    Models().check_people(spec)
    with pytest.raises(SettingsError, match=r"people\.drawn: .* dev is flux-dev.*--people DIR"):
        Models({"dev": "flux-dev", "schnell": "mini-schnell"}).check_people(spec)


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("steps = [1, 2]", "steps = 4\nguidance = [1.0, inf]", "methods[0].guidance", "got inf"),
        ("steps = [1, 2]", "steps = 4\nstrength = -inf", "methods[0].strength", "got -inf"),
        ("drawn = 2", "drawn = 2\n[people.filter]\nwidth = inf", "people.filter.width", "got inf"),
        ("steps = [1, 2]", f"steps = [{10**40}]", "methods[0].steps", "got 1000000"),
        ("steps = [1, 2]", f"steps = {hex(16**3990)}", "methods[0].steps", "thousands of digits"),
        ("steps = [1, 2]", "steps = [1, 1.0]", "methods[0].steps", "got 1.0"),
        ("steps = [1, 2]", "steps = 4\nguidance = [1, 1.0]", "methods[0].guidance", "different"),
        ("steps = [1, 2]", f"steps = {'[' * 20}1{']' * 20}", "methods[0].steps", "got [[[[[["),
        ("steps = [1, 2]", "steps = { a = 1 }", "methods[0].steps", "got {'a': 1}"),
        ("steps = [1, 2]", "steps = 4\nseed = 3", "methods[0].seed", "unknown key"),
        ("steps = [1, 2]", "steps = 4\naxes = { steps = 3 }", "methods[0].axes", "unknown key"),
        ("steps = [1, 2]", 'steps = 4\nadapter = "glue"', "methods[0].adapter", "one of infusenet"),
        ('title = "Small"', 'title = "Small"\nmeasure = "charm"', "measure", "one of face"),
        ('title = "Small"', 'title = "Small"\nthreads = 1000000', "threads", "at most 1024"),
        ('title = "Small"', 'title = "Small"\ntext = "x"', "text", "unknown key"),
        ('title = "Small"', f'title = "Small"\nabout = {["x" * 500]}', "about", "expected a text"),
        ("[prompts]", "prompts = 3\n[other]", "prompts", "expected a table"),
        ("[[methods]]\nlabel = \"dev\"", "[methods]\nlabel = \"dev\"", "", "cannot be read as TOML"),
        ('title = "Small"', 'title = "Small"\nfigures = 3', "figures", "expected"),
    ],
)  # fmt: skip
def test_what_would_break_a_sweep_is_one_short_line(write: Write, old: str, new: str, place: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        read_spec(write((old, new)))
    text = str(error.value)
    assert (f"small.toml: {place}: " if place else "small.toml: ") in text, text
    assert said in text, text
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("steps = [1, 2]", f"steps = {'9' * 5000}", 11),
        ("steps = [1, 2]", f"steps = {'[' * 3000}{']' * 3000}", 11),
        ('title = "Small"', f"title = {'{a = ' * 3000}1{'}' * 3000}", 2),
    ],
)
def test_what_no_reader_takes_names_its_line(write: Write, old: str, new: str, line: int) -> None:
    with pytest.raises(SpecError) as error:
        read_spec(write((old, new)))
    assert str(error.value).startswith(f"small.toml: line {line}: expected ")
    assert len(str(error.value)) < 200


def test_lists_over_lines_are_not_nested(write: Write) -> None:
    values = ", ".join(f"{n}" for n in range(1, 200))
    assert len(read_spec(write(("steps = [1, 2]", f"steps = [\n{values},\n]"))).methods[0].axes["steps"]) == 199


def test_other_roles_are_backbones_or_given(write: Write) -> None:
    spec = read_spec(write(('backbone = "schnell"', 'backbone = "mini-schnell"')))
    assert Models().files(spec.methods[1].backbone).expected == "mini-schnell"
    path = write(('backbone = "schnell"', 'backbone = "mine"'))
    with pytest.raises(SpecError, match=r"methods\[1\]\.backbone: expected one of dev, schnell, .*mini-dev"):
        read_spec(path)
    models = Models({"dev": "mini-dev", "mine": "mini-schnell"})
    assert models.files(read_spec(path, roles=models.backbones).methods[1].backbone).expected == "mini-schnell"


def test_minus_and_its_older_name_are_one(write: Write) -> None:
    for key in ("minus", "less"):
        text = f"{FIGURE}split = 'strength'\n{key} = 0\n[quick]"
        assert read_spec(write(("[quick]", text))).figures[0].minus == 0.0
        with pytest.raises(SpecError, match=rf"figures\[0\]\.{key}: expected a curve split by a number"):
            read_spec(write(("[quick]", f"{FIGURE}{key} = 0\n[quick]")))
    with pytest.raises(SpecError, match=r"figures\[0\]\.less: unknown key"):
        read_spec(write(("[quick]", f"{FIGURE}split = 'strength'\nminus = 0\nless = 0\n[quick]")))
