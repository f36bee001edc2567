"""Identity Score in the host: the one rule's numbers, in their order; and the probe's references and strangers."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

NAMES = ("pictures", "best", "best_index", "best_similarity", "scores", "text", "json", "sheet")


@pytest.fixture(scope="module")
def people(pack):
    """`people(n)`: drawn persons, an IMAGE [n, 128, 128, 3]."""

    def draw(count, seed=8_000_400):
        faces = pack.module("infusenet.miniature.faces")
        generator = torch.Generator().manual_seed(seed)
        scenes = faces.sample_scenes(count, generator, plain=True)
        return faces.render(faces.sample_identities(count, generator), scenes).images.movedim(1, -1).clamp(0, 1)

    return draw


@pytest.fixture
def score(run, recognizer, person):
    """`score(images, ...)`: the node's outputs by name."""

    def go(images, **changes):
        given = {"images": images, "recognizer": recognizer, "reference": person, "show": "pictures"}
        return SimpleNamespace(**dict(zip(NAMES, run("Score", **(given | changes)), strict=True)))

    return go


@pytest.fixture
def batch(people, person):
    """Others, a grey picture, the person, and another."""
    return torch.cat([people(2), torch.full((1, 128, 128, 3), 0.5), person, people(1, 8_000_500)])


def test_the_pictures_come_sorted_with_the_one_rules_numbers(score, batch, pack, recognizer, person):
    made = score(batch)
    convert = pack.module("nodes.convert").image_to_pictures
    reference = pack.module("infusenet.measures").Reference.from_pictures(recognizer, convert(person))
    want = reference.similarities(recognizer, convert(batch))
    order = sorted(range(5), key=lambda place: -math.inf if want[place] is None else want[place], reverse=True)
    assert order[0] == 3 and order[-1] == 2 and want[2] is None
    assert torch.equal(made.pictures, batch[order]) and torch.equal(made.best, batch[3:4])
    assert made.best_index == 3 and made.best_similarity == made.scores[0] == pytest.approx(1, abs=1e-3)
    for value, place in zip(made.scores[:-1], order, strict=False):
        assert abs(value - want[place]) <= 1e-6
    assert math.isnan(made.scores[-1])
    told = json.loads(made.json)
    assert [entry["index"] for entry in told["pictures"]] == order
    assert told["pictures"][0]["similarity"] == made.scores[0] and told["pictures"][-1]["similarity"] is None
    assert told["rule"]["name"] == "face 1" and "rec_mini" in told["recognizer"] and told["impostor"]["count"] == 16
    assert "Most alike: picture 4: 1.000." in made.text and "picture 3: no face was found" in made.text
    assert "no face (blank)" in made.text and "other people" in made.text and "rule: face 1" in made.text


def test_the_probes_finished_picture_and_the_sweep_have_the_same_number(score, batch, pack, recognizer, person):
    watching, convert = pack.module("nodes.probe.watch"), pack.module("nodes.convert").image_to_pictures
    reference = pack.module("infusenet.measures").Reference.from_pictures(recognizer, convert(person))
    probe = pack.module("infusenet.probe").ProbeRecorder(recognizer, reference, lambda latents: latents)
    probe.start(batch=5)
    final = probe.finish(batch.movedim(-1, 1)).final
    scored = dict(zip([entry["index"] for entry in json.loads(score(batch).json)["pictures"]], score(batch).scores))
    for place, value in enumerate(final.similarity):
        assert (value is None and math.isnan(scored[place])) or abs(value - scored[place]) <= 1e-6
    assert watching.Watch(recognizer, reference).references == (reference,)


@pytest.mark.parametrize("show", ["pictures", "aligned faces"])
def test_the_sheet(score, batch, show):
    sheet = score(batch, show=show).sheet
    assert sheet.shape == (1, 10 + 17 + 6 + 2 * (192 + 34 + 14), 10 + 3 * 202, 3) and 0.2 < float(sheet.std()) < 0.6


def test_no_face_at_all(score):
    grey = torch.full((2, 128, 128, 3), 0.5)
    made = score(grey)
    assert made.best_index == -1 and math.isnan(made.best_similarity) and all(map(math.isnan, made.scores))
    assert torch.equal(made.best, grey[:1]) and made.text.startswith("No face was found in any of 2 pictures.")
    assert json.loads(made.json)["pictures"][0]["similarity"] is None


def test_one_reference_for_each_picture(score, people):
    three = people(3)
    alone = score(three, reference=three)
    each = score(three, reference=three, references="one per image")
    assert all(value == pytest.approx(1, abs=1e-3) for value in each.scores)
    assert max(alone.scores) < 0.9, "the mean of three persons is none of them"
    crossed = score(three, reference=three[[1, 0, 2]], references="one per image")
    assert crossed.best_index == 2 and crossed.scores[0] == pytest.approx(1, abs=1e-3)
    twice = score(three[[0, 1, 0, 1]], reference=three[:2], references="one per image")
    assert all(value == pytest.approx(1, abs=1e-3) for value in twice.scores), "taken in turn"


def test_too_few_strangers_are_counted_and_the_line_is_unknown(score, people, batch):
    others = torch.cat([people(4, 7), torch.full((2, 128, 128, 3), 0.5)])
    made = score(batch, strangers=others)
    assert json.loads(made.json)["impostor"] is None and "other people: unknown" in made.text
    assert json.loads(score(batch, strangers=people(5, 7)).json)["impostor"]["count"] == 5


