"""InfuseNetPipeline against the recordings, free running, and diffusers' own pipeline where InfuseNet is off."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from infusenet.adapters.infusenet.model import InfuseNetModel
from infusenet.adapters.infusenet.pipeline import InfuseNetPipeline
from infusenet.errors import SettingsError
from infusenet.sampling import flux_sigmas

SEEN = ["latents", "noise_pred", "denoised", "controlnet_block_samples", "controlnet_single_block_samples"]


@pytest.fixture(scope="module")
def make(goldens):
    """A pipeline of the goldens' small models."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    def load(base="dev_5x9", net="infusenet_2x4", dtype=torch.float32, kind=InfuseNetPipeline, **more):
        scheduler = goldens.model(f"scheduler_{base.split('_')[0]}")
        parts = {"controlnet": InfuseNetModel.load(goldens.model(net), dtype=dtype)} if net else more
        pipeline = kind(
            scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(scheduler),
            vae=AutoencoderKL.from_pretrained(goldens.model("vae"), torch_dtype=dtype),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            transformer=FluxTransformer2DModel.from_pretrained(goldens.model(base), torch_dtype=dtype),
            **parts,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


@pytest.fixture(scope="module")
def dev(make):
    return make()


@pytest.fixture(scope="module")
def schnell(make):
    return make("schnell_5x9")


@pytest.fixture(scope="module")
def case(goldens):
    return goldens("cases/dev_batch2")


def texts(case, count=None):
    return {"prompt_embeds": case["in/prompt_embeds"][:count], "pooled_prompt_embeds": case["in/pooled"][:count]}


def arguments(case, **changes):
    """A short call of one picture."""
    given = {
        **texts(case, 1),
        "identity": case["in/id_tokens"][:1],
        "width": 96,
        "height": 96,
        "num_inference_steps": 2,
        "latents": case["in/latents_init"][:1],
        "output_type": "latent",
    }
    return {key: value for key, value in (given | changes).items() if value is not None}


def run(pipeline, case, **changes):
    return pipeline(**arguments(case, **changes)).images


def recorded_call(pipeline, golden, **changes):
    """The recorded call with everything that went through its steps."""
    meta = golden.meta["case"]
    seen = {name: [] for name in SEEN}

    def note(_pipeline, _step, _t, values):
        for name, value in values.items():
            seen[name].append(value)
        return {}

    negative = {}
    if "in/negative_prompt_embeds" in golden:
        negative = {
            "negative_prompt_embeds": golden["in/negative_prompt_embeds"],
            "negative_pooled_prompt_embeds": golden["in/negative_pooled"],
            "true_cfg_scale": meta["true_cfg"],
        }
    given = {
        **texts(golden),
        **negative,
        "identity": golden["in/id_tokens"],
        "control_image_latents": golden["cn/controlnet_cond"],
        "latents": golden["in/latents_init"],
        "width": meta["width"],
        "height": meta["height"],
        "num_inference_steps": meta["steps"],
        "guidance_scale": meta["guidance"],
        "controlnet_conditioning_scale": meta["scale"],
        "control_guidance_start": meta["start"],
        "control_guidance_end": meta["end"],
    }
    images = pipeline(
        **(given | changes), output_type="pt", callback_on_step_end=note, callback_on_step_end_tensor_inputs=SEEN
    ).images
    return images, seen


def stacked(residuals, recorded):
    """Residuals of all steps; those of a step without InfuseNet count as the zeros that they stand for."""
    return torch.stack(
        [torch.zeros_like(recorded[0]) if step is None else torch.stack(list(step)) for step in residuals]
    )


@pytest.mark.exact
def test_free_running_equals_the_recordings(golden_case, make):
    meta = golden_case.meta["case"]
    half = golden_case.name.endswith("_bf16")
    tolerance = 0.25 if half else 1e-4
    pipeline = make(meta["base"], meta["net"], torch.bfloat16 if half else torch.float32)
    images, seen = recorded_call(pipeline, golden_case)
    golden_case.check("cn/double", stacked(seen["controlnet_block_samples"], golden_case["cn/double"]), tolerance)
    golden_case.check(
        "cn/single", stacked(seen["controlnet_single_block_samples"], golden_case["cn/single"]), tolerance
    )
    golden_case.check("step/velocity", torch.stack(seen["noise_pred"]), tolerance)
    golden_case.check("step/x0", torch.stack(seen["denoised"]), tolerance)
    golden_case.check("step/latents", torch.stack([golden_case["in/latents_init"], *seen["latents"]]), tolerance)
    golden_case.check("out/latents", seen["latents"][-1], tolerance)
    golden_case.check("out/image", images, tolerance)
    assert torch.equal(seen["denoised"][-1], seen["latents"][-1])
    assert torch.equal(pipeline.scheduler.sigmas, golden_case["sched/sigmas"])
    scales = golden_case["cn/conditioning_scale"]
    assert [step is not None for step in seen["controlnet_block_samples"]] == [bool(scale) for scale in scales]


def heard(module, call):
    """The keyword arguments of every call of a network."""
    calls = []
    handle = module.register_forward_pre_hook(lambda _m, _a, values: calls.append(values), with_kwargs=True)
    try:
        call()
    finally:
        handle.remove()
    return calls


def test_each_network_receives_what_was_recorded(golden_case, make):
    meta = golden_case.meta["case"]
    if golden_case.name.endswith("_bf16"):
        pytest.skip("ids and texts are compared in float32")
    pipeline = make(meta["base"], meta["net"])
    to_net = heard(pipeline.controlnet, lambda: recorded_call(pipeline, golden_case))
    to_base = heard(pipeline.transformer, lambda: recorded_call(pipeline, golden_case))
    assert len(to_net) == int((golden_case["cn/conditioning_scale"] != 0).sum())
    assert len(to_base) == meta["steps"] * (2 if "in/negative_pooled" in golden_case else 1)
    for call in to_net:
        assert torch.equal(call["encoder_hidden_states"], golden_case["cn/encoder_hidden_states"])
        assert torch.equal(call["pooled_projections"], golden_case["cn/pooled_projections"])
        assert torch.equal(call["controlnet_cond"], golden_case["cn/controlnet_cond"])
    for call in to_base:
        assert torch.equal(call["img_ids"], golden_case["tr/img_ids"])
        assert torch.equal(call["txt_ids"], golden_case["tr/txt_ids"])
        if "tr/guidance" in golden_case:
            assert torch.equal(call["guidance"], golden_case["tr/guidance"][0])
        else:
            assert call["guidance"] is None


def test_the_negative_branch_gets_no_residuals(dev, goldens):
    golden = goldens("cases/dev_truecfg")
    calls = heard(dev.transformer, lambda: recorded_call(dev, golden))
    with_residuals = [call["controlnet_block_samples"] is not None for call in calls]
    assert with_residuals == [True, False] * golden.meta["case"]["steps"]
    single = heard(dev.transformer, lambda: recorded_call(dev, golden, true_cfg_scale=1.0))
    assert len(single) == golden.meta["case"]["steps"]


def test_both_branches_get_residuals_where_that_is_asked_for(dev, goldens):
    """Each by its own pooled text and the same identity, as the node's `on_negative` does."""
    golden = goldens("cases/dev_truecfg")
    steps = golden.meta["case"]["steps"]
    to_base = heard(dev.transformer, lambda: recorded_call(dev, golden, branches="both"))
    assert all(call["controlnet_block_samples"] is not None for call in to_base) and len(to_base) == 2 * steps
    to_net = heard(dev.controlnet, lambda: recorded_call(dev, golden, branches="both"))
    assert len(to_net) == 2 * steps
    pooled = [golden["cn/pooled_projections"], golden["in/negative_pooled"]]
    for number, call in enumerate(to_net):
        assert torch.equal(call["pooled_projections"], pooled[number % 2])
        assert torch.equal(call["encoder_hidden_states"], golden["cn/encoder_hidden_states"])
        assert torch.equal(call["hidden_states"], to_net[number - number % 2]["hidden_states"])


def test_of_two_equal_branches_both_are_the_picture_without_true_cfg(dev, goldens):
    golden = goldens("cases/dev_truecfg")
    given = texts(golden)
    same = {f"negative_{name}": given[name] for name in ("prompt_embeds", "pooled_prompt_embeds")}
    both, _ = recorded_call(dev, golden, **same, branches="both")
    alone, _ = recorded_call(dev, golden, true_cfg_scale=1.0)
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(recorded_call(dev, golden, **same)[0], alone, atol=1e-2)


def test_other_branches_are_refused(dev, case):
    with pytest.raises(SettingsError, match="branches from positive, both, got 'negative'"):
        run(dev, case, branches="negative")


def test_the_sampled_control_image_is_the_recorded_one(golden_case, make, monkeypatch):
    meta = golden_case.meta["case"]
    if golden_case.name.endswith("_bf16"):
        pytest.skip("compared in float32")
    draw = golden_case["vae/control_eps"]
    monkeypatch.setattr("diffusers.models.autoencoders.vae.randn_tensor", lambda shape, **_: draw.view(shape))
    pipeline = make(meta["base"], meta["net"])
    for picture in (golden_case["in/control_image_u8"], Image.fromarray(golden_case["in/control_image_u8"].numpy())):
        changes = {"control_image": picture, "control_image_latents": None, "sample_control_image": True}
        calls = heard(pipeline.controlnet, lambda changes=changes: recorded_call(pipeline, golden_case, **changes))
        golden_case.check("cn/controlnet_cond", calls[0]["controlnet_cond"])


def test_the_control_image_is_the_mode_by_default(dev, goldens):
    golden = goldens("cases/dev_truecfg")
    changes = {"control_image": golden["vae/control_pixels"], "control_image_latents": None}
    got = heard(dev.controlnet, lambda: recorded_call(dev, golden, **changes))[0]["controlnet_cond"]
    mode = (golden["vae/control_mean"] - 0.1159) * 0.3611
    batch, channels, height, width = mode.shape
    want = mode.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(got.shape)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.exact
def test_black_is_a_picture_and_is_encoded_once(dev, case, monkeypatch):
    encoded = []
    encode = dev.vae.encode
    monkeypatch.setattr(dev.vae, "encode", lambda pixels: encoded.append(pixels) or encode(pixels))
    monkeypatch.setattr(dev, "_black", None)
    first, again = run(dev, case), run(dev, case)
    explicit = run(dev, case, control_image=np.zeros((96, 96, 3), np.uint8))
    assert len(encoded) == 2
    assert encoded[0].unique().tolist() == [-1.0]
    assert torch.equal(first, again)
    assert torch.equal(first, explicit)
    assert not torch.equal(first, run(dev, case, control_image_latents=torch.zeros(1, 36, 64)))
    run(dev, case, width=64, latents=case["in/latents_init"][:1, :24])
    assert encoded[-1].shape == (1, 3, 96, 64)


def test_the_control_draw_comes_first_and_from_the_global_generator(dev, case, monkeypatch):
    drawn = []
    original = torch.randn

    def randn(*args, generator=None, **more):
        drawn.append(generator)
        return original(*args, generator=generator, **more)

    own = torch.Generator().manual_seed(5)
    monkeypatch.setattr(torch, "randn", randn)
    run(dev, case, latents=None, generator=own, sample_control_image=True)
    assert drawn == [None, own]
    drawn.clear()
    run(dev, case, latents=None, generator=own)
    assert drawn == [own]


def test_sampled_control_images_differ_within_a_batch(dev, case):
    both = {**texts(case), "latents": case["in/latents_init"]}
    [call] = heard(dev.controlnet, lambda: run(dev, case, **both, sample_control_image=True, num_inference_steps=1))
    assert not torch.equal(*call["controlnet_cond"])


@pytest.mark.exact
@pytest.mark.parametrize("base", ["dev_5x9", "schnell_5x9"])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("off", [{"controlnet_conditioning_scale": 0.0}, {"identity": None}])
def test_without_infusenet_it_is_the_stock_pipeline(make, case, base, negative, dtype, off):
    from diffusers import FluxPipeline

    given = {key: value.to(dtype) for key, value in texts(case).items()}
    given |= {"width": 64, "height": 96, "num_inference_steps": 3, "guidance_scale": 3.5, "output_type": "pt"}
    if negative:
        given |= {"negative_prompt_embeds": given["prompt_embeds"].flip(0), "true_cfg_scale": 2.0}
        given |= {"negative_pooled_prompt_embeds": given["pooled_prompt_embeds"].flip(0)}
    ours, stock = make(base, dtype=dtype), make(base, net=None, dtype=dtype, kind=FluxPipeline)
    identity = {"identity": case["in/id_tokens"].to(dtype)} | off
    got = ours(**given, **identity, generator=torch.Generator().manual_seed(3)).images
    want = stock(**given, generator=torch.Generator().manual_seed(3)).images
    assert got.shape == (2, 3, 96, 64)
    assert torch.equal(got, want)


def test_outside_the_window_infusenet_does_not_run(schnell, case, caplog):
    def calls(**changes):
        given = {"num_inference_steps": 4, "prompt_embeds": case["in/prompt_embeds"][:1, :16], **changes}
        return len(heard(schnell.controlnet, lambda: run(schnell, case, **given)))

    assert calls() == 4
    assert calls(control_guidance_start=0.1, control_guidance_end=0.6) == 1
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "infusenet"):
        assert calls(num_inference_steps=1, control_guidance_end=0.9) == 0
        assert calls(num_inference_steps=2, controlnet_conditioning_scale=0.0) == 0
    assert "no whole step lies between" in caplog.text and "strength 0" in caplog.text


