"""Identity Sweep in the host: every value is the host's own run, and what was connected stays as it was."""

import csv
import io
from types import SimpleNamespace

import pytest
import torch

SIZE = 16  # latents a side

OUTPUTS = ("chart", "sheet", "best", "best_value", "csv", "pictures")


@pytest.fixture(scope="module")
def recognizer(run):
    return run("LoadFaceRecognizer", face_pack="miniature", device="cpu")[0]


@pytest.fixture(scope="module")
def person(pack):
    """A drawn person, as an IMAGE."""
    faces = pack.module("infusenet.miniature.faces")
    generator = torch.Generator().manual_seed(8_000_321)
    identity = faces.sample_identities(1, generator)
    return faces.render(identity, faces.sample_scenes(1, generator, plain=True)).images.movedim(1, -1).clamp(0, 1)


@pytest.fixture(scope="module")
def identity(run, person):
    mini = dict.fromkeys(["image_proj", "arcface", "face_pack"], "miniature")
    (encoder,) = run("LoadIdentityEncoder", **mini, device="cpu")
    settings = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error"}
    return run("EncodeIdentity", encoder=encoder, image=person, **settings)[0]


@pytest.fixture(scope="module")
def applied(run, mini, mini_infusenet, identity):
    """`applied(backbone, ...)`: positive and negative, as Apply gives them."""

    def make(backbone="mini-dev", positive=None, **changes):
        clip = mini(backbone)[1]
        text = clip.encode_from_tokens_scheduled(clip.tokenize("a portrait of a person"), add_dict={"guidance": 3.5})
        settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}
        return run(
            "Apply",
            positive=text if positive is None else positive,
            infusenet=mini_infusenet,
            identity=identity,
            vae=mini(backbone)[2],
            **(settings | changes),
        )

    return make


@pytest.fixture
def sweep(run, mini, applied, recognizer, person):
    """`sweep(axis, values, ...)`: the node's outputs by name."""

    def go(axis, values, backbone="mini-dev", conditioning=None, **changes):
        positive, negative = applied(backbone) if conditioning is None else conditioning
        given = {
            "model": mini(backbone)[0],
            "positive": positive,
            "negative": negative,
            "latent_image": {"samples": torch.zeros(1, 16, SIZE, SIZE)},
            "vae": mini(backbone)[2],
            "recognizer": recognizer,
            "reference": person,
            "axis": axis,
            "values": values,
            "steps": 3,
            "cfg": 1.0,
            "seed": 5,
            "sampler_name": "euler",
        }
        outputs = run("Sweep", **(given | changes))
        return SimpleNamespace(**dict(zip(OUTPUTS, outputs, strict=True)))

    return go


@pytest.fixture
def sampled(run, mini):
    """`sampled(positive, negative, ...)`: the host's SamplerCustom on FLUX Sigmas, as a user would wire it."""

    def go(positive, negative, *, backbone="mini-dev", steps=3, seed=5, cfg=1.0, sampler="euler", latent=None):
        import comfy.samplers
        from comfy_extras.nodes_custom_sampler import SamplerCustom

        latent = {"samples": torch.zeros(1, 16, SIZE, SIZE)} if latent is None else latent
        model = mini(backbone)[0]
        sigmas, _ = run("Sigmas", model=model, latent=latent, steps=steps, denoise=1.0)
        custom = SamplerCustom()
        made = custom.sample(
            model, True, seed, cfg, positive, negative, comfy.samplers.sampler_object(sampler), sigmas, latent
        )
        return getattr(made, "args", made)[0]["samples"]

    return go


