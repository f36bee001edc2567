"""FastFace Guider: the recorded guidance through the host, its branches, what it costs, what it refuses."""

import copy
from types import SimpleNamespace

import pytest
import torch

SHIPPED = {"a": "1, 1.5, 1.5, 1", "b": "1, 3, 3, 1", "rescale": 0.75}
NEUTRAL = {"a": "1", "b": "1", "rescale": 0.0}
KINDS = {1: "text-then-identity", 2: "separate", 3: "identity"}
CONTENTS = {  # kind -> for each third in FastFace's order: (prompt, identity)
    "identity": ((0, 0), (0, 1), (1, 1)),
    "text-then-identity": ((0, 0), (1, 0), (1, 1)),
}


def guider_of(run, **inputs):
    return run("DecoupledGuider", **{"kind": "identity", **SHIPPED, **inputs})[0]


@pytest.fixture(scope="module")
def parts(run, mini, mini_infusenet, identity, conditioned):
    """The miniature schnell, its prompt with an identity, an empty negative without, and what made them."""
    model, clip, vae, *_ = mini("mini-schnell")
    with torch.inference_mode():
        text = conditioned()
        empty = clip.encode_from_tokens_scheduled(clip.tokenize("empty"), add_dict={"guidance": 3.5})
        settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}
        inputs = {"positive": text, "infusenet": mini_infusenet, "identity": identity, "vae": vae, **settings}

        def applied(**changed):
            return run("Apply", **{**inputs, "negative": empty, **changed})

        positive, negative = applied()
    return SimpleNamespace(
        model=model, vae=vae, text=text, empty=empty, positive=positive, negative=negative, applied=applied
    )


def noise(batch=1, side=16):
    return torch.randn(batch, 16, side, side, generator=torch.Generator().manual_seed(1))


def sample(guider, x=None, sampler="euler", steps=4, latent=None, mask=None, callback=None):
    import comfy.samplers

    x = noise() if x is None else x
    chosen = comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler
    latent = torch.zeros_like(x) if latent is None else latent
    sigmas = torch.linspace(1, 0, steps + 1)
    return guider.sample(x, latent, chosen, sigmas, denoise_mask=mask, seed=3, callback=callback).clone()


def basic(model, conditioning):
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Guider_Basic

    assert issubclass(Guider_Basic, comfy.samplers.CFGGuider)
    guider = Guider_Basic(model)
    guider.set_conds(conditioning)
    return guider


def one_look(guider, x=None, level=0.75):
    """The guider's prediction at one noise level."""
    import comfy.samplers

    seen = []

    def look(predict, start, sigmas, extra_args=None, callback=None, disable=None):
        seen.append(predict(start, torch.full([len(start)], level), **extra_args).clone())
        return start

    sample(guider, x, comfy.samplers.KSAMPLER(look))
    return seen[0]


@pytest.fixture
def evaluations(monkeypatch):
    """How many conditionings each call of the host's evaluation has."""
    import comfy.samplers

    original, counts = comfy.samplers._calc_cond_batch, []

    def counted(model, conds, *rest):
        counts.append(sum(cond is not None for cond in conds))
        return original(model, conds, *rest)

    monkeypatch.setattr(comfy.samplers, "_calc_cond_batch", counted)
    return counts


# -- the recorded guidance -------------------------------------------------------------------------------------------


def recorded(model, golden, kind, identity):
    """A clone of a MODEL that predicts what was recorded at a step, told by the text's mark whose it is."""
    thirds = {prompt: third for third, (prompt, face) in enumerate(CONTENTS[kind]) if face == identity}
    model = model.clone()

    def predict(apply_model, given):
        noise = golden["step/predictions"][model.step]
        marks = given["c"]["c_crossattn"][:, 0, 0].tolist()
        shares = given["input"].chunk(len(marks))
        made = [noise[thirds[int(mark)]] for mark in marks]
        return torch.cat([x - model.sigma * eps for x, eps in zip(shares, made, strict=True)])

    model.set_model_unet_function_wrapper(predict)
    return model