@pytest.mark.exact
def test_defaults_are_the_backbones(make, case):
    for base, steps, guidance in (("dev_5x9", 28, 3.5), ("schnell_5x9", 4, None)):
        pipeline = make(base)
        calls = heard(pipeline.transformer, lambda p=pipeline: run(p, case, num_inference_steps=None))
        assert len(calls) == steps
        assert (calls[0]["guidance"] if guidance is None else calls[0]["guidance"].item()) == guidance
        assert pipeline.spec.num_inference_steps == steps
        assert torch.equal(pipeline.scheduler.sigmas, flux_sigmas(steps, pipeline.spec, image_seq_len=36))


@pytest.mark.exact
def test_a_size_is_floored_with_a_notice(dev, case, caplog):
    with caplog.at_level(logging.WARNING, "infusenet"):
        rounded = run(dev, case, width=111, height=97)
    assert "111x97 was changed to 96x96" in caplog.text
    assert torch.equal(rounded, run(dev, case))


def test_copies_of_a_prompt(dev, case):
    many = {"latents": None, "num_images_per_prompt": 2, **texts(case), "identity": case["in/id_tokens"]}
    got = run(dev, case, **many, generator=torch.Generator().manual_seed(0))
    assert got.shape == (4, 36, 64)
    noise = torch.randn(4, 16, 12, 12, generator=torch.Generator().manual_seed(0))
    for i in range(4):
        alone = {key: value[i // 2 : i // 2 + 1] for key, value in texts(case).items()}
        packed = noise[i : i + 1].view(1, 16, 6, 2, 6, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 36, 64)
        one = run(dev, case, **alone, identity=case["in/id_tokens"][i // 2 : i // 2 + 1], latents=packed)
        torch.testing.assert_close(got[i : i + 1], one, rtol=1e-4, atol=1e-4)


@pytest.mark.exact
def test_one_identity_serves_a_batch(dev, case):
    both = {**texts(case), "latents": case["in/latents_init"]}
    one = case["in/id_tokens"][:1]
    alone = run(dev, case, **both, identity=one)
    assert torch.equal(alone, run(dev, case, **both, identity=SimpleNamespace(tokens=one)))
    # One is expanded, not copied, and float32 products of another layout round in another order.
    torch.testing.assert_close(alone, run(dev, case, **both, identity=one.repeat(2, 1, 1)), rtol=1e-5, atol=1e-5)


@pytest.mark.exact
def test_an_interrupt_stops_the_loop(dev, case):
    def stop(pipeline, step, _t, values):
        pipeline._interrupt = step == 1
        return values

    stopped = run(dev, case, num_inference_steps=4, callback_on_step_end=stop)
    seen = []
    run(dev, case, num_inference_steps=4, callback_on_step_end=lambda _p, _i, _t, v: seen.append(v["latents"]) or {})
    assert torch.equal(stopped, seen[1])
    assert not torch.equal(stopped, seen[3])


def test_a_callback_may_change_the_latents(dev, case):
    changed = run(dev, case, callback_on_step_end=lambda _p, _i, _t, _v: {"latents": case["in/latents_init"][1:]})
    assert torch.equal(changed, case["in/latents_init"][1:])


def test_custom_sigmas_count_as_steps(dev, case):
    own = [1.0, 0.6, 0.3]
    assert len(heard(dev.transformer, lambda: run(dev, case, num_inference_steps=None, sigmas=own))) == 3
    with pytest.raises(SettingsError, match="3 sigmas for 2 steps"):
        run(dev, case, sigmas=own)


@pytest.mark.exact
def test_every_output_type(dev, case):
    assert isinstance(run(dev, case, output_type="pil")[0], Image.Image)
    assert run(dev, case, output_type="np").shape == (1, 96, 96, 3)
    [as_tuple] = dev(**arguments(case), return_dict=False)
    assert torch.equal(as_tuple, run(dev, case))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timesteps": [1000, 500]}, "sigmas= instead of timesteps="),
        ({"num_inference_steps": 0}, "whole number of steps"),
        ({"width": 8}, "at least 16x16"),
        ({"control_guidance_end": 1.5}, "from 0 to 1"),
        ({"controlnet_conditioning_scale": [1.0, 0.5]}, "one finite number"),
        ({"controlnet_conditioning_scale": float("nan")}, "one finite number"),
        ({"identity": torch.zeros(2, 8, 40)}, "identities for 1 prompts.*Got 2"),
        ({"identity": torch.zeros(1, 8, 41)}, r"\[n, 8, 40\], got \[1, 8, 41\]"),
        ({"latents": torch.zeros(1, 16, 12, 12)}, r"latents packed as \[1, 36, 64\]"),
        ({"latents": torch.zeros(2, 36, 64)}, r"got \[2, 36, 64\]"),
        ({"control_image_latents": torch.zeros(1, 35, 64)}, r"control_image_latents packed as \[n, 36, 64\]"),
        ({"control_image_latents": torch.zeros(1, 36, 64), "control_image": torch.zeros(1, 3, 96, 96)}, "only one"),
        ({"control_image": torch.zeros(1, 3, 64, 96)}, r"\[n, 3, 96, 96\], got \[1, 3, 64, 96\]"),
        ({"control_image": torch.full((1, 3, 96, 96), 255.0)}, "got 255..255"),
        ({"control_image": "face.png"}, "PIL picture.*got str"),
        ({"control_image": torch.zeros(3, 3, 96, 96)}, "control images for 1 prompts"),
        ({"num_images_per_prompt": 0}, "at least one prompt"),
        ({"prompt_embeds": None, "pooled_prompt_embeds": None, "prompt": "a face"}, "No text encoders are loaded"),
    ],
)
def test_what_does_not_fit_is_refused(dev, case, changes, message):
    with pytest.raises(SettingsError, match=message):
        run(dev, case, **changes)


def test_the_stock_controlnet_is_refused(make, case, goldens):
    from diffusers import FluxControlNetModel

    stock = FluxControlNetModel.from_pretrained(goldens.model("infusenet_2x4"))
    with pytest.raises(SettingsError, match=r"got FluxControlNetModel.*InfuseNetModel\.load"):
        run(make(net=None, controlnet=stock), case)
    with pytest.raises(SettingsError, match="no InfuseNet to carry it"):
        run(make(net=None, controlnet=None), case)


@pytest.mark.exact
@pytest.mark.parametrize("kind", ["pil", "gray", "array", "float", "list", "tensor_u8"])
def test_control_images_of_every_kind_are_the_same(dev, kind, case):
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[20:50, 30:60] = 255
    given = {
        "pil": Image.fromarray(picture),
        "gray": Image.fromarray(picture[..., 0]),
        "array": picture,
        "float": picture.astype(np.float32) / 255,
        "list": [Image.fromarray(picture)],
        "tensor_u8": torch.from_numpy(picture),
    }[kind]
    ready = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.equal(run(dev, case, control_image=given), run(dev, case, control_image=ready))