@pytest.fixture
def latents_of(pack, monkeypatch):
    """The latents of every value that a sweep looks at, in order."""
    trials, seen = pack.module("nodes.sweep.trials"), []
    original = trials.run_trials

    def noting(*args, **named):
        for look in original(*args, **named):
            seen.append(look.latents)
            yield look

    monkeypatch.setattr(trials, "run_trials", noting)
    return seen


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.exact
def test_steps_are_separate_runs_of_the_hosts_own_sampler(sweep, sampled, applied, latents_of):
    made = sweep("steps", "4, 1, 2")
    want = [sampled(*applied(), steps=steps) for steps in (4, 1, 2)]
    assert all(torch.equal(got, one) for got, one in zip(latents_of, want, strict=True))
    rows = table(made.csv)
    assert {(row["rule"][:6], row["recognizer"][:8]) for row in rows} == {("face 1", "rec_mini")}
    assert [(row["value"], row["steps"], row["seed"]) for row in rows] == [(n, n, "5") for n in "412"]
    values = [float(row["similarity"]) if row["similarity"] else None for row in rows]
    best = max(range(3), key=lambda place: -2 if values[place] is None else values[place])
    assert values[best] is not None and made.best_value == (4, 1, 2)[best]
    assert torch.equal(made.best["samples"], want[best])
    assert made.chart.shape == (1, 420, 700, 3) and made.sheet.shape[0] == 1 and made.sheet.shape[2] == 10 + 3 * 202


@pytest.mark.exact
def test_seeds_and_samplers_and_true_cfg(sweep, sampled, applied, latents_of):
    sweep("seed", "3, 18446744073709551615", sampler_name="dpmpp_2m", cfg=2.0, steps=2)
    for got, seed in zip(latents_of, (3, 2**64 - 1), strict=True):
        assert torch.equal(got, sampled(*applied(), seed=seed, sampler="dpmpp_2m", cfg=2.0, steps=2))


@pytest.mark.exact
def test_strength_is_apply_at_that_strength_and_changes_copies_alone(sweep, sampled, applied, latents_of):
    conditioning = applied(strength=0.8)
    control = conditioning[0][0][1]["control"]
    state = dict(vars(control))
    sweep("strength", "0, 0.5, 0.8", conditioning=conditioning)
    for got, strength in zip(latents_of, (0.0, 0.5, 0.8), strict=True):
        assert torch.equal(got, sampled(*applied(strength=strength)))
    assert conditioning[0][0][1]["control"] is control and control.strength == 0.8
    assert {key: value for key, value in vars(control).items() if value is not state[key]} == {}


@pytest.mark.exact
def test_guidance_is_fluxguidance_and_zero_steps_are_the_variants_own(sweep, sampled, applied, latents_of):
    conditioning = applied()
    sweep("guidance", "0, 1.5", conditioning=conditioning, backbone="mini-dev")
    for got, guidance in zip(latents_of, (0.0, 1.5), strict=True):
        changed = [[[e, {**o, "guidance": guidance}] for e, o in one] for one in conditioning]
        assert torch.equal(got, sampled(*changed))
    assert conditioning[0][0][1]["guidance"] == 3.5
    made = sweep("seed", "1", backbone="mini-schnell", steps=0)
    assert table(made.csv)[0]["steps"] == "4"


@pytest.mark.exact
def test_true_cfg_and_first_steps_are_as_set_by_hand(sweep, sampled, applied, latents_of):
    made = sweep("true_cfg", "1, 2.5", steps=2)
    assert all(torch.equal(a, sampled(*applied(), steps=2, cfg=b)) for a, b in zip(latents_of, (1, 2.5), strict=True))
    assert [row["cfg"] for row in table(made.csv)] == ["1.0", "2.5"]
    latents_of.clear()
    sweep("first_steps", "1, 4", steps=4)
    for got, end in zip(latents_of, (0.25, 1.0), strict=True):
        assert torch.equal(got, sampled(*applied(end_percent=end), steps=4))
    with pytest.raises(Exception, match="at most 3 active steps"):
        sweep("first_steps", "4", steps=3)


@pytest.mark.exact
def test_guidance_on_schnell_is_flat_and_said_to_be(pack, mini, sweep, applied, latents_of):
    trials, axes = pack.module("nodes.sweep.trials"), pack.module("infusenet.axes").AXES
    sweep("guidance", "0, 3.5", backbone="mini-schnell")
    assert torch.equal(*latents_of)
    model, positive = mini("mini-schnell")[0], applied("mini-schnell")[0]
    assert "every value gives the same picture" in trials.note_on(axes["guidance"], model, positive)
    assert trials.note_on(axes["steps"], model, positive) is None
    assert trials.note_on(axes["guidance"], mini("mini-dev")[0], positive) is None