def test_the_recorded_guidance(run, fastface, pipeline_case, stable_diffusion):
    """In SDXL's way: noise is predicted, the levels are the recorded timesteps', the latents the recorded ones."""
    import comfy.samplers

    golden = fastface(f"pipeline/{pipeline_case}")
    told = golden.meta["settings"]["pipe_kwargs"]
    dcg = told.get("dcg_kwargs") or {}
    kind = KINDS[dcg.get("dcg_type", 3)]
    lists = dcg.get("sch_kwargs", {}).get("custom")
    weights = lists or {"a": [told["guidance_scale_a"]], "b": [told["guidance_scale_b"]]}
    rescale = dcg.get("rescale", 0) if str(dcg.get("term_postproc", "")).startswith("rescale") else 0
    base, _, _ = stable_diffusion
    faced, plain = (recorded(base, golden, kind, face) for face in (1, 0))
    marked = [[[torch.full([1, 7, 16], float(mark)), {}]] for mark in (1, 0)]
    guider = guider_of(
        run,
        model=faced,
        model_without_identity=plain,
        positive=marked[0],
        negative=marked[1],
        kind=kind,
        a=", ".join(map(str, weights["a"])),
        b=", ".join(map(str, weights["b"])),
        rescale=rescale,
    )
    sampling = base.get_model_object("model_sampling")
    levels = sampling.sigma(golden["sched/timesteps"].float())
    got = []

    def walk(predict, start, sigmas, extra_args=None, callback=None, disable=None):
        for step, level in enumerate(levels):
            faced.step = plain.step = step
            faced.sigma = plain.sigma = level
            x = golden["step/latents"][step] * (level**2 + 1).sqrt()  # the host's latents carry no scale
            got.append((x - predict(x, level.expand(len(x)), **extra_args)) / level)
        return start

    start = golden["step/latents"][0]
    sigmas = torch.cat([levels, torch.zeros(1)])
    guider.sample(start, torch.zeros_like(start), comfy.samplers.KSAMPLER(walk), sigmas, seed=0)
    golden.check("step/guided", torch.stack(got), 1e-5)
    assert len(got) == 4


# -- neutral ---------------------------------------------------------------------------------------------------------


@pytest.mark.exact
@pytest.mark.parametrize("kind", ["identity", "text-then-identity", "direction"])
def test_neutral_is_the_plain_run_bit_for_bit_and_costs_no_more(run, parts, evaluations, kind):
    want = sample(basic(parts.model, parts.positive))
    plain = len(evaluations)
    guider = guider_of(run, model=parts.model, positive=parts.positive, negative=parts.negative, kind=kind, **NEUTRAL)
    assert torch.equal(sample(guider), want)
    assert evaluations == [1] * plain * 2


@pytest.mark.exact
def test_neutral_steps_among_others_cost_one_evaluation(run, parts, evaluations):
    inputs = {"model": parts.model, "positive": parts.positive, "negative": parts.negative}
    guider = guider_of(run, **inputs, kind="direction", a="1, 1, 2, 2", b="0", rescale=0.0)
    first = []
    sample(guider, callback=lambda step, x0, x, total: first.append(x0.clone()))
    assert evaluations == [1, 1, 2, 2]
    plain = []
    sample(basic(parts.model, parts.positive), callback=lambda step, x0, x, total: plain.append(x0.clone()))
    assert torch.equal(first[1], plain[1]) and not torch.equal(first[2], plain[2])


@pytest.mark.parametrize(
    ("kind", "rescale", "counts"),
    [
        ("identity", 0.75, [2, 3, 3, 2]),
        ("text-then-identity", 0.0, [1, 3, 3, 1]),
        ("separate", 0.75, [3, 3, 3, 3]),
        ("direction", 0.75, [1, 2, 2, 1]),
    ],
)
def test_a_branch_that_is_weighed_by_nothing_is_not_evaluated(run, parts, evaluations, kind, rescale, counts):
    inputs = {"model": parts.model, "positive": parts.positive, "negative": parts.negative}
    sample(guider_of(run, **inputs, kind=kind, rescale=rescale))
    assert evaluations == counts


