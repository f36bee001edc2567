"""Schedule against diffusers and the recorded tables, windows and mapping against recordings, packing by indices."""

import math

import numpy as np
import pytest
import torch

from infusenet.backbones import BACKBONES, published
from infusenet.errors import SettingsError
from infusenet.sampling import (
    conditioning_window,
    denoised_from_latents,
    denoised_from_velocity,
    floor_size,
    flux_mu,
    flux_sigmas,
    no_effect,
    pack_latents,
    residual_index,
    tail,
    unpack_latents,
)


@pytest.mark.exact
@pytest.mark.parametrize("name", [name for name, spec in BACKBONES.items() if spec.family == "flux"])
def test_sigmas_are_bit_equal_to_diffusers(name):
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    spec = BACKBONES[name]
    fields = ("use_dynamic_shifting", "shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
    scheduler = FlowMatchEulerDiscreteScheduler(**{field: getattr(spec, field) for field in fields})
    for tokens in (1, 36, 64, 256, 3888, 4096, 9216):
        mu = calculate_shift(tokens, spec.base_image_seq_len, spec.max_image_seq_len, spec.base_shift, spec.max_shift)
        for steps in range(1, 61):
            scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
            got = flux_sigmas(steps, spec, image_seq_len=tokens)
            assert got.dtype == torch.float32
            assert torch.equal(got, scheduler.sigmas), (tokens, steps)


@pytest.mark.exact
def test_sigmas_equal_the_recorded_table(goldens):
    rows = goldens.table("schedules")
    assert len(rows) >= 80
    for row in rows:
        spec = published(row["flavour"])
        width, height = floor_size(row["width"], row["height"])
        tokens = width // 16 * (height // 16)
        assert tokens == row["image_seq_len"]
        assert flux_mu(spec, tokens) == pytest.approx(row["mu"], rel=1e-12)
        sigmas = flux_sigmas(row["steps"], spec, image_seq_len=tokens)
        assert sigmas.tolist() == row["sigmas_float32"]
        assert (sigmas[:-1] * 1000).tolist() == row["timesteps_float32"]
        timestep = (sigmas[:-1] * 1000).bfloat16() / 1000  # what a pipeline hands over; the model multiplies again
        assert (timestep * 1000).tolist() == row["model_timestep_bf16"]


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_steps_must_be_whole_and_positive(steps):
    with pytest.raises(SettingsError, match="whole number of steps"):
        flux_sigmas(steps, BACKBONES["flux-dev"], image_seq_len=64)
    with pytest.raises(SettingsError, match="whole number of steps"):
        conditioning_window(steps, 0.0, 1.0)


def test_sigmas_of_an_empty_picture_are_refused():
    with pytest.raises(SettingsError, match="at least one image token"):
        flux_sigmas(4, BACKBONES["flux-dev"], image_seq_len=0)


def test_windows_equal_the_recorded_table(goldens):
    rows = goldens.table("windows")
    assert len(rows) >= 60
    for row in rows:
        window = conditioning_window(row["steps"], row["start"], row["end"])
        assert [row["scale"] * on for on in window] == row["seen"], row


def test_window_of_the_readme():
    assert conditioning_window(4, 0.1, 0.6) == [False, True, False, False]
    assert conditioning_window(4, 0.0, 0.5) == [True, True, False, False]
    assert conditioning_window(1, 0.0, 0.99) == [False]


@pytest.mark.parametrize(("start", "end"), [(-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0), (0.0, math.inf)])
def test_a_window_outside_the_run_is_refused(start, end):
    with pytest.raises(SettingsError, match="from 0 to 1"):
        conditioning_window(4, start, end)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ((1.0, 0.0, 1.0), None),
        ((1.0, 0.0, 1.0, 1), None),
        ((1.0, 0.5, 0.5), None),  # of noise levels nobody knows yet
        ((0.0, 0.0, 1.0), "strength 0"),
        ((1.0, 0.8, 0.2), "after its end"),
        ((1.0, 0.5, 0.5, 4), "no whole step lies between"),
        ((1.0, 0.0, 0.9, 1), "one step is 1 of the run"),
    ],
)
def test_settings_that_do_nothing_are_told(settings, word):
    why = no_effect(*settings)
    assert why is None if word is None else word in why


def test_mapping_equals_the_recorded_table(goldens):
    seen = 0
    for row in goldens.table("block_mapping"):
        for kind, n_blocks, n_residuals in zip(("double", "single"), row["base"], row["infusenet"], strict=True):
            if n_residuals == 0:  # no such residuals: the blocks get none
                continue
            assert [residual_index(i, n_blocks, n_residuals) for i in range(n_blocks)] == row[kind]
            seen += 1
    assert seen >= 10


def test_mapping_of_the_published_sizes():
    double = [residual_index(i, 19, 4) for i in range(19)]
    single = [residual_index(i, 38, 10) for i in range(38)]
    assert [double.count(i) for i in range(4)] == [5, 5, 5, 4]
    assert [single.count(i) for i in range(10)] == [4] * 9 + [2]


@pytest.mark.parametrize(("block", "blocks", "residuals"), [(5, 5, 2), (-1, 5, 2), (0, 5, 0)])
def test_mapping_of_what_is_not_there_is_refused(block, blocks, residuals):
    with pytest.raises(SettingsError, match="at least one residual"):
        residual_index(block, blocks, residuals)