@pytest.fixture
def another():
    """A ControlNet that is not ours."""
    from comfy.controlnet import ControlBase

    class Another(ControlBase):
        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            return None if self.previous_controlnet is None else self.previous_controlnet.get_control(
                x_noisy, t, cond, batched_number, transformer_options
            )  # fmt: skip

        def copy(self):
            other = Another()
            self.copy_to(other)
            return other

    net = Another()
    net.strength = 0.33
    return net


@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_other_controlnets_keep_their_strength_and_place(pack, applied, another, strength):
    """In a chain: one of theirs, ours, one of theirs, ours."""
    trials, ours = pack.module("nodes.sweep.trials"), pack.module("nodes.infusenet.adapter").InfuseNetControl
    embedding = applied()[0][0][0]
    first = applied(positive=[[embedding, {"control": another, "control_apply_to_uncond": True}]])[0]
    middle = another.copy()
    middle.set_previous_controlnet(first[0][1]["control"])
    positive = applied(positive=[[embedding, {"control": middle}], [embedding, {"control": middle}]], strength=0.6)[0]
    before = [(control, control.strength, control.previous_controlnet) for control in trials.controls(positive)]

    (changed,) = trials.with_settings([positive], trials.RunSettings(0, 0, 1.0, strength=strength))
    assert [(c, c.strength, c.previous_controlnet) for c in trials.controls(positive)] == before
    assert changed[0][1]["control"] is changed[1][1]["control"]  # still one batch for the host
    chain = list(trials.controls(changed[:1]))
    theirs = [control for control in chain if not isinstance(control, ours)]
    assert [control.strength for control in theirs] == [0.33, 0.33] and theirs[-1] is another
    assert theirs[0] is not middle  # a copy, linked to our copy
    mine = [control for control in chain if isinstance(control, ours)]
    assert [control.strength for control in mine] == ([] if strength == 0 else [strength] * 2)
    assert not set(map(id, mine)) & {id(control) for control, *_ in before}

    alone = [[embedding, {"control": another, "guidance": 3.5}]]
    assert (
        trials.with_settings([alone], trials.RunSettings(0, 0, 1.0, strength=strength))[0][0][1]["control"] is another
    )
    (bare,) = trials.with_settings([applied()[0]], trials.RunSettings(0, 0, 1.0, strength=0.0))
    assert not [key for key in bare[0][1] if key.startswith("control")]


def test_positive_and_negative_share_a_copy_as_they_shared_the_control(pack, applied):
    """Else the host would sample them one after the other."""
    conditioning = applied(on_negative=True)
    trials = pack.module("nodes.sweep.trials")
    positive, negative = trials.with_settings(conditioning, trials.RunSettings(0, 0, 1.0, strength=0.5))
    assert positive[0][1]["control"] is negative[0][1]["control"]
    assert positive[0][1]["control"] is not conditioning[0][0][1]["control"]


@pytest.mark.exact
def test_a_probed_model_is_swept_as_an_unprobed_one(run, mini, recognizer, person, sweep, latents_of):
    """The probe's record is then the last run's."""
    settings = {"recognizer": recognizer, "reference": person, "when": "after the run", "every": 1}
    model, watch = run("IdentityProbe", model=mini("mini-dev")[0], vae=mini("mini-dev")[2], **settings)
    sweep("steps", "1, 3")
    sweep("steps", "1, 3", model=model)
    assert all(torch.equal(a, b) for a, b in zip(latents_of[:2], latents_of[2:], strict=True))
    assert (watch.latest.trace.status, watch.latest.trace.steps) == ("complete", 3)


@pytest.mark.exact
def test_a_batch_and_a_mask_are_sampled_as_by_the_host(sweep, sampled, applied, latents_of, pack):
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[..., 40:] = 1
    latent = {"samples": torch.randn(2, 16, SIZE, SIZE, generator=generator) * 0.2, "noise_mask": mask}
    latent["batch_index"] = [0, 3]
    made = sweep("steps", "1, 3", latent_image=latent)
    for got, steps in zip(latents_of, (1, 3), strict=True):
        assert torch.equal(got, sampled(*applied(), steps=steps, latent=latent))
    rows = table(made.csv)
    assert [(row["value"], row["picture"]) for row in rows] == [("1", "1"), ("1", "2"), ("3", "1"), ("3", "2")]
    assert made.best["samples"].shape == (2, 16, SIZE, SIZE) and made.best["noise_mask"] is mask
    for one in (rows[:2], rows[2:]):
        known = [float(row["similarity"]) for row in one if row["similarity"]]
        assert one[0]["value_failures"] == str(2 - len(known))
        if known:
            assert float(one[0]["value_similarity"]) == pytest.approx(sum(known) / len(known))


