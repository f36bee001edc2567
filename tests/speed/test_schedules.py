"""Noise levels: the backbone's own, its beginning and then large steps, given ones, and a run that sets its own."""

import pytest
import torch

from infusenet.backbones import BACKBONES
from infusenet.errors import SettingsError
from infusenet.loading import load_pipeline
from infusenet.sampling import flux_sigmas
from infusenet.speed import Adaptive, TwoRate, parse_schedule, relative_change

SIGMAS = flux_sigmas(8, BACKBONES["mini-dev"], image_seq_len=64)


@pytest.mark.parametrize("text", ["exact", "2+4", "0+1", "adaptive", "adaptive 0.1", "1, 0.75, 0.5, 0.25", "0.5"])
def test_a_schedule_says_what_it_is(text):
    assert str(parse_schedule(text)) == text
    assert parse_schedule(parse_schedule(text)) == parse_schedule(text)
    assert parse_schedule(text).evaluations(8) == len(parse_schedule(text).levels(SIGMAS)) - 1


@pytest.mark.parametrize(
    "text", ["", "fast", "2+0", "+4", "-1+4", "1, 1", "0.5, 0.75", "2, 1", "0", "0, 0", "adaptive 0",
             "adaptive 2", "1,,0"]
)  # fmt: skip
def test_what_says_nothing_is_refused(text):
    with pytest.raises(SettingsError, match=r'Expected a schedule as "exact", "2\+4"'):
        parse_schedule(text)


@pytest.mark.exact
def test_two_rates_are_the_beginning_and_a_tail():
    levels = TwoRate(2, 3).levels(SIGMAS)
    assert torch.equal(levels[:3], SIGMAS[:3]) and torch.equal(levels[[2, 3, 4, 5]], SIGMAS[[2, 4, 6, 8]])
    assert torch.equal(TwoRate(2, 6).levels(SIGMAS), SIGMAS) and torch.equal(TwoRate(99, 1).levels(SIGMAS), SIGMAS)
    assert TwoRate(5, 9).evaluations(8) == 8
    between = TwoRate(3, 2).levels(SIGMAS)[4]
    torch.testing.assert_close(between, (SIGMAS[5] + SIGMAS[6]) / 2)


def test_given_levels_end_at_nothing():
    assert parse_schedule("1, 0.5").levels(SIGMAS).tolist() == parse_schedule("1,.5, 0").levels(SIGMAS).tolist()
    assert parse_schedule("1, 0.5").levels(SIGMAS).tolist() == [1.0, 0.5, 0.0]


def test_a_stride_is_the_largest_within_the_error():
    even = [1 - number / 10 for number in range(11)]
    steps = Adaptive(0.02)
    # over m steps: distance m / 10, change .1 m, halved: .005 m^2
    assert [steps.stride(even, 0.1, before) for before in (1, 2, 8)] == [2, 2, 2]
    assert [steps.stride(even, 0.01, before) for before in (1, 2, 8)] == [2, 4, 6]
    assert steps.stride(even, 5.0, 8) == 1 and steps.stride(even, float("nan"), 8) == 1
    assert steps.stride(even, 0.0, 8) == 10 and steps.stride([0.1, 0.0], 0.0, 8) == 1


def test_of_a_batch_the_picture_that_changes_most_decides():
    before = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    now = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert relative_change(now, before) == pytest.approx(0.5)
    assert relative_change(now[:1], before[:1]) == 0


# -- runs of the pipeline --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mini():
    pipeline = load_pipeline("mini-dev")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def tokens(mini):
    width = mini.controlnet.config.joint_attention_dim
    return torch.randn(1, 8, width, generator=torch.Generator().manual_seed(3))


