"""Stream norms and residual ratios: in the host as in diffusers, and nothing changed by looking."""

from contextlib import ExitStack

import pytest
import torch

pytest.importorskip("diffusers", reason="what the host's values are compared with")
STRENGTH = 0.7
FIELDS = ("double", "single", "residual_double", "residual_single")


@pytest.fixture(scope="module")
def recordings(sibling):
    return sibling("test_goldens")


@pytest.fixture
def parts(pack, run, folders, goldens, recordings):
    """`parts(name)`: MODEL, InfuseNet, guider, noise and schedule of a recording, at another strength."""

    def make(name):
        golden = goldens(f"cases/{name}")
        case = golden.meta["case"] | {"scale": STRENGTH}
        model, infusenet = recordings.models(pack, run, folders, goldens, case)
        positive, negative = recordings.conditioned(run, infusenet, golden, case)
        guider = recordings.guider_for(model, positive, negative, case)
        start = golden["in/latents_init_unpacked"]
        sigmas, _ = run("Sigmas", model=model, latent={"samples": start}, steps=case["steps"], denoise=1.0)
        return golden, case, model.model.diffusion_model, infusenet.control_model, guider, start, sigmas

    return make


def sample(guider, start, sigmas):
    import comfy.samplers

    return guider.sample(start, torch.zeros_like(start), comfy.samplers.sampler_object("euler"), sigmas, seed=0)


def listen(streams, calls, *networks):
    """What each network's hooks say during `calls`, and what that returns."""
    with ExitStack() as stack:
        heard = [stack.enter_context(streams.StreamNorms(network)) for network in networks]
        made = calls()
    return made, [norms.records for norms in heard]


