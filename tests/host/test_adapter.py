"""InfuseNet among the host's ControlNets: gating, masks, batches, chains, what it refuses."""

from types import SimpleNamespace

import pytest
import torch

SIZE = 16  # latents a side


def noise(batch, height=SIZE, width=SIZE):
    return torch.randn(batch, 16, height, width, generator=torch.Generator().manual_seed(1))


def sample(
    parts, positive, negative=None, x=None, sampler="euler", steps=4, cfg=1.0, latent=None, mask=None, model=None
):
    """A run of the host's sampler, on an even schedule."""
    import comfy.samplers

    x = noise(1) if x is None else x
    guider = comfy.samplers.CFGGuider(model or parts.model)
    guider.set_conds(positive, negative or parts.empty)
    guider.set_cfg(cfg)
    latent = torch.zeros_like(x) if latent is None else latent
    sigmas = torch.linspace(1, 0, steps + 1)
    chosen = comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler
    return guider.sample(x, latent, chosen, sigmas, denoise_mask=mask, seed=3)


def assert_same(got, want):
    """Equal up to float32's rounding, which batches of other sizes do in another order.

    Without any InfuseNet these latents, of up to 18, differ by up to 4e-5 so.
    """
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * float(want.abs().max()) + 1e-6)


@pytest.fixture
def heard(pack, monkeypatch):
    """Every evaluation in order: (noise level, control, the conditioning given)."""
    control_class = pack.module("nodes.infusenet.adapter").InfuseNetControl
    original, seen = control_class.get_control, []

    def get_control(self, x, t, cond, number, options):
        control = original(self, x, t, cond, number, options)
        seen.append((round(float(t[0]), 4), control, x.shape[0], number))
        return control

    monkeypatch.setattr(control_class, "get_control", get_control)
    return seen


def one_evaluation(parts, positive, negative=None, x=None, cfg=1.0):
    """The control of a single evaluation, unmerged with the model."""

    def look(predict, start, sigmas, extra_args=None, callback=None, disable=None):
        predict(start, sigmas[0].expand(len(start)), **extra_args)
        return start

    import comfy.samplers

    return sample(parts, positive, negative, x, comfy.samplers.KSAMPLER(look), cfg=cfg)


# ----------------------------------------------------------------------------------------------- strength


def test_strength_zero_adds_nothing_but_words(applied, parts):
    positive, negative = applied(strength=0.0, negative=parts.empty)
    assert negative is parts.empty
    for (embedding, options), (given, before) in zip(positive, parts.text, strict=True):
        assert embedding is given and {key: options[key] for key in before} == before
        assert set(options) - set(before) == {"infusenet_notices"}
    assert torch.equal(sample(parts, positive), sample(parts, parts.text))


def test_the_identity_acts_and_strength_scales_it(applied, parts, heard):
    for strength in (1.0, 0.5):
        one_evaluation(parts, applied(strength=strength)[0])
    whole, half = (entry[1] for entry in heard)
    for key in ("input", "output"):
        for one, other in zip(whole[key], half[key], strict=True):
            torch.testing.assert_close(one * 0.5, other)
    assert any(float(block.abs().max()) > 0 for block in whole["input"] + whole["output"])


def test_the_negative_side_has_no_identity_unless_asked(applied, parts):
    positive, negative = applied(negative=parts.empty)
    assert negative is parts.empty
    assert positive[0][1]["control_apply_to_uncond"] is False
    positive, negative = applied(negative=parts.empty, on_negative=True)
    assert positive[0][1]["control"] is negative[0][1]["control"]


def test_a_controlnet_that_both_sides_share_stays_on_the_negative(applied, parts):
    """The host's older Apply ControlNet hangs it on the positive and asks for the negative too."""
    from comfy.controlnet import ControlNet

    stock = ControlNet(None)
    shared = [[parts.text[0][0], {**parts.text[0][1], "control": stock, "control_apply_to_uncond": True}]]
    positive, negative = applied(shared, negative=parts.empty)
    assert positive[0][1]["control"].previous_controlnet is stock
    assert positive[0][1]["control_apply_to_uncond"] is False
    assert negative[0][1]["control"] is stock and "control" not in parts.empty[0][1]
    both = applied(shared, negative=parts.empty, on_negative=True)
    assert both[0][0][1]["control"] is both[1][0][1]["control"]
    own = ControlNet(None)
    mine = [[parts.empty[0][0], {**parts.empty[0][1], "control": own}]]
    assert applied(shared, negative=mine)[1][0][1]["control"] is own


