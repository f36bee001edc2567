"""When InfuseNet is computed anew: the policies, what is kept between, and runs of the pipeline with them."""

import math
import weakref

import pytest
import torch

from infusenet import miniature
from infusenet.errors import SettingsError
from infusenet.loading import load_pipeline
from infusenet.speed import EVERY_STEP, Evaluation, RefreshAt, RefreshEvery, RefreshWhen, Reuse, parse_refresh


def at(step, latents=None, sigma=0.5):
    return Evaluation(step, sigma, torch.ones(1, 4) if latents is None else latents)


def computed(policy, steps, latents=None):
    """The steps, from 0, at which a network is computed in a run whose steps are given."""
    reuse, found = Reuse(policy), []
    for step in steps:
        reuse.of("a", at(step, None if latents is None else latents[step]), lambda step=step: found.append(step))
    return found


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("every step", [0, 1, 2, 3, 4, 5]),
        ("every 1", [0, 1, 2, 3, 4, 5]),
        ("every 2", [0, 2, 4]),
        (" Every 4 steps", [0, 4]),
        ("1,3", [0, 2]),
        ("1", [0]),
        ("2, 5", [0, 1, 4]),  # the first is always computed
        ("99", [0]),
    ],
)
def test_at_which_steps(text, steps):
    assert computed(parse_refresh(text), range(6)) == steps


def test_steps_are_counted_from_where_it_acts():
    assert computed(RefreshEvery(3), range(2, 9)) == [2, 5, 8]
    assert computed(RefreshAt((1, 3, 6)), range(3, 9)) == [3, 5]
    assert computed(RefreshAt((1, 3)), [0, 5, 6]) == [0, 5]  # it rested at step 3


@pytest.mark.parametrize("text", ["every step", "every 7", "1,3,9", "adaptive", "adaptive 0.2"])
def test_a_policy_says_what_it_is(text):
    assert str(parse_refresh(text)) == text
    assert parse_refresh(parse_refresh(text)) == parse_refresh(text)


@pytest.mark.parametrize(
    "text", ["", "often", "every", "every 0", "every -1", "0,1", "3,1", "1,1", "1,,2", "1.5", "every 99999",
             "adaptive 0", "adaptive 3", "adaptive nan", "adaptive -1", "1;3", "²"]
)  # fmt: skip
def test_what_says_nothing_is_refused(text):
    with pytest.raises(SettingsError, match=r'Expected refresh as "every step", "every 4"'):
        parse_refresh(text)


def turned(degrees):
    return torch.tensor([[math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]])


def test_adaptive_goes_by_how_far_the_latents_have_turned():
    policy = RefreshWhen(1 - math.cos(math.radians(30)) - 1e-6)
    run = [turned(degrees) for degrees in (0, 10, 20, 30, 45, 59, 61)]
    assert computed(policy, range(7), run) == [0, 3, 6]
    assert computed(policy, range(7), [3 * latents for latents in run]) == [0, 3, 6]


def test_of_a_batch_the_picture_that_has_changed_most_decides():
    still = [torch.cat([turned(0), turned(degrees)]) for degrees in (0, 10, 40)]
    assert computed(RefreshWhen(1 - math.cos(math.radians(30))), range(3), still) == [0, 2]


def test_latents_that_a_sampler_writes_into_are_remembered_as_they_were():
    latents = turned(0)
    reuse = Reuse(RefreshWhen(0.5))
    reuse.of("a", at(0, latents), lambda: 1)
    latents.copy_(turned(90))
    assert reuse.of("a", at(1, latents), lambda: 2) == 2


def test_a_step_that_computes_does_so_at_each_of_its_evaluations():
    """heun looks at two noise levels a step."""
    assert computed(RefreshEvery(2), [0, 0, 1, 1, 2, 2]) == [0, 0, 2, 2]


def test_keys_are_kept_apart():
    reuse = Reuse(RefreshAt((1,)))
    assert [reuse.of(key, at(0), lambda key=key: key) for key in "ab"] == ["a", "b"]
    assert [reuse.of(key, at(1), lambda: "new") for key in "abc"] == ["a", "b", "new"]


