"""Decoupled guidance in InfuseNetPipeline: what each branch sees, and how a step is put together from them."""

import logging
from types import SimpleNamespace

import pytest
import torch

from infusenet.adapters.infusenet.model import InfuseNetModel
from infusenet.adapters.infusenet.pipeline import InfuseNetPipeline
from infusenet.errors import SettingsError
from infusenet.guidance.decoupled import KINDS, Decoupled
from infusenet.guidance.joint import attention_named

NEUTRAL = [Decoupled("identity", 1, 1, 0), Decoupled("text-then-identity", 1, 1, 0), Decoupled("direction", 1, 7, 0)]


@pytest.fixture(scope="module", params=["dev_5x9", "schnell_5x9"])
def pipeline(request, goldens):
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    scheduler = goldens.model(f"scheduler_{request.param.split('_')[0]}")
    made = InfuseNetPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(scheduler),
        vae=AutoencoderKL.from_pretrained(goldens.model("vae")),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=FluxTransformer2DModel.from_pretrained(goldens.model(request.param)),
        controlnet=InfuseNetModel.load(goldens.model("infusenet_2x4")),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def given(goldens):
    """A call of two pictures, four steps, with a negative prompt."""
    case, other = goldens("cases/dev_batch2"), goldens("cases/dev_truecfg")
    return {
        "prompt_embeds": case["in/prompt_embeds"],
        "pooled_prompt_embeds": case["in/pooled"],
        "negative_prompt_embeds": other["in/negative_prompt_embeds"].expand(2, -1, -1),
        "negative_pooled_prompt_embeds": other["in/negative_pooled"].expand(2, -1),
        "identity": case["in/id_tokens"],
        "latents": case["in/latents_init"],
        "width": case.meta["case"]["width"],
        "height": case.meta["case"]["height"],
        "num_inference_steps": 4,
        "output_type": "latent",
    }


def sampled(pipeline, given, **changes):
    """The latents, the velocities by steps, and each call of the backbone: whose text, and whether with residuals."""
    velocities, calls = [], []

    def note(_pipeline, _step, _t, values):
        velocities.append(values["noise_pred"])
        return {}

    def heard(_module, _args, named):
        positive = torch.equal(named["pooled_projections"], given["pooled_prompt_embeds"])
        calls.append((positive, named["controlnet_block_samples"] is not None))

    handle = pipeline.transformer.register_forward_pre_hook(heard, with_kwargs=True)
    try:
        call = given | changes
        result = pipeline(
            **call, callback_on_step_end=note, callback_on_step_end_tensor_inputs=["latents", "noise_pred"]
        )
    finally:
        handle.remove()
    return SimpleNamespace(latents=result.images, velocities=velocities, calls=calls)


def branch(pipeline, given, *, prompt, identity):
    """The velocity of a run's first step with one branch alone."""
    call = dict(given)
    negative = {key.removeprefix("negative_"): call.pop(key) for key in list(call) if key.startswith("negative_")}
    if not prompt:
        call |= negative
    if not identity:
        call["identity"] = None
    return sampled(pipeline, call).velocities[0]


@pytest.mark.exact
@pytest.mark.parametrize("neutral", NEUTRAL, ids=lambda one: one.kind)
def test_neutral_settings_are_the_run_without(pipeline, given, neutral):
    plain, got = sampled(pipeline, given), sampled(pipeline, given, decoupled=neutral)
    assert torch.equal(got.latents, plain.latents)
    assert got.calls == plain.calls == [(True, True)] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_put_together_from_branches_run_alone(pipeline, given, kind):
    """By FastFace's formulas as written, u + a (e1 - u) + b (e2 - e1), without the rescaling."""
    a, b = 1.5, 3.0
    plain = branch(pipeline, given, prompt=False, identity=False)
    face = branch(pipeline, given, prompt=False, identity=True)
    text = branch(pipeline, given, prompt=True, identity=False)
    both = branch(pipeline, given, prompt=True, identity=True)
    want = {
        "identity": plain + a * (face - plain) + b * (both - face),
        "text-then-identity": plain + a * (text - plain) + b * (both - text),
        "separate": plain + a * (text - plain) + b * (face - plain),
        "direction": text + a * (both - text),
    }[kind]
    got = sampled(pipeline, given, decoupled=Decoupled(kind, a, b, 0)).velocities[0]
    torch.testing.assert_close(got, want, rtol=0, atol=2e-5 * float(want.abs().max()))
    assert float((want - both).abs().max()) > 1e-3 * float(want.abs().max())