def test_denoised_from_velocity_undoes_the_noise():
    x0, noise = torch.randn(2, 3, 5, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
    sigma = 0.7
    sample = (1 - sigma) * x0 + sigma * noise
    torch.testing.assert_close(denoised_from_velocity(sample, noise - x0, sigma), x0)


def test_denoised_from_two_latents_agrees_with_the_velocity():
    sample, velocity = torch.randn(2, 2, 36, 64, generator=torch.Generator().manual_seed(1)).unbind()
    after = sample + (0.4 - 0.9) * velocity
    torch.testing.assert_close(
        denoised_from_latents(sample, after, 0.9, 0.4),
        denoised_from_velocity(sample, velocity, 0.9),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.exact
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_last_denoised_is_the_last_step(dtype):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[0.7530213594436646])
    sample, velocity = torch.randn(2, 500, generator=torch.Generator().manual_seed(2)).to(dtype).unbind()
    got = denoised_from_velocity(sample, velocity, scheduler.sigmas[0])
    assert got.dtype == dtype
    assert torch.equal(got, scheduler.step(velocity, scheduler.timesteps[0], sample).prev_sample)
    assert torch.equal(got, denoised_from_velocity(sample, velocity, float(scheduler.sigmas[0])))
    exact = sample.double() - float(scheduler.sigmas[0]) * velocity.double()
    assert (got.double() - exact).abs().max() <= 4 * torch.finfo(dtype).eps


def test_denoised_from_equal_noise_levels_is_refused():
    with pytest.raises(SettingsError, match="two different noise levels"):
        denoised_from_latents(torch.zeros(1), torch.zeros(1), 0.5, 0.5)


def test_packing_order_is_channel_row_column():
    latents = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    tokens = pack_latents(latents)
    assert tokens.shape == (2, 6, 12)
    for token, (row, column) in enumerate((r, c) for r in range(2) for c in range(3)):
        for channel in range(12):
            c, dy, dx = channel // 4, channel // 2 % 2, channel % 2
            assert tokens[1, token, channel] == latents[1, c, 2 * row + dy, 2 * column + dx]
    assert torch.equal(unpack_latents(tokens, 32, 48), latents)
    assert torch.equal(unpack_latents(tokens, 47, 63), latents)  # sizes are floored


def test_packing_equals_the_recordings(golden_case):
    for key in ("in/latents_init", "out/latents"):
        tokens, latents = golden_case[key], golden_case[f"{key}_unpacked"]
        height, width = (8 * side for side in latents.shape[-2:])
        assert torch.equal(pack_latents(latents), tokens)
        assert torch.equal(unpack_latents(tokens, height, width), latents)


def test_shapes_that_cannot_be_packed_are_refused():
    with pytest.raises(SettingsError, match=r"even H and W, got \[1, 16, 5, 4\]"):
        pack_latents(torch.zeros(1, 16, 5, 4))
    with pytest.raises(SettingsError, match=r"tokens \[B, 6, C\] for 48x32 pixels, got \[1, 5, 64\]"):
        unpack_latents(torch.zeros(1, 5, 64), 32, 48)


@pytest.mark.parametrize(
    ("size", "floored"), [((864, 1152), (864, 1152)), ((100, 150), (96, 144)), ((31, 16), (16, 16))]
)
def test_sizes_are_floored(size, floored):
    assert floor_size(*size) == floored


def test_a_size_below_one_token_is_refused():
    with pytest.raises(SettingsError, match="at least 16x16 pixels, got 15x64"):
        floor_size(15, 64)


def test_a_tail_keeps_the_ends_and_the_schedules_shape():
    levels = flux_sigmas(28, published("dev"), image_seq_len=4096)
    got = tail(levels, 8, 4)
    assert got.dtype == levels.dtype and torch.equal(got, levels[[8, 13, 18, 23, 28]]), "every fifth of the rest"
    between = tail(levels, 9, 4)  # 19 steps are left: its levels lie between the schedule's own
    assert len(between) == 5 and between[0] == levels[9] and between[-1] == 0
    assert bool((between.diff() < 0).all()) and levels[14] < between[1] < levels[13]
    assert float(between[1]) == pytest.approx(float(levels[13] + 0.75 * (levels[14] - levels[13])))
    assert torch.equal(levels, flux_sigmas(28, published("dev"), image_seq_len=4096)), "nothing was written to"


@pytest.mark.parametrize("steps", [4, 5, 100])
def test_a_tail_as_long_as_what_is_left_is_what_is_left(steps):
    levels = flux_sigmas(8, published("schnell"), image_seq_len=64)
    assert torch.equal(tail(levels, 4, steps), levels[4:])


def test_tails_at_the_edges():
    levels = [1.0, 0.75, 0.5, 0.25, 0.0]
    assert tail(levels, 0, 2).tolist() == [1.0, 0.5, 0.0], "from the start it is a run of fewer steps"
    assert tail(levels, 3, 1).tolist() == [0.25, 0.0] and tail(levels, 4, 1).tolist() == [0.0]
    assert tail([1.0, 0.5, 0.001], 0, 1).tolist() == pytest.approx([1.0, 0.001]), "what uni_pc writes in place of 0"


@pytest.mark.parametrize(("step", "steps"), [(-1, 2), (5, 2), (2, 0), (2, -1)])
def test_a_tail_that_cannot_be_meant_is_refused(step, steps):
    with pytest.raises(SettingsError, match=r"from 0 to 4"):
        tail([1.0, 0.75, 0.5, 0.25, 0.0], step, steps)