def test_a_vae_of_another_kind_is_refused(applied):
    with pytest.raises(Exception, match="16 latent channels. The one connected has 4"):
        applied(vae=SimpleNamespace(latent_channels=4))


def test_without_a_negative_an_empty_one_comes_out(applied, parts):
    _, negative = applied()
    embedding, options = negative[0]
    assert not embedding.any() and not options["pooled_output"].any() and "control" not in options


def test_what_comes_in_is_left_as_it_is(applied, parts):
    before = dict(parts.text[0][1])
    applied()
    assert parts.text[0][1].keys() == before.keys()


# ----------------------------------------------------------------------------------------------- windows

ON, OFF = True, False


@pytest.mark.parametrize(
    ("sampler", "window", "expected"),
    [
        ("euler", (0.0, 1.0), [ON] * 4),
        ("euler", (0.0, 0.5), [ON, ON, OFF, OFF]),
        ("euler", (0.1, 0.6), [OFF, ON, OFF, OFF]),
        ("euler", (0.5, 1.0), [OFF, OFF, ON, ON]),
        ("euler", (0.0, 0.2), [OFF] * 4),
        # step, second look at the next level, step, ...: the second look belongs to its step
        ("heun", (0.0, 0.5), [ON, ON, ON, ON, OFF, OFF, OFF]),
        ("heun", (0.25, 1.0), [OFF, OFF, ON, ON, ON, ON, ON]),
        ("heunpp2", (0.0, 0.5), [ON, ON, ON, ON, ON, ON, OFF, OFF, OFF]),
        ("exp_heun_2_x0", (0.0, 0.5), [ON, ON, ON, ON, OFF, OFF, OFF]),
        ("dpm_2", (0.0, 0.5), [ON, ON, ON, ON, OFF, OFF, OFF]),
        # the middle of a step is the next noise level
        ("dpm_2_ancestral", (0.0, 0.5), [ON, ON, ON, ON, OFF, OFF, OFF]),
        ("dpm_2_ancestral", (0.25, 1.0), [OFF, OFF, ON, ON, ON, ON, ON]),
        ("dpmpp_2s_ancestral_cfg_pp", (0.0, 0.5), [ON, ON, ON, ON, OFF, OFF, OFF]),
        ("dpmpp_2m", (0.0, 0.5), [ON, ON, OFF, OFF]),
    ],
)
def test_step_gate_counts_whole_steps_of_the_sampler(applied, parts, heard, sampler, window, expected):
    import comfy.samplers

    if sampler not in comfy.samplers.SAMPLER_NAMES:
        pytest.skip(f"this ComfyUI has no sampler {sampler}")
    positive, _ = applied(start_percent=window[0], end_percent=window[1])
    sample(parts, positive, sampler=sampler)
    assert [control is not None for _, control, _, _ in heard] == expected


def test_step_gate_counts_in_the_part_that_the_sampler_was_given(applied, parts, heard):
    """A second sampler that takes over half-way counts its own steps."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(parts.model)
    guider.set_conds(applied(end_percent=0.5)[0], parts.empty)
    guider.set_cfg(1.0)
    part = torch.linspace(1, 0, 9)[4:]
    guider.sample(noise(1), torch.zeros(1, 16, SIZE, SIZE), comfy.samplers.sampler_object("euler"), part, seed=0)
    assert [control is not None for _, control, _, _ in heard] == [ON, ON, OFF, OFF]


def test_without_the_samplers_noise_levels_the_window_counts_by_percent(applied, parts):
    """A sampler of another pack may not tell them."""
    control = applied(end_percent=0.5)[0][0][1]["control"]
    control.pre_run(parts.model.model, parts.model.model.model_sampling.percent_to_sigma)
    middle = float(parts.model.model.model_sampling.percent_to_sigma(0.5))
    assert [control._acts(torch.tensor([sigma]), {}) for sigma in (0.99, middle + 0.01, middle - 0.01, 0.1)] == [
        True, True, False, False,
    ]  # fmt: skip
    control.cleanup()


def test_percent_gate_is_the_hosts_and_one_step_longer(applied, parts, heard, mini):
    """schnell's noise level is the share of the run left, so that the host's rule is easy to state."""
    parts = SimpleNamespace(**{**vars(parts), "model": mini("mini-schnell")[0]})
    sample(parts, applied(gate="percent", end_percent=0.5)[0])
    assert [control is not None for _, control, _, _ in heard] == [ON, ON, ON, OFF]


def test_the_callback_still_reaches_the_caller(applied, parts):
    """The clock that counts heun's steps passes everything on."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(parts.model)
    guider.set_conds(applied(end_percent=0.5)[0], parts.empty)
    guider.set_cfg(1.0)
    steps = []
    guider.sample(
        noise(1),
        torch.zeros(1, 16, SIZE, SIZE),
        comfy.samplers.sampler_object("heun"),
        torch.linspace(1, 0, 5),
        callback=lambda step, x0, x, total: steps.append((step, total)),
        seed=0,
    )
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4)]