# -- what the branches are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["identity", "text-then-identity", "separate", "direction"])
def test_each_kind_is_put_together_from_the_four_plain_predictions(run, parts, kind):
    """Prompt and negative, each with the identity and without, by the host's own guider."""
    faced_negative = parts.applied(on_negative=True)[1]
    n0, n1, p0, p1 = (
        one_look(basic(parts.model, text)).double()
        for text in (parts.empty, faced_negative, parts.text, parts.positive)
    )
    a, b = 2.0, 3.0
    want = {
        "identity": n0 + a * (n1 - n0) + b * (p1 - n1),
        "text-then-identity": n0 + a * (p0 - n0) + b * (p1 - p0),
        "separate": n0 + a * (p0 - n0) + b * (n1 - n0),
        "direction": p0 + a * (p1 - p0),
    }[kind]
    inputs = {"model": parts.model, "positive": parts.positive, "kind": kind, "a": "2", "b": "3", "rescale": 0.0}
    for negative in (parts.negative, faced_negative):  # the identity that it carries is taken off where it must not be
        got = one_look(guider_of(run, negative=negative, **inputs)).double()
        torch.testing.assert_close(got, want, rtol=0, atol=2e-5 * float(want.abs().max()))


def test_rescaling_is_of_the_velocity(run, parts):
    """FLUX predicts the velocity (x - x0) / sigma: its spread, not the picture's, comes back."""
    x, level = noise(), 0.75
    inputs = {"model": parts.model, "positive": parts.positive, "negative": parts.negative, "kind": "direction"}
    looks = [one_look(guider_of(run, **inputs, a="3", b="1", rescale=r), x) for r in (0.0, 1.0)]
    full = one_look(basic(parts.model, parts.positive), x)
    spreads = [float(((x - look) / level).std()) for look in (*looks, full)]
    assert spreads[1] == pytest.approx(spreads[2], rel=1e-5)
    assert abs(spreads[0] / spreads[2] - 1) > 1e-3


def test_controlnets_of_others_stay_in_the_branches_without_identity(pack, parts):
    from comfy.controlnet import ControlNet

    conditions = pack.module("nodes.guidance.conditions")
    below, above = (ControlNet(torch.nn.Linear(2, 2), load_device=torch.device("cpu")) for _ in range(2))
    stock = [[parts.text[0][0], {**parts.text[0][1], "control": below, "control_apply_to_uncond": False}]]
    positive = parts.applied(positive=stock)[0]
    ours = positive[0][1]["control"]
    above.set_previous_controlnet(ours)
    topped = [[positive[0][0], {**positive[0][1], "control": above}]]
    ((_, options),) = conditions.without_identity(positive)
    assert options["control"] is below
    ((_, options),) = conditions.without_identity(topped)
    assert options["control"] is not above and options["control"].previous_controlnet is below
    assert above.previous_controlnet is ours and topped[0][1]["control"] is above  # what came stays as it was
    ((_, options),) = conditions.without_identity(parts.positive)
    assert "control" not in options
    assert conditions.without_identity(stock)[0][1]["control"] is below
    nets = conditions.shared(topped)
    ((_, options),) = conditions.with_identity(parts.empty, nets)
    assert [net.tokens is ours.tokens for net in nets] == [True]
    assert options["control"].tokens is ours.tokens and options["control"].previous_controlnet is None


def test_two_people_come_onto_the_negative_in_their_order(pack, parts):
    conditions = pack.module("nodes.guidance.conditions")
    two = parts.applied(positive=parts.applied(strength=0.5)[0], strength=0.25)[0]
    nets = conditions.shared(two)
    assert [net.strength for net in nets] == [0.5, 0.25]
    control = conditions.with_identity(parts.empty, nets)[0][1]["control"]
    assert (control.strength, control.previous_controlnet.strength) == (0.25, 0.5)