def test_weights_are_those_of_the_step_and_the_last_goes_on(pipeline, given, caplog):
    with caplog.at_level(logging.WARNING):
        short = sampled(pipeline, given, decoupled=Decoupled("direction", (1, 2), 1, 0))
    assert [record.getMessage() for record in caplog.records] == [
        "a has 2 weights for 4 steps: the last one is repeated."
    ]
    long = sampled(pipeline, given, decoupled=Decoupled("direction", (1, 2, 2, 2), 1, 0))
    assert torch.equal(short.latents, long.latents)
    assert short.calls == [(True, True)] + [(True, False), (True, True)] * 3  # the first is neutral
    assert torch.equal(short.velocities[0], sampled(pipeline, given).velocities[0])


def test_where_infusenet_rests_no_branch_is_run_twice(pipeline, given):
    half = sampled(pipeline, given, control_guidance_end=0.5, decoupled=Decoupled("identity", 2, 3, 0))
    assert half.calls == [(False, False), (False, True), (True, True)] * 2 + [(False, False), (True, False)] * 2
    direction = sampled(pipeline, given, control_guidance_end=0.5, decoupled=Decoupled("direction", 2, 1, 0))
    assert direction.calls == [(True, False), (True, True)] * 2 + [(True, False)] * 2


def test_direction_needs_no_negative_prompt(pipeline, given):
    kept = {key: value for key, value in given.items() if not key.startswith("negative_")}
    direction = Decoupled("direction", 2, 1, 0.75)
    assert torch.equal(
        sampled(pipeline, kept, decoupled=direction).latents, sampled(pipeline, given, decoupled=direction).latents
    )
    with pytest.raises(SettingsError, match="negative_prompt_embeds"):  # and these encoders cannot encode an empty one
        sampled(pipeline, kept, decoupled=Decoupled())


def test_true_cfg_beside_it_is_refused(pipeline, given):
    with pytest.raises(SettingsError, match="replaces true CFG"):
        sampled(pipeline, given, decoupled=Decoupled(), true_cfg_scale=2.0)


def test_a_picture_of_a_batch_is_the_picture_alone(pipeline, given):
    """Within rounding; the rescaling is each picture's own."""
    both = sampled(pipeline, given, decoupled=Decoupled()).latents
    one = {key: value[:1] if torch.is_tensor(value) and len(value) == 2 else value for key, value in given.items()}
    alone = sampled(pipeline, one, decoupled=Decoupled()).latents
    torch.testing.assert_close(both[:1], alone, rtol=0, atol=1e-4 * float(alone.abs().max()))


def test_attention_is_manipulated_in_every_branch_with_the_identity(pipeline, given):
    """And the pipeline hands its step on."""
    plain = sampled(pipeline, given)
    got = sampled(pipeline, given, attention=attention_named("scale", 3))
    assert float((got.velocities[0] - plain.velocities[0]).abs().max()) > 0
    direction = sampled(
        pipeline, given, attention=attention_named("scale", 3), decoupled=Decoupled("direction", 2, 1, 0)
    )
    text = branch(pipeline, given, prompt=True, identity=False)
    want = text + 2 * (got.velocities[0] - text)
    torch.testing.assert_close(direction.velocities[0], want, rtol=0, atol=2e-5 * float(want.abs().max()))