@pytest.mark.exact
def test_gated_out_equals_no_infusenet(applied, parts):
    """end 0.2 of 4 steps leaves no step."""
    assert torch.equal(sample(parts, applied(end_percent=0.2)[0]), sample(parts, parts.text))


# ----------------------------------------------------------------------------------------------- masks


def halves(soft=False):
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    if soft:
        left = left * 0.5
    return left, 1 - left


@pytest.mark.exact
def test_disjoint_masks_act_alone_each_in_its_region(applied, parts, heard):
    left, right = halves()
    one = applied(mask=left)[0]
    both = applied(positive=one, tokens=parts.tokens[1:2], mask=right)[0]
    one_evaluation(parts, both)
    chained = heard[-1][1]
    heard.clear()
    one_evaluation(parts, applied()[0])
    one_evaluation(parts, applied(tokens=parts.tokens[1:2])[0])
    first, second = heard[0][1], heard[1][1]
    in_left = torch.tensor([column < 4 for _ in range(8) for column in range(8)])
    for key in ("input", "output"):
        for got, a, b in zip(chained[key], first[key], second[key], strict=True):
            torch.testing.assert_close(got[:, in_left], a[:, in_left], rtol=0, atol=0)
            torch.testing.assert_close(got[:, ~in_left], b[:, ~in_left], rtol=0, atol=0)


def test_a_mask_is_averaged_over_each_tokens_area(pack):
    """16 x 16 pixels of a picture at its own size; another size is averaged likewise."""
    mask = torch.rand(2, 48, 32, generator=torch.Generator().manual_seed(0))
    got = pack.module("nodes.infusenet.adapter").mask_to_tokens(mask, 3, 2)
    want = mask.reshape(2, 3, 16, 2, 16).mean((2, 4)).reshape(2, 6, 1)
    torch.testing.assert_close(got, want)
    assert pack.module("nodes.infusenet.adapter").mask_to_tokens(mask, 6, 4).shape == (2, 24, 1)


def test_a_soft_mask_scales_residuals_and_keeps_their_dtype(applied, parts, heard):
    soft, _ = halves(soft=True)
    one_evaluation(parts, applied()[0])
    one_evaluation(parts, applied(mask=soft)[0])
    plain, masked = heard[0][1], heard[1][1]
    scale = torch.tensor([0.5 if column < 4 else 0.0 for _ in range(8) for column in range(8)])[None, :, None]
    for key in ("input", "output"):
        for a, b in zip(plain[key], masked[key], strict=True):
            torch.testing.assert_close(a * scale, b)
            assert a.dtype == b.dtype


def test_overlaps_add(applied, parts, heard):
    everywhere = torch.ones(1, 64, 64)
    one = applied(mask=everywhere)[0]
    one_evaluation(parts, applied(positive=one, mask=everywhere)[0])
    both = heard[-1][1]
    heard.clear()
    one_evaluation(parts, applied()[0])
    for key in ("input", "output"):
        for got, single in zip(both[key], heard[0][1][key], strict=True):
            torch.testing.assert_close(got, single * 2)


# ----------------------------------------------------------------------------------------------- chains