def test_parts_of_a_prompt_with_several_identities_are_refused_where_it_is_unclear(run, parts):
    both = [*parts.applied(strength=0.5)[0], *parts.applied(strength=0.7)[0]]
    inputs = {"model": parts.model, "positive": both, "negative": parts.negative}
    with pytest.raises(Exception, match="different identities.*direction"):
        guider_of(run, **inputs)
    assert torch.isfinite(sample(guider_of(run, **inputs, kind="direction"))).all()


def test_patches_are_told_which_branches_have_the_identity(run, parts):
    """0 (the host's "cond") with it, 1 without, however the host batches and numbers them."""
    from comfy.patcher_extension import WrappersMP

    model, seen = parts.model.clone(), []

    def listen(executor, *args, **named):
        options = named["transformer_options"] if "transformer_options" in named else args[-1]
        seen.extend(options["cond_or_uncond"])
        return executor(*args, **named)

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "listen", listen)
    inputs = {"positive": parts.positive, "negative": parts.negative}
    sample(guider_of(run, model=model, **inputs, a="2"), steps=1)
    assert sorted(seen) == [0, 0, 1]


# -- the identity in the MODEL ---------------------------------------------------------------------------------------


def faced(model, amount):
    """A clone whose network's output is changed, as a method that patches the MODEL does."""
    from comfy.patcher_extension import WrappersMP

    model = model.clone()
    model.add_wrapper_with_key(
        WrappersMP.APPLY_MODEL, "face", lambda executor, x, *rest, **named: executor(x, *rest, **named) + amount
    )
    model.model_options["transformer_options"]["face"] = amount
    return model


def test_an_identity_in_the_model_is_guided_beside_the_model_without_it(run, parts):
    model = faced(parts.model, 0.25)
    n0, p0 = (one_look(basic(parts.model, text)).double() for text in (parts.empty, parts.text))
    inputs = {"model": model, "model_without_identity": parts.model, "positive": parts.text, "negative": parts.empty}
    got = one_look(guider_of(run, **inputs, a="2", b="3", rescale=0.0)).double()
    want = n0 + 2 * 0.25 + 3 * (p0 - n0)
    torch.testing.assert_close(got, want, rtol=0, atol=2e-5 * float(want.abs().max()))


def test_options_of_the_identitys_patches_stay_out_of_the_other_model(run, parts):
    """And those of the run come in: the noise levels, by which others' patches count."""
    from comfy.patcher_extension import WrappersMP

    plain, seen = parts.model.clone(), []

    def listen(executor, x, t, c_concat, c_crossattn, control, options, **named):
        seen.append((options.get("face"), len(options["sample_sigmas"])))
        return executor(x, t, c_concat, c_crossattn, control, options, **named)

    plain.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "listen", listen)
    inputs = {"model_without_identity": plain, "positive": parts.text, "negative": parts.empty}
    sample(guider_of(run, model=faced(plain, 0.25), **inputs, a="2"), steps=1)
    assert set(seen) == {(0.25, 2), (None, 2)}


def test_two_models_of_one_network_are_loaded_as_one(run, parts, monkeypatch):
    import comfy.model_management

    asked, original = [], comfy.model_management.load_models_gpu

    def load(models, *args, **named):
        asked.append(sum(entry.model is parts.model.model for entry in models if hasattr(entry, "model")))
        return original(models, *args, **named)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load)
    inputs = {"model_without_identity": parts.model, "positive": parts.text, "negative": parts.empty}
    sample(guider_of(run, model=faced(parts.model, 0.25), **inputs))
    assert asked == [1]