@pytest.mark.exact
def test_an_empty_latent_of_four_channels_is_fitted_as_by_the_host(sweep, sampled, applied, latents_of):
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
    sweep("seed", "1", latent_image=latent)
    assert torch.equal(latents_of[0], sampled(*applied(), seed=1, latent=latent))


class Blind:
    """A recognizer that finds a face in the reference and in chosen pictures alone."""

    name = "blind.onnx (CPU)"

    def __init__(self, finds):
        self.calls, self.finds = -1, finds

    def detect(self, rgb, **_):
        self.calls += 1
        found = self.calls == 0 or self.calls in self.finds
        return [SimpleNamespace(bbox=[0, 0, 9, 9], kps=[[0, 0]] * 5, score=0.9)] if found else []

    def crop(self, rgb, kps):
        return torch.zeros(112, 112, 3, dtype=torch.uint8).numpy()

    def embed(self, crops):
        return [[1.0, self.calls / 10] for _ in crops]


def test_failures_are_left_out_and_counted(sweep, latents_of):
    made = sweep("steps", "1, 2, 3", recognizer=Blind(finds={2, 3}))
    rows = table(made.csv)
    assert [bool(row["similarity"]) for row in rows] == [False, True, True]
    assert [row["value_failures"] for row in rows] == ["1", "0", "0"]
    assert made.best_value == 2 and torch.equal(made.best["samples"], latents_of[1])


def test_no_face_at_all_gives_the_first_and_minus_one(sweep, latents_of):
    made = sweep("steps", "2, 1", recognizer=Blind(finds=()))
    assert made.best_value == -1 and torch.equal(made.best["samples"], latents_of[0])
    assert all(row["similarity"] == row["value_similarity"] == "" for row in table(made.csv))


@pytest.mark.exact
def test_little_memory_gives_the_same(pack, sweep, latents_of, monkeypatch):
    want = sweep("seed", "1, 2, 3")
    monkeypatch.setattr(pack.module("nodes.sweep.trials"), "KEPT", 1)  # one value at a time
    got = sweep("seed", "1, 2, 3")
    assert all(torch.equal(a, b) for a, b in zip(latents_of[:3], latents_of[3:], strict=True))
    assert torch.equal(got.chart, want.chart) and torch.equal(got.sheet, want.sheet)
    assert torch.equal(got.best["samples"], want.best["samples"]) and got.best_value == want.best_value