def in_diffusers(pack, goldens, golden, case):
    """The library's own run of a recording: the backbone's and InfuseNet's records."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    scheduler = goldens.model(f"scheduler_{case['base'].split('_')[0]}")
    pipeline = pack.module("infusenet.adapters.infusenet.pipeline").InfuseNetPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(scheduler),
        vae=AutoencoderKL.from_pretrained(goldens.model("vae")),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=FluxTransformer2DModel.from_pretrained(goldens.model(case["base"])),
        controlnet=pack.module("infusenet.adapters.infusenet.model").InfuseNetModel.load(goldens.model(case["net"])),
    )
    pipeline.set_progress_bar_config(disable=True)
    pack_latents = pack.module("infusenet.sampling").pack_latents

    def call():
        pipeline(
            prompt_embeds=golden["in/prompt_embeds"],
            pooled_prompt_embeds=golden["in/pooled"],
            identity=golden["in/id_tokens"],
            latents=golden["in/latents_init"],
            control_image_latents=pack_latents(golden["cn/controlnet_cond_unpacked"]),
            controlnet_conditioning_scale=STRENGTH,
            control_guidance_start=case["start"],
            control_guidance_end=case["end"],
            guidance_scale=case["guidance"] if case["base"].startswith("dev") else 0.0,
            num_inference_steps=case["steps"],
            width=case["width"],
            height=case["height"],
            output_type="latent",
        )

    streams = pack.module("infusenet.metrics.streams")
    return listen(streams, call, pipeline.transformer, pipeline.controlnet)[1]


@pytest.mark.parametrize("name", ["dev_batch2", "dev_s28_black", "schnell_s4_kps", "schnell_window_s4"])
def test_the_host_and_diffusers_agree(pack, goldens, parts, name):
    """At every block and step, of the backbone and of InfuseNet, within 1e-4 of the value."""
    golden, case, backbone, network, guider, start, sigmas = parts(name)
    streams = pack.module("infusenet.metrics.streams")
    _, ours = listen(streams, lambda: sample(guider, start, sigmas), backbone, network)
    theirs = in_diffusers(pack, goldens, golden, case)
    assert len(ours[0]) == len(theirs[0]) == case["steps"] and len(ours[1]) == len(theirs[1]) > 0
    blocks = {"double": 5, "single": 9}
    for got, want in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
        for field in FIELDS:
            a, b = getattr(got, field), getattr(want, field)
            assert (a is None) == (b is None)
            if a is not None:
                assert a == pytest.approx(b, rel=1e-4) and min(a) > 0
    on = [record for record in ours[0] if record.residual_double is not None]
    assert len(on) == len(ours[1]) and all(len(record.residual_double) == blocks["double"] for record in on)
    assert all(len(record.residual_single) == blocks["single"] for record in on)
    assert all(record.residual_double is None and len(record.double) == 2 for record in ours[1])


def test_strength_is_in_the_ratio_and_off_is_none(pack, run, mini, parts):
    """Of the first step, whose hidden state before the first residual does not depend on the strength."""
    _, _, backbone, _, guider, start, sigmas = parts("dev_batch2")
    streams, control = pack.module("infusenet.metrics.streams"), guider.original_conds["positive"][0]["control"]
    first = {}
    for strength in (STRENGTH, 2 * STRENGTH):
        control.strength = strength
        _, (records,) = listen(streams, lambda: sample(guider, start, sigmas[:2]), backbone)
        first[strength] = records[0].residual_double[0]
    assert first[2 * STRENGTH] == pytest.approx(2 * first[STRENGTH], rel=1e-5)
    guider.original_conds["positive"][0].pop("control")
    _, (records,) = listen(streams, lambda: sample(guider, start, sigmas[:2]), backbone)
    assert records[0].residual_double is None and records[0].residual_single is None


def hooks_of(network):
    return [
        (name, list(part._forward_hooks), list(part._forward_pre_hooks))
        for name, part in network.named_modules()
        if part._forward_hooks or part._forward_pre_hooks
    ]


@pytest.mark.exact
def test_nothing_changes_and_nothing_stays(pack, parts):
    """Bit for bit; also when a run is cut short."""
    _, _, backbone, network, guider, start, sigmas = parts("dev_batch2")
    before = hooks_of(backbone), hooks_of(network)
    plain = sample(guider, start, sigmas)
    state = torch.random.get_rng_state()
    streams = pack.module("infusenet.metrics.streams")
    heard, records = listen(streams, lambda: sample(guider, start, sigmas), backbone, network)
    assert torch.equal(plain, heard) and len(records[0]) == 4
    sample(guider, start, sigmas)
    assert torch.equal(torch.random.get_rng_state(), state)

    def cut(*_):
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"), streams.StreamNorms(backbone):
        handle = backbone.single_blocks[3].register_forward_pre_hook(cut)
        try:
            sample(guider, start, sigmas)
        finally:
            handle.remove()
    assert (hooks_of(backbone), hooks_of(network)) == before
    assert torch.equal(sample(guider, start, sigmas), plain)


def test_a_block_without_a_residual_has_ratio_zero_and_reference_tokens_do_not_count(pack, run, mini):
    """As with ControlNets for some blocks alone, and with models that see further pictures."""
    model = mini("mini-schnell")[0].model.diffusion_model
    width, generator = model.hidden_size, torch.Generator().manual_seed(0)
    x = torch.randn(1, 16, 8, 8, generator=generator)
    added = torch.randn(1, 4, width, generator=generator)  # 4 of 16 image tokens
    outs = []
    handle = model.double_blocks[0].register_forward_hook(lambda _, __, made: outs.append(made[0].clone()))
    streams = pack.module("infusenet.metrics.streams")
    with streams.StreamNorms(model) as norms:
        model(
            x,
            torch.tensor([0.5]),
            context=torch.randn(1, 6, 96, generator=generator),
            y=torch.randn(1, 64, generator=generator),
            control={"input": [added, None], "output": []},
            transformer_options={},
        )
    handle.remove()
    (record,) = norms.records
    want = float(added.norm() / outs[0][:, :4].norm())
    assert record.residual_double == pytest.approx((want, 0.0), rel=1e-5) and record.residual_single is None


def test_another_network_is_refused(pack):
    with pytest.raises(TypeError, match="diffusion_model"):
        pack.module("infusenet.metrics.streams").StreamNorms(torch.nn.Linear(2, 2))