def sample(pipeline, tokens, **changes):
    """Latents of a run, and the noise levels at which the backbone and InfuseNet were asked."""
    asked, helped = [], []
    handles = [
        network.register_forward_pre_hook(
            lambda _m, _a, given, seen=seen: seen.append(float(given["timestep"][0])), with_kwargs=True
        )
        for network, seen in ((pipeline.transformer, asked), (pipeline.controlnet, helped))
    ]
    given = {
        "prompt": "a portrait",
        "identity": tokens,
        "width": 128,
        "height": 128,
        "num_inference_steps": 8,
        "generator": torch.Generator().manual_seed(1),
        "output_type": "latent",
    }
    try:
        return pipeline(**(given | changes)).images, asked, helped
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.exact
def test_exact_is_the_run_without_the_setting(mini, tokens):
    plain, asked, _ = sample(mini, tokens)
    same, again, _ = sample(mini, tokens, schedule="exact")
    assert torch.equal(plain, same) and asked == again


def test_a_run_looks_at_the_levels_of_its_schedule(mini, tokens):
    _, asked, helped = sample(mini, tokens, schedule="2+3")
    assert asked == helped == pytest.approx(TwoRate(2, 3).levels(SIGMAS)[:-1].tolist(), abs=1e-6)
    assert mini.num_timesteps == 5
    _, asked, _ = sample(mini, tokens, schedule="1, 0.5")
    assert asked == [1.0, 0.5]
    assert sample(mini, tokens)[1] == pytest.approx(SIGMAS[:-1].tolist(), abs=1e-6), "the next run has its own again"


def test_a_window_counts_the_steps_that_are_taken(mini, tokens):
    _, asked, helped = sample(mini, tokens, schedule="2+2", control_guidance_end=0.5)
    assert helped == asked[:2] and len(asked) == 4


@pytest.mark.parametrize(("error", "fewest", "most"), [("0.000001", 8, 8), ("0.05", 5, 7), ("1", 4, 4)])
def test_adaptive_takes_what_it_needs_and_ends(mini, tokens, error, fewest, most):
    """With any error allowed strides of 1, 2, 4, 1: the first has nothing to go by, the others double."""
    _, asked, helped = sample(mini, tokens, schedule=f"adaptive {error}")
    assert fewest <= len(asked) == mini.num_timesteps <= most and asked == helped
    assert set(asked) <= set(sample(mini, tokens)[1])
    assert float(mini.scheduler.sigmas[-1]) == 0


def test_an_adaptive_run_is_the_run_of_the_levels_that_it_chose(mini, tokens):
    adaptive, asked, _ = sample(mini, tokens, schedule="adaptive 0.05")
    given, _, _ = sample(mini, tokens, schedule=", ".join(f"{level:.10f}" for level in asked))
    torch.testing.assert_close(adaptive, given, rtol=1e-4, atol=1e-4)


def test_adaptive_keeps_its_window_in_shares_of_the_schedule(mini, tokens):
    _, asked, helped = sample(mini, tokens, schedule="adaptive 1", control_guidance_end=0.5)
    assert helped == [level for level in asked if level > float(SIGMAS[4])] and len(helped) < len(asked)


def test_a_probe_follows_and_the_picture_tells(mini, tokens):
    from dataclasses import replace

    from infusenet import miniature
    from infusenet.cli.picture import probe_for
    from infusenet.generate import GenerateRequest, generate
    from infusenet.measures import MEASURES
    from infusenet.miniature.people import drawn_reference

    measure = MEASURES["face"].load(miniature.FACE_PACK, "cpu")
    recorder = probe_for(mini, measure, [drawn_reference(1)])
    request = GenerateRequest("a portrait of a person", steps=8, schedule="adaptive 1", size=(128, 128))
    result = generate(mini, tokens, request, recorder=recorder)
    assert result.made_with["schedule"] == "adaptive 1" and result.made_with["evaluations"] == 4
    assert result.trace.status == "complete" and len(result.trace.records) == result.trace.steps == 4
    assert result.trace.sigmas == pytest.approx([1.0, *SIGMAS[[1, 3, 7, 8]].tolist()])
    plain = generate(mini, tokens, replace(request, schedule="exact", steps=1))
    assert "evaluations" not in plain.made_with and plain.made_with["schedule"] == "exact"