@pytest.mark.parametrize(
    ("axis", "values", "changes", "named"),
    [
        ("steps", "1, two", {}, "'two'"),
        ("seed", "0:1000:1", {}, "'0:1000:1'"),
        ("strength", "1", {"conditioning": "without"}, "Apply InfuseNet"),
        ("steps", "1", {"latent_image": {"samples": torch.ones(1, 4, 8, 8)}}, "latents"),
        ("steps", "1", {"reference": torch.zeros(1, 64, 64, 3)}, "No face"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sampled(
    sweep, applied, monkeypatch, axis, values, changes, named
):
    import comfy.sample

    monkeypatch.setattr(comfy.sample, "sample_custom", lambda *args, **named: pytest.fail("it sampled"))
    if changes.get("conditioning"):
        changes = {**changes, "conditioning": applied(strength=0.0)}
    with pytest.raises(Exception, match=named) as told:
        sweep(axis, values, **changes)
    assert "\n" not in str(told.value)


def test_progress_is_that_of_all_values_together(sweep, monkeypatch):
    import comfy.utils

    told = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: told.append((value, total)), raising=False
    )
    sweep("steps", "2, 3, 1")
    assert {total for _, total in told} == {6}
    done = [value for value, _ in told]
    assert done == sorted(done) and done[-1] == 6


@pytest.mark.exact
@pytest.mark.parametrize("when", [1, 2, 4, 6])
def test_an_interrupt_ends_it_between_and_within_values(sweep, applied, monkeypatch, when):
    """At the n-th step; the next sweep is as if nothing had been."""
    import comfy.model_management
    import comfy.sample
    import latent_preview

    conditioning = applied()
    want = sweep("steps", "2, 3, 1", conditioning=conditioning)
    told, sampled = [], []
    original = comfy.sample.sample_custom

    def callback(step, *_):
        told.append(step)
        if len(told) == when:
            comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    def counting(*args, **named):
        sampled.append(1)
        return original(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(latent_preview, "prepare_callback", lambda *_: callback)
        patch.setattr(comfy.sample, "sample_custom", counting)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sweep("steps", "2, 3, 1", conditioning=conditioning)
    assert told == [0, 1, 2, 3, 4, 5][:when] and len(sampled) == (1 if when <= 2 else 2 if when <= 5 else 3)
    again = sweep("steps", "2, 3, 1", conditioning=conditioning)
    assert torch.equal(again.best["samples"], want.best["samples"])
    assert [row["similarity"] for row in table(again.csv)] == [row["similarity"] for row in table(want.csv)]


def test_an_interrupt_between_values_starts_no_further_one(sweep, monkeypatch):
    import comfy.model_management
    import comfy.sample

    original = comfy.sample.sample_custom
    count = []

    def stopping(*args, **named):
        count.append(1)
        made = original(*args, **named)
        comfy.model_management.interrupt_current_processing()
        return made

    monkeypatch.setattr(comfy.sample, "sample_custom", stopping)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sweep("seed", "1, 2, 3")
    assert len(count) == 1


@pytest.mark.exact
def test_a_model_that_is_not_flux_is_sampled_with_simple_and_says_so(pack, sweep, stable_diffusion, latents_of):
    import comfy.sample
    import comfy.samplers

    model, text, vae = stable_diffusion
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    given = {"model": model, "conditioning": (text, text), "vae": vae, "latent_image": latent, "cfg": 3.0}
    made = sweep("steps", "2, 4", recognizer=Blind(finds={1, 2}), sampler_name="dpmpp_2m", **given)
    for got, steps in zip(latents_of, (2, 4), strict=True):
        want = comfy.sample.sample(
            model, comfy.sample.prepare_noise(latent["samples"], 5), steps, 3.0, "dpmpp_2m", "simple", text, text,
            latent["samples"], seed=5,
        )  # fmt: skip
        assert torch.equal(got, want)
    assert made.best_value in (2, 4) and made.sheet.ndim == 4
    trials, axes = pack.module("nodes.sweep.trials"), pack.module("infusenet.axes").AXES
    assert "simple" in trials.note_on(axes["steps"], model, text)
    with pytest.raises(Exception, match="Set steps"):
        sweep("seed", "1", steps=0, recognizer=Blind(finds=()), **given)
    with pytest.raises(Exception, match="Apply InfuseNet"):
        sweep("strength", "1", recognizer=Blind(finds=()), **given)


def test_all_pictures_come_out_in_full_size(sweep):
    made = sweep("steps", "1, 2")
    assert made.pictures.shape == (2, 128, 128, 3) and not torch.equal(*made.pictures)


def test_using_the_best_value_sets_a_widget_that_is_there(pack):
    module, kinds = pack.module("nodes.sweep.sweep"), pack.module("infusenet.axes").AXES
    tried = pack.module("infusenet.axes").Tried(2.0, (0.5,), 4, 1, 0.1, 1.0)
    ours = {name: {one.id for one in node.GET_SCHEMA().inputs} for name, node in pack.by_id.items()}
    for axis in kinds:
        for types, names, value in module.changes(axis, tried):
            assert value == (0.5 if axis == "first_steps" else 2.0)
            assert all(names.split("|")[0] in ours[name] for name in types if name in ours)
    far = pack.module("infusenet.axes").Tried(2**60, (0.5,), 4, 1, 0.1, 1.0)
    assert module.changes("seed", far) == [], "a page would round it"
