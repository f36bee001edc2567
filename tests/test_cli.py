"""The command: what it says, how it ends, what it writes, and that it stays off the network."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from infusenet import catalogue, miniature
from infusenet.cli import main
from infusenet.errors import SettingsError, WeightsError
from infusenet.generate import Settings, files_for

ROOT = Path(__file__).resolve().parents[1]

# Counts every attempt to resolve or reach an address, from the interpreter's own audit events.
WATCHED = """
import json, sys
tried = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        tried.append([event, repr(arguments)])
sys.addaudithook(watch)
from infusenet.cli import main
code = main(sys.argv[1:])
print("TRIED", json.dumps(tried))
sys.exit(code)
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, watched for network access; its own output is returned."""
    command = [sys.executable, "-c", WATCHED, *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "INFUSENET_"))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, env=environment)
    if "TRIED" in done.stdout:
        done.stdout, _, tried = done.stdout.rpartition("TRIED ")
        assert json.loads(tried) == []
    return done


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    """A picture of a drawn person."""
    from infusenet.demo import draw_people
    from infusenet.pictures import save_picture

    return save_picture(draw_people(3).reference, tmp_path_factory.mktemp("face") / "face.png")


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

    def order(self, tmp_path, **changes):
        given = {"backbone": "mini-schnell", "face": "face.png", "prompt": "a person", "out": tmp_path / "x.png"}
        given |= changes
        return ["generate", *(part for key, value in given.items() for part in (f"--{key}", value))]

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
            ({"steps": 0}, ["1 step", "4 with schnell"]),
            ({"steps": "four"}, ["four"]),
            ({"prompt": "  "}, ["prompt"]),
            ({"start": 0.8, "end": 0.2}, ["start 0.8", "end 0.2"]),
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
        line = complaint(capsys, *self.order(tmp_path, **{"face": face, **changes}))
        for word in words:
            assert word in line
        assert list(tmp_path.iterdir()) == []

    def test_not_a_picture(self, capsys, tmp_path):
        text = tmp_path / "face.png"
        text.write_text("no picture at all")
        assert "not a picture" in complaint(capsys, *self.order(tmp_path, face=text))

    def test_no_face(self, capsys, tmp_path):
        from PIL import Image

        blank = tmp_path / "face.png"
        Image.new("RGB", (128, 128), (90, 120, 160)).save(blank)
        assert "no face" in complaint(capsys, *self.order(tmp_path, face=blank))

    def test_output_over_an_input(self, capsys, face):
        before = face.read_bytes()
        assert "input" in complaint(capsys, *self.order(face.parent, face=face, out=face))
        assert face.read_bytes() == before

    def test_real_weights_that_are_not_there(self, capsys, tmp_path, face, monkeypatch):
        monkeypatch.chdir(tmp_path)
        line = complaint(capsys, *self.order(tmp_path, face=face, backbone="flux-dev"))
        assert "INFUSENET_MODELS" in line
        assert "--infusenet" in line

    def test_another_models_file(self, capsys, tmp_path, face):
        line = complaint(capsys, *self.order(tmp_path, face=face, infusenet=miniature.IMAGE_PROJ))
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


class TestModels:
    """Finding weights: nothing but looking."""

    @pytest.fixture
    def comfy(self, tmp_path):
        """A ComfyUI checkout with dummy files of the true names."""
        for name in (
            "comfy/sd.py",
            "models/infinite_you/sim_stage1/image_proj_model.bin",
            "models/infinite_you/infusenet_aes_bf16.safetensors",
            "models/infinite_you/infusenet_sim_bf16.safetensors",
            "models/insightface/models/antelopev2/antelopev2/scrfd_10g_bnkps.onnx",
            "models/facexlib/recognition_arcface_ir_se50.pth",
            "models/diffusers/FLUX.1-schnell/model_index.json",
        ):
            path = tmp_path / "ComfyUI" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "ComfyUI"

    def test_all_kinds_are_found(self, comfy):
        folders = catalogue.search_folders([comfy], {})
        found = {
            key: [str(path.relative_to(comfy / "models")) for path in paths]
            for key, paths in catalogue.find_all(folders).items()
        }
        assert found == {
            "flux-dev": [],
            "flux-schnell": ["diffusers/FLUX.1-schnell"],
            "infusenet": [
                "infinite_you/infusenet_sim_bf16.safetensors",
                "infinite_you/infusenet_aes_bf16.safetensors",
            ],
            "image-proj": ["infinite_you/sim_stage1/image_proj_model.bin"],
            "arcface": ["facexlib/recognition_arcface_ir_se50.pth"],
            "face-pack": ["insightface/models/antelopev2/antelopev2"],
        }

    def test_order_of_folders(self, tmp_path):
        named = os.pathsep.join(["one", "two"])
        assert catalogue.search_folders([tmp_path], {"INFUSENET_MODELS": named}) == [
            tmp_path,
            Path("one"),
            Path("two"),
            Path("models"),
        ]

    def test_links_in_a_circle_end(self, tmp_path):
        (tmp_path / "image_proj_model.bin").touch()
        (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
        assert catalogue.find("image-proj", [tmp_path]) == tmp_path / "image_proj_model.bin"

    def test_what_is_missing_is_said(self, tmp_path):
        with pytest.raises(WeightsError, match="--arcface"):
            catalogue.find("arcface", [tmp_path])

    def test_a_backbone_takes_what_is_found(self, comfy, tmp_path):
        files = files_for("flux-schnell", catalogue.search_folders([comfy], {}), arcface=tmp_path / "mine.pth")
        assert files.expected == "flux-schnell"
        assert files.infusenet.name == "infusenet_sim_bf16.safetensors"
        assert files.arcface == tmp_path / "mine.pth"

    def test_a_miniature_takes_its_own(self):
        for backbone in ("mini-dev", miniature.BACKBONES["mini-schnell"]):
            assert files_for(backbone, ()).face_pack == miniature.FACE_PACK

    def test_names_tell_no_folder(self):
        files = files_for(miniature.BACKBONES["mini-dev"], ())
        assert all("/" not in name and "\\" not in name for name in files.names().values())

    def test_the_command_lists_them(self, comfy):
        done = run("models", comfy)
        assert done.returncode == 0, done.stderr
        assert "infusenet_sim_bf16.safetensors" in done.stdout
        assert "not found; looked for FLUX.1-dev/model_index.json" in done.stdout
        for licence in ("CC BY-NC 4.0", "Apache-2.0", "non-commercial research only", "terms unstated"):
            assert licence in done.stdout


def test_settings_refuse_a_negative_seed():
    with pytest.raises(SettingsError, match="seed"):
        Settings("a person", seed=-1)


class _Page(HTMLParser):
    """Collects what a page would load, and whether its tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.links, self.open, self.images = [], [], 0

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.images += tag == "img"
        self.links += [values[key] for key in ("src", "href", "srcset", "data") if values.get(key)]
        if tag not in ("meta", "img", "br", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo, run once as a user runs it."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = run("demo", "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    return out, done


class TestDemo:
    """The main job, on the miniature."""

    def test_it_says_little_and_where_to_look(self, demo):
        out, done = demo
        assert str(out / "report.html") in done.stdout
        assert "mini-schnell" in done.stdout
        assert done.stderr == ""

    def test_everything_is_there(self, demo):
        names = {path.name for path in demo[0].iterdir()}
        wanted = {"reference.png", "drift.png", "trace.json", "report.html", "summary.json"}
        assert wanted | {"faces-mini-dev.png", "faces-mini-schnell.png"} <= names
        for backbone in ("mini-dev", "mini-schnell"):
            assert sum(name.startswith(f"{backbone}-") for name in names) == 9
        assert not [name for name in names if name.startswith(".")]

    def test_summary(self, demo):
        summary = json.loads((demo[0] / "summary.json").read_text(encoding="utf-8"))
        for name, steps in (("mini-dev", 28), ("mini-schnell", 4)):
            figures = summary["backbones"][name]
            assert figures["steps"] == steps
            assert 0 < figures["seconds"] < 60
            values = [value for value in figures["similarities"] if value is not None]
            assert figures["faces_found"] == len(values)
            assert figures["similarity"] == pytest.approx(sum(values) / len(values), abs=1e-3)
        assert abs(summary["stranger_similarity"]) < 0.2
        assert "rec_mini.onnx" in summary["recognizer"]
        assert {"infusenet", "torch", "diffusers", "python"} <= set(summary["versions"])

    def test_the_person_is_there(self, demo):
        summary = json.loads((demo[0] / "summary.json").read_text(encoding="utf-8"))
        floor = summary["stranger_similarity"] + 3 * summary["stranger_std"] / 9**0.5
        for figures in summary["backbones"].values():
            assert figures["faces_found"] >= 8
            assert figures["similarity"] > floor

    def test_traces(self, demo):
        from infusenet import Trace

        for name, backbone, steps in (("trace.json", "mini-dev", 28), ("trace-mini-schnell.json", "mini-schnell", 4)):
            trace = Trace.load(demo[0] / name)
            assert trace.run.backbone == backbone
            assert len(trace.records) == steps
            assert trace.status == "complete"
            assert trace.final is not None

    def test_page_holds_all_it_shows(self, demo):
        page = _Page()
        page.feed((demo[0] / "report.html").read_text(encoding="utf-8"))
        assert page.open == []
        assert page.images == 1 + 18 + 2
        assert page.links
        assert all(link.startswith("data:image/png;base64,") for link in page.links)

    def test_pictures_tell_how_they_were_made(self, demo):
        from PIL import Image

        with Image.open(demo[0] / "mini-dev-1.png") as picture:
            told = picture.text
        assert told["AI-generated"] == "true"
        parameters = json.loads(told["parameters"])
        assert parameters["steps"] == 28
        assert parameters["backbone"] == "mini-dev"
        assert parameters["seed"] == 0
        assert parameters["models"]["infusenet"] == "InfuseNetModel"

    def test_no_embedding_is_written(self, demo):
        for path in demo[0].iterdir():
            if path.suffix == ".json":
                assert "embedding" not in path.read_text(encoding="utf-8")


class TestReadme:
    """What the README says to type."""

    TEXT = (ROOT / "README.md").read_text(encoding="utf-8")

    def test_python_session_runs_and_is_ten_lines(self, demo, tmp_path):
        (session,) = re.findall(r"```python\n(.*?)```", self.TEXT, re.DOTALL)
        assert len([line for line in session.splitlines() if line.strip()]) <= 10
        (tmp_path / "out").mkdir()
        shutil.copy(demo[0] / "reference.png", tmp_path / "out")
        done = subprocess.run(
            [sys.executable, "-c", session],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "beach.png").is_file()

    def test_commands_are_those_of_the_package(self):
        assert 'pip install -e ".[standalone]" && infusenet demo --out out' in self.TEXT
        assert 'pip install -e ".[standalone,test]" && pytest' in self.TEXT
        for script in re.findall(r"^(?:bash|python) (\S+)", self.TEXT, re.MULTILINE):
            assert (ROOT / script).is_file(), script


class TestGenerate:
    """One picture, as a user orders it."""

    def test_the_same_seed_gives_the_same_picture(self, face, tmp_path):
        from PIL import Image, ImageChops

        made = []
        for name in ("a.png", "b.png"):
            done = run(
                "generate",
                "--backbone",
                "mini-schnell",
                "--face",
                face,
                "--prompt",
                "a person",
                "--seed",
                5,
                "--out",
                tmp_path / name,
                "--quiet",
            )
            assert done.returncode == 0, done.stderr
            assert str(tmp_path / name) in done.stdout
            made.append(Image.open(tmp_path / name))
        assert made[0].size == (128, 128)
        assert ImageChops.difference(*made).getbbox() is None

    def test_a_probe_changes_nothing_and_writes_its_files(self, face, tmp_path):
        from PIL import Image, ImageChops

        from infusenet import Trace

        for name, more in (("a.png", []), ("b.png", ["--probe"])):
            code = main(
                [
                    "generate",
                    "--backbone",
                    "mini-dev",
                    "--face",
                    str(face),
                    "--prompt",
                    "a person",
                    "--steps",
                    "3",
                    "--size",
                    "130x100",
                    "--out",
                    str(tmp_path / name),
                    "--quiet",
                    *more,
                ]
            )
            assert code == 0
        with Image.open(tmp_path / "a.png") as plain, Image.open(tmp_path / "b.png") as probed:
            assert plain.size == (128, 96)
            assert ImageChops.difference(plain, probed).getbbox() is None
        trace = Trace.load(tmp_path / "b.trace.json")
        assert [record.step for record in trace.records] == [1, 2, 3]
        assert (tmp_path / "b.drift.png").is_file()

    def test_pose_and_negative(self, face, tmp_path):
        out = tmp_path / "c.png"
        code = main(
            [
                "generate",
                "--backbone",
                "mini-schnell",
                "--face",
                str(face),
                str(face),
                "--prompt",
                "a person",
                "--pose",
                str(face),
                "--negative",
                "a hat",
                "--end",
                "0.5",
                "--out",
                str(out),
                "--quiet",
            ]
        )
        assert code == 0
        from PIL import Image

        with Image.open(out) as picture:
            parameters = json.loads(picture.text["parameters"])
        assert parameters["negative"] == "a hat"
        assert parameters["photos"] == 2

    def test_a_size_that_is_rounded_is_said(self, face, tmp_path):
        done = run(
            "generate",
            "--backbone",
            "mini-schnell",
            "--face",
            face,
            "--prompt",
            "a person",
            "--size",
            "140x128",
            "--out",
            tmp_path / "a.png",
            "--quiet",
        )
        assert done.returncode == 0
        assert "128x128" in done.stderr


def test_module_form():
    assert importlib.util.find_spec("infusenet.__main__") is not None
    done = subprocess.run([sys.executable, "-m", "infusenet", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