def test_the_node_tells_what_was_missing(pack, recognizer, person, people, batch):
    others = torch.cat([people(4, 7), torch.full((2, 128, 128, 3), 0.5)])
    node = pack.nodes["Score"]
    output = node.execute(images=batch, recognizer=recognizer, reference=person, show="pictures", strangers=others)
    (words,) = output.ui["text"]
    assert "a face was found in 4 of 6 pictures, but 5 are needed" in words and "Most alike: picture 4" in words


def test_a_recognizer_with_files_of_its_own_knows_no_other_people(score, batch, recognizer):
    elsewhere = SimpleNamespace(
        name="other.onnx", detect=recognizer.detect, crop=recognizer.crop, embed=recognizer.embed, path="/elsewhere/x"
    )
    assert "other people: unknown" in score(batch, recognizer=elsewhere).text


def test_grey_transparent_and_single_pictures(score, person):
    clear = torch.cat([person, torch.ones(1, 128, 128, 1)], dim=-1)
    assert score(clear).best_similarity == pytest.approx(1, abs=1e-3)
    assert score(clear).pictures.shape[-1] == 4, "handed on as they came"
    assert score(person.mean(-1, keepdim=True)).scores[0] > 0


def test_bad_input_is_refused_in_words(score, person):
    with pytest.raises(Exception, match="No face found in reference picture 1 of 1"):
        score(person, reference=torch.zeros(1, 64, 64, 3))
    with pytest.raises(Exception, match="Expected an IMAGE"):
        score(torch.zeros(0, 64, 64, 3))


def test_it_can_be_cancelled_between_pictures_and_tells_how_far_it_is(score, people, monkeypatch):
    import comfy.model_management
    import comfy.utils

    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda done, total, *_, **__: seen.append((done, total)))
    pictures = people(3)
    score(pictures)
    assert seen[-1] == (3, 3)

    def cancel(done, *_, **__):
        comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        score(pictures)


# -- the probe's new input ---------------------------------------------------------------------------------------------


@pytest.fixture
def sampled(run, mini, recognizer, conditioned):
    """`sampled(reference, batch, ...)`: the run of a probed sampler, and the probe."""
    import comfy.sample

    def go(reference, batch, **changes):
        given = {"model": mini("mini-schnell")[0], "recognizer": recognizer, "reference": reference, "when": "live",
                 "every": 1, "vae": mini("mini-schnell")[2]}  # fmt: skip
        model, watch = run("IdentityProbe", **(given | changes))
        latents, text = torch.zeros(batch, 16, 16, 16), conditioned("mini-schnell")
        noise = comfy.sample.prepare_noise(latents, 5)
        made = comfy.sample.sample(model, noise, 3, 1.0, "euler", "simple", text, text, latents, seed=5)
        (one,) = watch.runs.values()
        return one, watch, {"samples": made.clone()}

    return go


@pytest.mark.parametrize("when", ["live", "after the run"])
def test_the_probe_compares_each_picture_with_its_own_reference(sampled, people, run, when):
    two = people(2)
    both, watch, latent = sampled(two, 2, references="one per image", when=when)
    assert len(watch.references) == 2 and both.trace.reference.pictures == 2
    singles = [sampled(two[item : item + 1], 2, when=when)[0].trace for item in range(2)]
    for place, record in enumerate([*both.trace.records, both.trace.final]):
        for item in range(2):
            single = [*singles[item].records, singles[item].final][place]
            assert (record.found[item], record.alignment[item]) == (single.found[item], single.alignment[item])
            one, other = record.similarity[item], single.similarity[item]
            assert (one is None and other is None) or abs(one - other) <= 1e-6
    means = [single.strangers.mean for single in singles]
    assert both.trace.strangers.mean == pytest.approx(np.mean(means))
    report = json.loads(run("DriftReport", trace=watch, samples=latent)[6])["report"]
    assert [entry["picture"] for entry in report["pictures"]] == [1, 2] and report["best_picture"] in (1, 2)
    again = run("DriftReport", trace=watch, samples=latent, vae=None)
    assert again[6].startswith("{")


def test_several_references_are_one_person_unless_told_otherwise(sampled, people):
    trace = sampled(people(2), 1)[0].trace
    assert trace.reference.pictures == 2 and trace.reference.source == "reference image"


def test_a_report_of_a_batch_names_each_picture_and_what_measured(sampled, person, pack):
    one, watch, latent = sampled(person, 3)
    output = pack.nodes["DriftReport"].execute(trace=watch, samples=latent)
    (words,) = output.ui["text"]
    (curve,) = output.ui["infusenet_drift"]
    assert "Picture 1: " in words and "Picture 3: " in words and "rule: face 1" in words and "rec_mini" in words
    assert len(curve["pictures"]) == 3 and curve["words"] == words
    text = output.args[6]
    trace = pack.module("infusenet.probe").Trace.from_json(text)
    assert trace.records == one.trace.records, "still a trace, with the report beside it"
    report = json.loads(text)["report"]
    finals = [entry["final"] for entry in report["pictures"]]
    known = [value for value in finals if value is not None]
    assert known and report["best_picture"] == finals.index(max(known)) + 1


def test_what_the_browser_is_told_of_the_lines(sampled, person, pack, people):
    one, watch, _ = sampled(person, 1, strangers=people(3))
    assert watch.strangers is None
    payload = pack.module("nodes.probe.chart").curve(one.trace)
    (others, blank) = payload["lines"]
    assert others == ["impostor", "other people", None, None] and blank[:2] == ["blank", "no face (blank)"]
    assert watch.beside == {key: payload[key] for key in ("lines", "labels", "by")}
    assert payload["labels"]["axis"] == "similarity" and "face" in payload["labels"]["unseen"]
    seen = [item for *_, items in payload["points"] for item in items]
    assert set(seen) <= {0} and all(len(point) == 4 for point in payload["points"])