def test_a_lora_in_one_of_the_two_is_told(run, parts, pack, monkeypatch):
    told = []
    monkeypatch.setattr(pack.module("nodes.guidance.decoupled"), "show", lambda node, text: told.append(text))
    model = faced(parts.model, 0.25)
    inputs = {"positive": parts.text, "negative": parts.empty}
    guider_of(run, model=model, model_without_identity=parts.model, **inputs)
    assert told == []
    key = next(key for key in model.model_state_dict() if key.endswith("img_in.weight"))
    model.add_patches({key: (torch.zeros_like(model.model_state_dict()[key]),)}, 1.0)
    guider_of(run, model=model, model_without_identity=parts.model, **inputs)
    assert "different LoRAs" in told[0]


# -- what it refuses and tells ---------------------------------------------------------------------------------------


def test_wrong_graphs_are_refused_in_words(run, parts, mini, pack):
    inputs = {"model": parts.model, "positive": parts.text, "negative": parts.empty}
    with pytest.raises(Exception, match=r"no identity.*Apply InfuseNet Identity.*model_without_identity"):
        guider_of(run, **inputs)
    with pytest.raises(Exception, match="the same.*to the output of the node that adds the identity"):
        guider_of(run, **inputs, model_without_identity=parts.model)
    with pytest.raises(Exception, match="different loaders"):
        guider_of(run, **inputs, model_without_identity=mini("mini-dev")[0])


@pytest.mark.parametrize("text", ["", "one", "1; x", "nan", "1, inf", ","])
@pytest.mark.parametrize("name", ["a", "b"])
def test_weights_that_are_none_are_refused(run, parts, name, text):
    with pytest.raises(Exception, match=f"{name}"):
        guider_of(run, model=parts.model, positive=parts.positive, negative=parts.negative, **{**SHIPPED, name: text})


@pytest.mark.parametrize("text", ["1, 1.5, 1.5, 1", "1 1.5 1.5 1", " 1,1.5;1.5,\n1 "])
def test_weights_may_be_written_loosely(pack, text):
    assert pack.module("nodes.guidance.decoupled").weights(text, "a") == [1, 1.5, 1.5, 1]


@pytest.fixture
def told(pack, monkeypatch):
    found = []
    monkeypatch.setattr(pack.module("nodes.guidance.guider"), "tell", lambda node, text: found.append(text))
    return found


def test_a_run_tells_what_it_costs_and_that_weights_go_on(run, parts, told):
    inputs = {"model": parts.model, "positive": parts.positive, "negative": parts.negative}
    sample(guider_of(run, **inputs, a="1, 2"), steps=6)
    assert len(told) == 1
    assert "17 evaluations of the model in 6 steps (step by step: 2, 3, 3, 3, 3, 3)" in told[0] and "a has 2" in told[0]


def test_a_guidance_that_does_nothing_is_told(run, parts, told):
    inputs = {"positive": parts.text, "negative": parts.empty, "model_without_identity": parts.model}
    sample(guider_of(run, model=parts.model.clone(), **inputs))
    assert "had no effect" in told[-1]
    sample(guider_of(run, model=faced(parts.model, 0.1), **inputs))
    assert "had no effect" not in told[-1]


# -- with the rest of the host ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2s_ancestral"])
def test_samplers_that_look_ahead_have_their_own_steps_weights(run, parts, pack, monkeypatch, sampler):
    """heun evaluates the next noise level within a step: that is this step's evaluation still."""
    module = pack.module("nodes.guidance.guider")
    steps, original = [], module.combine

    def listen(guidance, step, *rest):
        steps.append(step)
        return original(guidance, step, *rest)

    monkeypatch.setattr(module, "combine", listen)
    inputs = {"model": parts.model, "positive": parts.positive, "negative": parts.negative}
    sample(guider_of(run, **inputs), sampler=sampler, steps=3)
    assert steps == [0, 0, 1, 1, 2]