def test_what_is_kept_is_freed():
    class Values:
        pass

    def make():
        values = Values()
        seen.append(weakref.ref(values))
        return values

    seen = []
    with Reuse(RefreshEvery(2)) as reuse:
        for step in range(3):
            reuse.of("a", at(step), make)
        assert [one() is None for one in seen] == [True, False]
        Reuse(EVERY_STEP).of("a", at(0), make)
        assert seen[-1]() is None
    assert all(one() is None for one in seen)


# -- runs of the pipeline --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mini():
    pipeline = load_pipeline("mini-schnell")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def tokens(mini):
    width = mini.controlnet.config.joint_attention_dim
    return torch.randn(1, 8, width, generator=torch.Generator().manual_seed(3))


def sample(pipeline, tokens, **changes):
    """The latents of a short run, and the steps at which InfuseNet was computed, by branch."""
    calls = []
    step = [0]
    handle = pipeline.controlnet.register_forward_pre_hook(lambda *_: calls.append(step[0]))

    def count(_pipeline, i, _t, values):
        step[0] = i + 1
        return {}

    given = {
        "prompt": "a portrait",
        "identity": tokens,
        "width": 128,
        "height": 128,
        "num_inference_steps": 5,
        "generator": torch.Generator().manual_seed(1),
        "output_type": "latent",
        "callback_on_step_end": count,
    }
    try:
        return pipeline(**(given | changes)).images, calls
    finally:
        handle.remove()


@pytest.mark.exact
def test_every_step_is_the_run_without_the_setting(mini, tokens):
    plain, calls = sample(mini, tokens)
    same, again = sample(mini, tokens, refresh="every step")
    assert torch.equal(plain, same) and calls == again == [0, 1, 2, 3, 4]
    assert torch.equal(plain, sample(mini, tokens, refresh=RefreshEvery(1))[0])


@pytest.mark.parametrize(("text", "steps"), [("1,3", [0, 2]), ("every 2", [0, 2, 4]), ("1", [0])])
def test_a_run_computes_at_these_steps(mini, tokens, text, steps):
    kept, calls = sample(mini, tokens, refresh=text)
    assert calls == steps
    assert not torch.allclose(kept, sample(mini, tokens)[0], atol=1e-3)


def test_kept_residuals_are_those_of_the_step_that_computed(mini, tokens):
    seen = []

    def note(_pipeline, _i, _t, values):
        seen.append(values["controlnet_block_samples"])
        return {}

    inputs = ["controlnet_block_samples"]
    sample(mini, tokens, refresh="1,3", callback_on_step_end=note, callback_on_step_end_tensor_inputs=inputs)
    assert [one is seen[0] for one in seen] == [True, True, False, False, False]
    assert all(one is seen[2] for one in seen[3:])


@pytest.mark.parametrize(("branches", "times"), [("positive", 1), ("both", 2)])
def test_each_branch_of_true_cfg_keeps_its_own(mini, tokens, branches, times):
    guided = {"negative_prompt": "blurred", "true_cfg_scale": 2.0, "branches": branches}
    kept, calls = sample(mini, tokens, refresh="every 2", **guided)
    assert calls == sorted([0, 2, 4] * times)
    plain, _ = sample(mini, tokens, **guided)
    assert not torch.allclose(kept, plain, atol=1e-3)


def test_kept_residuals_go_to_the_branch_that_computed_them(mini, tokens):
    seen = []  # the two branches in turn, step by step
    handle = mini.transformer.register_forward_pre_hook(
        lambda _m, _a, values: seen.append(values["controlnet_block_samples"]), with_kwargs=True
    )
    try:
        sample(mini, tokens, refresh="every 2", negative_prompt="blurred", true_cfg_scale=2.0, branches="both")
    finally:
        handle.remove()
    cond, uncond = seen[::2], seen[1::2]
    for step in (1, 3):
        assert cond[step] is cond[step - 1] and uncond[step] is uncond[step - 1]
        assert cond[step] is not uncond[step]


