"""The best picture of a batch, and Save Identity Results: everything of a run as files, all or none."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

ENDS = ["chart.png", "faces.png", "picture_1.png", "picture_2.png", "picture_3.png", "record.json", "sheet.png",
        "steps.csv"]  # fmt: skip


@pytest.fixture
def out(host, tmp_path):
    """The host's output folder, for one test."""
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    (tmp_path / "output").mkdir()
    yield tmp_path / "output"
    folder_paths.set_output_directory(before)


@pytest.fixture
def made(run, mini, recognizer, person, conditioned):
    """`made(vae=...)`: (trace, LATENT of three pictures, VAE)."""
    import comfy.sample

    model, _, vae, _, _ = mini("mini-schnell")
    text = conditioned("mini-schnell")

    def make(**more):
        watched, watch = run(
            "IdentityProbe", model=model, recognizer=recognizer, reference=person, when="after the run", every=1,
            **({"vae": vae} | more),
        )  # fmt: skip
        latents = torch.zeros(3, 16, 16, 16)
        noise = comfy.sample.prepare_noise(latents, 5)
        got = comfy.sample.sample(watched, noise, 3, 1.0, "euler", "simple", text, text, latents, seed=5)
        return watch, {"samples": got.clone()}, vae

    return make


def test_the_best_of_a_batch(made, run, pack, monkeypatch):
    watch, latent, vae = made()
    out = run("DriftReport", trace=watch, samples=latent)
    picture, best, index, similarity = out[8:]
    told = json.loads(out[6])["report"]
    finals = [each["final"] for each in told["pictures"]]
    assert index == told["best_picture"] - 1 and similarity == max(value for value in finals if value is not None)
    assert torch.equal(best["samples"], latent["samples"][index : index + 1])
    decoded = vae.decode(best["samples"]).clamp(0, 1)
    assert picture.shape == (1, 128, 128, 3) and torch.allclose(picture, decoded, atol=1e-5)
    given = torch.rand(3, 64, 64, 3)
    assert torch.equal(run("DriftReport", trace=watch, samples=latent, image=given)[8], given[index : index + 1])
    masked = {**latent, "noise_mask": torch.rand(3, 1, 8, 8), "batch_index": [4, 5, 6], "kept": "x"}
    one = run("DriftReport", trace=watch, samples=masked)[9]
    assert torch.equal(one["noise_mask"], masked["noise_mask"][index : index + 1])
    assert one["batch_index"] == [4 + index] and one["kept"] == "x"
    broken = SimpleNamespace(decode=lambda latents: 1 / 0, first_stage_model=torch.nn.Identity())
    monkeypatch.setattr(pack.module("nodes.probe.best"), "full_decoder", lambda vae: broken)
    assert "could not decode the best picture" in run("DriftReport", trace=watch, samples=latent)[8].message
    watch, latent, _ = made(vae=None)
    blocked = run("DriftReport", trace=watch, samples=latent)[8]
    assert "Connect a VAE to vae, or the pictures to image" in blocked.message, (
        "what is behind it is not run, with a word"
    )


def test_everything_is_saved_and_marked(made, run, out, pack):
    watch, latent, _ = made()
    (files,) = run("SaveResults", trace=watch, filename_prefix="people/ann", samples=latent)
    paths = sorted(Path(line) for line in files.splitlines())
    assert [path.name for path in paths] == [f"ann_00001_{end}" for end in ENDS]
    assert all(path.parent == out / "people" for path in paths) and sorted((out / "people").iterdir()) == paths
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert ("AI-generated" in image.info) == ("chart" not in path.name)
    trace = pack.module("infusenet.probe").Trace.from_json((out / "people" / "ann_00001_record.json").read_text())
    assert trace.batch == 3 and (out / "people" / "ann_00001_steps.csv").read_text() == trace.to_csv()
    given = torch.zeros(1, 40, 48, 3)
    (files,) = run("SaveResults", trace=watch, filename_prefix="people/ann", image=given)
    assert "ann_00002_chart.png" in files and "picture_2" not in files
    with Image.open(out / "people" / "ann_00002_picture_1.png") as image:
        assert image.size == (48, 40)


def test_without_a_vae_the_rest_is_saved(made, run, out):
    watch, latent, _ = made(vae=None)
    (files,) = run("SaveResults", trace=watch, filename_prefix="x", samples=latent)
    assert sorted(Path(line).name for line in files.splitlines()) == [
        "x_00001_chart.png", "x_00001_faces.png", "x_00001_record.json", "x_00001_steps.csv"
    ]  # fmt: skip


@pytest.mark.parametrize("prefix", ["../out", "/etc/x", "a/../../b"])
def test_nothing_is_written_outside_the_output_folder(made, run, out, prefix):
    watch, latent, _ = made()
    with pytest.raises(Exception, match="points outside the output folder"):
        run("SaveResults", trace=watch, filename_prefix=prefix, samples=latent)
    assert list(out.parent.rglob("*.png")) == []


@pytest.mark.parametrize("prefix", ["people/", "people//", " people/./ ", ""])
def test_an_odd_prefix_never_overwrites(made, run, out, prefix):
    watch, latent, _ = made()
    names = [run("SaveResults", trace=watch, filename_prefix=prefix, samples=latent)[0].splitlines() for _ in range(2)]
    assert len(set(names[0] + names[1])) == 2 * len(ENDS) and all(
        Path(name).is_file() for name in [*names[0], *names[1]]
    )
    assert all(Path(name).is_relative_to(out) and not Path(name).name.startswith(".") for name in names[0])


def test_a_full_disk_leaves_nothing_behind(made, run, out, pack, monkeypatch):
    watch, latent, _ = made()
    save = pack.module("nodes.probe.save")
    write, count = save.write_atomically, SimpleNamespace(left=3)

    def full(path, content):
        count.left -= 1
        if count.left < 0:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(save, "write_atomically", full)
    with pytest.raises(Exception, match=r"No space left on device\), so no file was kept"):
        run("SaveResults", trace=watch, filename_prefix="x", samples=latent)
    assert list(out.iterdir()) == []


def test_it_says_what_to_connect(made, run):
    watch, _, _ = made()
    with pytest.raises(Exception, match="does not know when to save"):
        run("SaveResults", trace=watch, filename_prefix="x")