def test_a_batch_is_its_pictures_and_a_mask_keeps_the_rest(run, parts):
    inputs = {"model": parts.model, "positive": parts.positive, "negative": parts.negative}
    x = noise(2)
    both = sample(guider_of(run, **inputs), x)
    for place in range(2):
        alone = sample(guider_of(run, **inputs), x[place : place + 1])
        torch.testing.assert_close(both[place : place + 1], alone, rtol=0, atol=2e-4 * float(alone.abs().max()))
    latent, mask = noise(2).flip(0), torch.zeros(1, 16, 16)
    mask[..., 8:] = 1
    kept = sample(guider_of(run, **inputs), x, latent=latent, mask=mask)
    torch.testing.assert_close(kept[..., :7], latent[..., :7], rtol=0, atol=1e-4)
    assert float((kept - latent)[..., 8:].abs().max()) > 0.1


@pytest.mark.exact
def test_a_probe_before_it_changes_nothing_and_sees_every_step(run, parts, recognizer, person):
    inputs = {"positive": parts.positive, "negative": parts.negative}
    want = sample(guider_of(run, model=parts.model, **inputs))
    settings = {"recognizer": recognizer, "reference": person, "when": "live", "every": 1, "vae": parts.vae}
    probed, watch = run("IdentityProbe", model=parts.model, **settings)
    assert torch.equal(sample(guider_of(run, model=probed, **inputs)), want)
    (one,) = watch.runs.values()
    assert one.trace.status == "complete" and [record.step for record in one.trace.records] == [1, 2, 3, 4]
    other = {"positive": parts.text, "negative": parts.empty, "model_without_identity": parts.model}
    behind, second = run("IdentityProbe", model=faced(parts.model, 0.1), **settings)
    before = faced(probed, 0.1)  # the probe before the identity's node, where both models have it
    other_before = {**other, "model_without_identity": probed}
    wanted = sample(guider_of(run, model=faced(parts.model, 0.1), **other))
    assert torch.equal(sample(guider_of(run, model=behind, **other)), wanted)
    assert torch.equal(sample(guider_of(run, model=before, **other_before)), wanted)
    assert [len(run.trace.records) for run in (*second.runs.values(), *watch.runs.values())] == [4, 4]


def test_stop_at_identity_peak_cuts_its_run_short(run, parts, recognizer, person, monkeypatch, pack):
    settings = {"recognizer": recognizer, "reference": person, "when": "live", "every": 1, "vae": parts.vae}
    probed, watch = run("IdentityProbe", model=parts.model, **settings)
    stopped = run("StopAtPeak", model=probed, patience=2, min_steps=2, tolerance=0.01, share=0.3, tail_steps=2)[0]
    stopping = pack.module("nodes.probe.stopping")
    monkeypatch.setattr(stopping, "is_on_course", lambda values, bar: True)
    module, steps, original = pack.module("nodes.guidance.guider"), [], None
    original = module.combine

    def listen(guidance, step, *rest):
        steps.append(step)
        return original(guidance, step, *rest)

    monkeypatch.setattr(module, "combine", listen)
    out = sample(guider_of(run, model=stopped, positive=parts.positive, negative=parts.negative), steps=10)
    (one,) = watch.runs.values()
    assert torch.isfinite(out).all() and one.cut is not None
    assert steps[:3] == [0, 1, 2] and len(steps) == 5 and steps[3] >= 3  # the tail's steps are the schedule's own


def test_an_interrupt_goes_through_and_the_guider_works_again(run, parts):
    import comfy.model_management

    guider = guider_of(run, model=parts.model, positive=parts.positive, negative=parts.negative)
    want = sample(guider)

    def cancel(step, *rest):
        raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(guider, callback=cancel)
    assert torch.equal(sample(guider), want)


def test_functions_after_cfg_are_called_with_the_branches(run, parts):
    model, seen = parts.model.clone(), []

    def after(args):
        seen.append(args)
        return args["denoised"] + 1

    plain = one_look(guider_of(run, model=model, positive=parts.positive, negative=parts.negative, a="2"))
    model = copy.copy(model).clone()
    model.set_model_sampler_post_cfg_function(after)
    got = one_look(guider_of(run, model=model, positive=parts.positive, negative=parts.negative, a="2"))
    torch.testing.assert_close(got, plain + 1)
    assert not torch.equal(seen[0]["cond_denoised"], seen[0]["uncond_denoised"])