def stock_net(seen):
    """A ControlNet of the host's that notes the conditioning it is given."""
    from comfy.controlnet import ControlBase

    class Noting(ControlBase):
        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            before = None
            if self.previous_controlnet is not None:
                before = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
            seen.append({key: cond[key] for key in ("c_crossattn", "y", "guidance")} | {"keys": set(cond)})
            tokens = (x_noisy.shape[-1] // 2) * (x_noisy.shape[-2] // 2)
            control = {"input": [torch.zeros(x_noisy.shape[0], tokens, 144)] * 2, "output": []}
            return self.control_merge(control, before, None)

        def copy(self):
            other = Noting()
            self.copy_to(other)
            return other

    return Noting()


@pytest.mark.parametrize("ours_first", [True, False])
def test_chained_nets_get_the_original_conditioning(applied, parts, heard, ours_first):
    seen = []
    net = stock_net(seen)
    if ours_first:
        positive = applied()[0]
        net.set_previous_controlnet(positive[0][1]["control"])
        positive = [[positive[0][0], {**positive[0][1], "control": net}]]
    else:
        positive = applied(positive=[[parts.text[0][0], {**parts.text[0][1], "control": net}]])[0]
    one_evaluation(parts, positive)
    assert torch.equal(seen[0]["c_crossattn"], parts.text[0][0])
    assert "crossattn_controlnet" not in seen[0]["keys"]
    assert float(seen[0]["guidance"][0]) == 3.5
    ours = heard[0][1]
    heard.clear()
    one_evaluation(parts, applied()[0])
    for got, alone in zip(ours["output"], heard[0][1]["output"], strict=True):
        torch.testing.assert_close(got, alone)


def test_no_entry_of_the_control_is_none(applied, parts, heard):
    one_evaluation(parts, applied()[0])
    control = heard[0][1]
    assert len(control["input"]) == 2 and len(control["output"]) == 5
    assert all(isinstance(entry, torch.Tensor) for entries in control.values() for entry in entries)


# ----------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("together", [True, False])
def test_batches_equal_single_pictures(applied, parts, heard, batch, together):
    """Positive and negative in one batch (they carry the same control) or apart, one identity."""
    x = noise(batch)
    positive, negative = applied(negative=parts.empty, on_negative=together)
    got = sample(parts, positive, negative, x, steps=2, cfg=2.0)
    if together:
        assert {(entry[2], entry[3]) for entry in heard} == {(2 * batch, 2)}
    for index in range(batch):
        alone = sample(parts, positive, negative, x[index : index + 1], steps=2, cfg=2.0)
        assert_same(got[index : index + 1], alone)


@pytest.mark.parametrize("together", [True, False])
def test_one_identity_a_picture(applied, parts, together):
    x = noise(3)
    positive, negative = applied(tokens=parts.tokens[:3], negative=parts.empty, on_negative=together)
    got = sample(parts, positive, negative, x, steps=2, cfg=2.0)
    for index in range(3):
        alone = applied(tokens=parts.tokens[index : index + 1], negative=parts.empty, on_negative=together)
        want = sample(parts, *alone, x[index : index + 1], steps=2, cfg=2.0)
        assert_same(got[index : index + 1], want)


def test_identities_are_taken_again_from_the_first(pack):
    to_batch = pack.module("nodes.infusenet.adapter").to_batch
    letters = torch.tensor([[1], [2]])
    assert to_batch(letters, 3, 2).flatten().tolist() == [1, 2, 1, 1, 2, 1]
    assert to_batch(letters, 1, 1).flatten().tolist() == [1]
    assert to_batch(letters[:1], 2, 2).flatten().tolist() == [1, 1, 1, 1]


@pytest.mark.exact
def test_what_a_run_shares_is_placed_once(pack, applied, parts, monkeypatch):
    """Tokens, control picture and mask go to the computing device once a run, not once a step."""
    module, placed = pack.module("nodes.infusenet.adapter"), []
    original = module.to_batch
    monkeypatch.setattr(module, "to_batch", lambda *args: placed.append(args) or original(*args))
    positive = applied(mask=torch.ones(1, 128, 128))[0]
    first = sample(parts, positive, steps=4)
    assert len(placed) == 3
    assert not positive[0][1]["control"]._placed
    assert torch.equal(sample(parts, positive, steps=4), first) and len(placed) == 6


# ----------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(("height", "width"), [(15, 17), (12, 20), (9, 16)])
def test_odd_sizes(applied, parts, heard, height, width):
    out = sample(parts, applied(mask=torch.ones(1, 50, 70))[0], x=noise(2, height, width), steps=2)
    assert out.shape == (2, 16, height, width) and bool(torch.isfinite(out).all())
    tokens = -(-height // 2) * -(-width // 2)
    assert heard[0][1]["input"][0].shape[1] == tokens


def test_inpainting_keeps_what_is_not_masked(applied, parts):
    latent = torch.randn(1, 16, SIZE, SIZE)
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., : SIZE // 2] = 1
    out = sample(parts, applied()[0], latent=latent, mask=mask)
    torch.testing.assert_close(out[..., SIZE // 2 :], latent[..., SIZE // 2 :], rtol=0, atol=1e-4)
    assert float((out - latent)[..., : SIZE // 2].abs().max()) > 0.1


def test_a_pose_picture_of_another_size_is_fitted_and_a_cut_is_said(pack, caplog):
    fit = pack.module("nodes.infusenet.hint").fit_pose
    pose = torch.zeros(1, 64, 64, 3)
    pose[:, 16:48, 16:48] = torch.tensor([1.0, 0.0, 0.0])
    taller = fit(pose, 64, 128)
    assert taller.shape == (1, 128, 64, 3) and not taller[:, :32].any() and not taller[:, 96:].any()
    torch.testing.assert_close(taller[:, 32:96], pose)
    assert not caplog.records
    fit(torch.zeros(1, 128, 32, 3), 128, 128)
    assert "cut off" in caplog.text
    assert torch.equal(fit(pose, 64, 64), pose)
    black = fit(None, 48, 32)
    assert black.shape == (1, 32, 48, 3) and not black.any()


def test_a_pose_picture_changes_the_residuals(applied, parts, heard):
    pose = torch.zeros(1, 128, 128, 3)
    pose[:, 40:60, 40:60] = 1
    one_evaluation(parts, applied()[0])
    one_evaluation(parts, applied(pose_image=pose)[0])
    free, posed = heard[0][1], heard[1][1]
    hints = [entry["input"][0] for entry in (free, posed)]
    assert hints[0].shape == hints[1].shape
    assert float((hints[0] - hints[1]).abs().max()) > 1e-3


# ----------------------------------------------------------------------------------------------- refusals


def test_a_model_that_is_not_flux_is_refused_before_sampling(pack, applied, parts):
    from comfy.model_base import ModelType

    control = applied()[0][0][1]["control"]
    other = SimpleNamespace(
        model_config=SimpleNamespace(unet_config={"image_model": "wan2.1"}), model_type=ModelType.FLOW
    )
    with pytest.raises(pack.module("infusenet.errors").SettingsError, match=r"this MODEL is wan2\.1"):
        control.pre_run(other, lambda percent: percent)


def test_an_infusenet_of_another_width_is_refused_before_sampling(pack, run, folders, goldens, parts, applied):
    folders("infinite_you", goldens.model(""))
    pack.module("nodes.paths").register_folders()
    small = run("LoadInfuseNet", infusenet="infusenet_2x4", weight_dtype="default")[0]
    errors = pack.module("infusenet.errors")
    with pytest.raises(errors.SettingsError, match="width 96, but this InfuseNet expects width 40"):
        applied(infusenet=small)
    positive, _ = applied(infusenet=small, tokens=torch.zeros(1, 8, 40))
    with pytest.raises(errors.SettingsError, match=r"width 48, but the MODEL's width is 144"):
        sample(parts, positive)


def test_no_vae_is_said(pack, applied):
    with pytest.raises(pack.module("infusenet.errors").SettingsError, match="vae must be a VAE, got nothing"):
        applied(vae=None)


@pytest.mark.parametrize("kind", ["fp8_e4m3fn", "fp8_e5m2"])
def test_fp8_storage_is_cast_up_to_compute(run, parts, applied, heard, kind):
    """Stored in 8 bits, computed in the usual precision: near the plain result, not equal to it."""
    small = run("LoadInfuseNet", infusenet="miniature", weight_dtype=kind)[0]
    stored = {p.dtype for p in small.control_model.parameters() if p.ndim == 2}
    assert stored == {getattr(torch, "float8_" + kind.removeprefix("fp8_"))}
    plain = sample(parts, applied()[0], steps=2)
    got = sample(parts, applied(infusenet=small)[0], steps=2)
    assert 0 < float((got - plain).norm() / plain.norm()) < 0.2


def test_the_network_is_under_the_hosts_memory_management(applied):
    import comfy.model_patcher

    control = applied()[0][0][1]["control"]
    assert all(isinstance(model, comfy.model_patcher.ModelPatcher) for model in control.get_models())
    assert control.get_models()[-1].model is control.control_model


def test_lora_patched_and_fp8_models_work(run, parts, applied):
    """Whatever patches or stores the MODEL: Apply does not ask."""
    positive = applied()[0]
    plain = sample(parts, positive, steps=2)
    patched = parts.model.clone()
    key = "diffusion_model.double_blocks.0.img_attn.qkv.weight"
    weight = patched.model.get_parameter(key)
    patched.add_patches({key: ("diff", (torch.full_like(weight, 0.01),))}, 1.0)
    none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
    small = run("LoadBackbone", backbone="mini-dev", **none, weight_dtype="fp8_e4m3fn")[0]
    assert small.model.diffusion_model.img_in.weight.dtype == torch.float8_e4m3fn
    for model in (patched, small):
        out = sample(parts, positive, steps=2, model=model)
        assert bool(torch.isfinite(out).all())
        assert 0 < float((out - plain).norm() / plain.norm()) < 1
    torch.testing.assert_close(sample(parts, positive, steps=2), plain)


def test_every_sampler_of_the_host_takes_a_window(applied, parts, heard):
    """Any number of evaluations a step: some inside the window, some outside, and a finite result."""
    import comfy.samplers

    positive, _ = applied(end_percent=0.5)
    x = noise(1, 8, 8)
    refused = []
    for name in comfy.samplers.SAMPLER_NAMES:
        heard.clear()
        try:
            plain = sample(parts, parts.text, x=x, sampler=name)
        except Exception:  # a sampler that this host cannot run on FLUX at all
            refused.append(name)
            continue
        out = sample(parts, positive, x=x, sampler=name)
        acts = [control is not None for _, control, _, _ in heard]
        assert bool(torch.isfinite(out).all()) == bool(torch.isfinite(plain).all()), name
        assert any(acts) and not all(acts), name
    assert len(refused) < 5, refused


# ------------------------------------------------------------------------------ settings that do nothing


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, None),
        ({"strength": 0.0}, "strength 0"),
        ({"start_percent": 0.8, "end_percent": 0.2}, "after its end"),
        ({"mask": torch.zeros(1, 8, 8)}, "black everywhere"),
        ({"mask": torch.full((1, 8, 8), 3.0)}, "3 to 3"),
    ],
)
def test_apply_tells_what_cannot_act(applied, told, changed, word):
    applied(**changed)
    assert [word in text for text in told] == ([] if word is None else [True])


def test_a_mask_outside_its_range_acts_as_the_nearest_within(applied, parts):
    over, within = torch.full((1, 8, 8), 3.0), torch.ones(1, 8, 8)
    assert torch.equal(sample(parts, applied(mask=over)[0]), sample(parts, applied(mask=within)[0]))


@pytest.mark.parametrize("gate", ["step", "percent"])
def test_a_run_without_a_step_in_the_window_is_told_once(applied, parts, told, gate):
    narrow = applied(start_percent=0.3, end_percent=0.31, gate=gate)[0]
    for _ in range(2):
        sample(parts, narrow)
    sample(parts, applied()[0])
    assert ["not active in any step of this run" in text for text in told] == [True, True]


@pytest.fixture
def told(pack, monkeypatch):
    """What nodes show."""
    texts = []
    shared = pack.module("nodes.shared")
    for place in ("nodes.infusenet.adapter", "nodes.infusenet.apply"):
        module = pack.module(place)
        for name in ("tell", "show"):
            if hasattr(module, name):
                assert getattr(module, name) is getattr(shared, name)
                monkeypatch.setattr(module, name, lambda _, text: texts.append(text))
    return texts