def test_a_window_counts_the_steps_of_the_run(mini, tokens):
    _, calls = sample(mini, tokens, refresh="1,4", control_guidance_start=0.2)
    assert calls == [1, 3]
    _, calls = sample(mini, tokens, refresh="every 2", control_guidance_start=0.2, control_guidance_end=0.8)
    assert calls == [1, 3]


def test_a_batch_is_its_pictures(mini, tokens):
    width = mini.controlnet.config.joint_attention_dim
    two = torch.cat([tokens, torch.randn(1, 8, width, generator=torch.Generator().manual_seed(4))])
    noise = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(5))
    texts = ["a portrait", "a portrait"]
    both, calls = sample(mini, two, refresh="1,3", prompt=texts, latents=noise)
    assert calls == [0, 2]
    for number in range(2):
        one, _ = sample(mini, two[number : number + 1], refresh="1,3", latents=noise[number : number + 1])
        torch.testing.assert_close(both[number], one[0], rtol=1e-4, atol=1e-4)


def test_another_control_image_given_by_a_callback_is_used(mini, tokens):
    calls = []

    def exchange(_pipeline, i, _t, values):
        return {"control_image": values["control_image"] + 1.0} if i == 1 else values

    handle = mini.controlnet.register_forward_pre_hook(
        lambda _m, _a, values: calls.append(values["controlnet_cond"]), with_kwargs=True
    )
    try:
        sample(
            mini,
            tokens,
            refresh="1",
            callback_on_step_end=exchange,
            callback_on_step_end_tensor_inputs=["control_image"],
        )
    finally:
        handle.remove()
    assert len(calls) == 2 and torch.equal(calls[1], calls[0] + 1.0)


def test_nothing_is_kept_after_a_run_and_after_one_that_broke(mini, tokens):
    kept = []

    def note(stop):
        def callback(_pipeline, i, _t, values):
            kept.extend(weakref.ref(tensor) for tensor in values["controlnet_block_samples"])
            if i == stop:
                raise KeyboardInterrupt
            return {}

        return callback

    inputs = {"callback_on_step_end_tensor_inputs": ["controlnet_block_samples"]}
    sample(mini, tokens, refresh="1", callback_on_step_end=note(None), **inputs)
    with pytest.raises(KeyboardInterrupt):
        sample(mini, tokens, refresh="1", callback_on_step_end=note(1), **inputs)
    assert kept and all(one() is None for one in kept)


def test_what_was_kept_is_freed_before_the_picture_is_decoded(mini, tokens, monkeypatch):
    kept, alive = [], []

    def note(_pipeline, _i, _t, values):
        kept.extend(weakref.ref(tensor) for tensor in values["controlnet_block_samples"])
        return {}

    decode = mini._decode

    def look(*given):
        alive.extend(one() is not None for one in kept)
        return decode(*given)

    monkeypatch.setattr(mini, "_decode", look)
    inputs = ["controlnet_block_samples"]
    sample(
        mini,
        tokens,
        refresh="1",
        output_type="pt",
        callback_on_step_end=note,
        callback_on_step_end_tensor_inputs=inputs,
    )
    assert alive and not any(alive)


def test_what_cannot_be_meant_is_refused_before_the_run(mini, tokens):
    with pytest.raises(SettingsError, match="Expected refresh as"):
        sample(mini, tokens, refresh="daily")


def test_generate_hands_it_on_and_the_picture_tells(mini, monkeypatch):
    from infusenet.generate import GenerateRequest, generate

    class Stop(Exception):
        pass

    seen = {}
    monkeypatch.setattr(type(mini), "__call__", lambda _self, **given: seen.update(given) or _stop())

    def _stop():
        raise Stop

    request = GenerateRequest("a portrait", refresh="1, 3")
    with pytest.raises(Stop):
        generate(mini, None, request)
    assert seen["refresh"] == "1, 3"
    with pytest.raises(SettingsError, match="Expected refresh as"):
        GenerateRequest("a portrait", refresh="daily")
    assert miniature.BACKBONES
