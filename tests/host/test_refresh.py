"""InfuseNet computed anew at some steps only: at which, what is kept between, and that nothing outlives the run.

The oracle is a run of every step in which a hook on the network puts an earlier step's output in the place of its own.
"""

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch

SIZE = 16  # latents a side


@pytest.fixture
def network(parts):
    """What InfuseNet was asked: `.sigmas` of each evaluation, and `.outputs` as weak references."""
    seen = SimpleNamespace(sigmas=[], outputs=[])

    def note(_module, _args, given, output):
        seen.sigmas.append(round(float(given["timesteps"][0]), 3))
        seen.outputs += [weakref.ref(tensor) for tensor in output["input"]]

    handle = parts.infusenet.control_model.register_forward_hook(note, with_kwargs=True)
    yield seen
    handle.remove()


@pytest.fixture
def substituted(parts):
    """`substituted({0.75: 1.0})`: at the noise level .75 InfuseNet gives what it gave for this identity at 1."""
    handles = []

    def start(instead):
        kept = {}

        def substitute(_module, _args, given, output):
            sigma, whose = round(float(given["timesteps"][0]), 3), hash(given["context"].numpy().tobytes())
            shape = tuple(given["x"].shape)
            kept[sigma, whose, shape] = {key: [tensor.clone() for tensor in value] for key, value in output.items()}
            earlier = kept[instead.get(sigma, sigma), whose, shape]
            return {key: tuple(tensor.clone() for tensor in value) for key, value in earlier.items()}

        handles.append(parts.infusenet.control_model.register_forward_hook(substitute, with_kwargs=True))

    yield start
    for handle in handles:
        handle.remove()


def noise(batch=1):
    return torch.randn(batch, 16, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def sample(parts, positive, negative=None, x=None, sampler="euler", sigmas=None, cfg=1.0, callback=None, model=None):
    """A run of the host's sampler, on an even schedule of four steps."""
    import comfy.samplers

    x = noise() if x is None else x
    guider = comfy.samplers.CFGGuider(model or parts.model)
    guider.set_conds(positive, negative or parts.empty)
    guider.set_cfg(cfg)
    sigmas = torch.linspace(1, 0, 5) if sigmas is None else sigmas
    chosen = comfy.samplers.sampler_object(sampler)
    return guider.sample(x, torch.zeros_like(x), chosen, sigmas, callback=callback, seed=3)


KEPT = {0.75: 1.0, 0.25: 0.5}  # what "1,3" does in four steps


@pytest.mark.exact
def test_every_step_is_the_run_without_the_setting(applied, parts, network):
    plain = sample(parts, applied()[0])
    assert torch.equal(sample(parts, applied(refresh="every step")[0]), plain)
    assert network.sigmas == [1.0, 0.75, 0.5, 0.25] * 2
    assert applied()[0][0][1]["control"].extra_hooks is None, "no hook where none is needed"


@pytest.mark.parametrize(
    ("refresh", "sampler", "sigmas"),
    [
        ("1,3", "euler", [1.0, 0.5]),
        ("every 2", "euler", [1.0, 0.5]),
        ("every 3", "euler", [1.0, 0.25]),
        ("1", "euler", [1.0]),
        ("1,3", "dpmpp_2m", [1.0, 0.5]),
        # heun: a step, its second look at the next level; the looks of a step that computes are both computed
        ("1,3", "heun", [1.0, 0.75, 0.5, 0.25]),
        ("every 2", "heun", [1.0, 0.75, 0.5, 0.25]),
        ("every 3", "heun", [1.0, 0.75, 0.25]),
        ("1", "dpm_2_ancestral", [1.0, 0.75]),
    ],
)
def test_it_is_computed_at_these_steps(applied, parts, network, refresh, sampler, sigmas):
    sample(parts, applied(refresh=refresh)[0], sampler=sampler)
    assert network.sigmas == sigmas


def test_adaptive_computes_where_the_latents_have_turned(applied, parts, network):
    sample(parts, applied(refresh="adaptive 0.00001")[0])
    assert network.sigmas == [1.0, 0.75, 0.5, 0.25]
    network.sigmas.clear()
    sample(parts, applied(refresh="adaptive 1.9")[0])
    assert network.sigmas == [1.0]


@pytest.mark.exact
@pytest.mark.parametrize("changed", [{}, {"strength": 0.5}, {"mask": torch.ones(1, 64, 64) * 0.5}])
def test_the_kept_output_acts_as_it_did(applied, parts, substituted, changed):
    """Its strength and its mask once, not once a step."""
    got = sample(parts, applied(refresh="1,3", **changed)[0])
    substituted(KEPT)
    assert torch.equal(got, sample(parts, applied(**changed)[0]))
    assert not torch.equal(got, sample(parts, applied(**changed, tokens=parts.tokens[1:2])[0]))


@pytest.mark.exact
def test_both_sides_of_cfg_and_a_batch(applied, parts, substituted, network):
    given = {"negative": parts.empty, "on_negative": True, "tokens": parts.tokens[:2]}
    got = sample(parts, *applied(refresh="1,3", **given), x=noise(2), cfg=2.0)
    assert set(network.sigmas) == {1.0, 0.5}
    substituted(KEPT)
    assert torch.equal(got, sample(parts, *applied(**given), x=noise(2), cfg=2.0))


@pytest.mark.exact
def test_two_people_with_masks_keep_each_their_own(applied, parts, substituted):
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1

    def both(first, second):
        one = applied(mask=left, refresh=first)[0]
        return applied(one, parts.tokens[1:2], mask=1 - left, refresh=second)[0]

    got = sample(parts, both("1,3", "1,3"))
    mixed = sample(parts, both("1,3", "every step"))
    plain = sample(parts, both("every step", "every step"))
    assert not torch.equal(mixed, plain) and not torch.equal(mixed, got)
    substituted(KEPT)
    assert torch.equal(got, sample(parts, both("every step", "every step")))


@pytest.mark.exact
def test_the_host_s_own_controlnet_beside_it_is_asked_at_every_step(applied, parts, substituted):
    from comfy.controlnet import ControlBase

    class Stock(ControlBase):
        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            asked.append(float(t[0]))
            tokens = x_noisy.shape[-1] * x_noisy.shape[-2] // 4
            block = torch.full((len(x_noisy), tokens, 144), 0.1 * float(t[0]))
            return self.control_merge({"input": [block, block.clone()], "output": []}, None, None)

        def copy(self):
            other = Stock()
            self.copy_to(other)
            return other

    asked, stock = [], Stock()
    before = [[parts.text[0][0], {**parts.text[0][1], "control": stock, "control_apply_to_uncond": False}]]
    got = sample(parts, applied(before, refresh="1,3")[0])
    assert asked == [1.0, 0.75, 0.5, 0.25]
    substituted(KEPT)
    assert torch.equal(got, sample(parts, applied(before)[0]))


@pytest.mark.exact
def test_two_samplers_and_a_second_run_start_afresh(applied, parts, network):
    positive = applied(refresh="1,3")[0]
    first = sample(parts, positive)
    assert torch.equal(sample(parts, positive), first)
    assert network.sigmas == [1.0, 0.5] * 2


def test_a_slice_of_the_schedule_counts_its_own_steps(applied, parts, network):
    """KSamplerAdvanced gives a second sampler the rest."""
    positive, whole = applied(refresh="1,3")[0], torch.linspace(1, 0, 9)
    sample(parts, positive, sigmas=whole[:5])
    sample(parts, positive, sigmas=whole[4:])
    assert network.sigmas == [1.0, 0.75, 0.5, 0.25]


def test_a_window_counts_the_steps_of_the_sampler(applied, parts, network):
    sample(parts, applied(refresh="1,4", start_percent=0.25)[0])
    assert network.sigmas == [0.75, 0.25]


def test_parts_of_the_picture_are_always_computed(applied, parts, network):
    """An area here; tiles are asked for in other shapes likewise."""
    area = [[embedding, {**options, "area": (8, 8, 4, 4)}] for embedding, options in parts.text]
    sample(parts, applied([*parts.text, *area], refresh="1")[0])
    assert network.sigmas == [1.0, 1.0, 0.75, 0.5, 0.25]


def test_without_the_sampler_s_clock_it_is_always_computed(applied, parts, network):
    """As a sampler of another pack may ask."""
    control = applied(refresh="1")[0][0][1]["control"]
    inner = parts.model.model
    control.pre_run(inner, inner.model_sampling.percent_to_sigma)
    cond = {"c_crossattn": parts.text[0][0], "y": parts.text[0][1]["pooled_output"]}
    for sigma in (0.9, 0.6):
        control.get_control(noise(), torch.tensor([sigma]), cond, 1, {"uuids": ["a"]})
    control.cleanup()
    assert network.sigmas == [0.9, 0.6]


def test_nothing_is_kept_after_a_run_however_it_ends(applied, parts, network):
    import comfy.model_management

    alive = []

    def callback(step, _x0, _x, _total):
        alive.append(sum(one() is not None for one in network.outputs))
        if step == stop:
            raise comfy.model_management.InterruptProcessingException

    for stop in (None, 1):
        positive = applied(refresh="1")[0]
        try:
            sample(parts, positive, callback=callback)
        except comfy.model_management.InterruptProcessingException:
            assert stop == 1
        gc.collect()
        assert min(alive) > 0, "kept while the run lasts"
        assert all(one() is None for one in network.outputs)
        network.outputs.clear()
        alive.clear()


def test_what_it_does_not_know_is_refused(applied):
    with pytest.raises(Exception, match='Expected refresh as "every step", "every 4"'):
        applied(refresh="sometimes")


@pytest.mark.parametrize("refresh", ["every step", "1,3", "adaptive"])
def test_the_library_keeps_the_same(applied, pack, parts, mini, refresh):
    """Latents of the same run, of the same policy, to float32's rounding: 1.3e-5 of their size on one kind of CPU."""
    pytest.importorskip("diffusers", reason="the library's own pipeline needs it")
    pipeline = pack.module("infusenet.loading").load_pipeline("mini-dev", device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    sampling = pack.module("infusenet.sampling")
    spec = pack.module("infusenet.backbones").BACKBONES["mini-dev"]
    sigmas = sampling.flux_sigmas(6, spec, image_seq_len=SIZE * SIZE // 4)
    embedding, options = parts.text[0]
    guided = [[embedding, {**options, "guidance": 3.5}]]
    got = sample(parts, applied(guided, refresh=refresh)[0], sigmas=sigmas)
    black = parts.model.model.process_latent_in(parts.vae.encode(torch.zeros(1, SIZE * 8, SIZE * 8, 3)))
    size = {"width": SIZE * 8, "height": SIZE * 8}
    want = pipeline(
        prompt_embeds=embedding,
        pooled_prompt_embeds=options["pooled_output"],
        identity=parts.tokens[:1],
        latents=sampling.pack_latents(noise()),
        control_image_latents=sampling.pack_latents(black),
        num_inference_steps=6,
        guidance_scale=3.5,
        refresh=refresh,
        output_type="latent",
        **size,
    ).images
    inner = sampling.pack_latents(parts.model.model.process_latent_in(got))
    torch.testing.assert_close(inner, want, rtol=0, atol=1e-4 * float(want.abs().max()))


# ----------------------------------------------------------------------------------------------- schedules


@pytest.mark.exact
def test_the_rest_of_a_schedule_in_larger_steps(run, parts):
    given = {"model": parts.model, "latent": {"samples": torch.zeros(1, 16, SIZE, SIZE)}, "steps": 8, "denoise": 1.0}
    whole, steps = run("Sigmas", **given)
    assert steps == 8 and torch.equal(run("Sigmas", **given, keep=2, last_steps=0)[0], whole)
    sigmas, steps = run("Sigmas", **given, keep=2, last_steps=3)
    assert steps == 5 and torch.equal(sigmas, whole[[0, 1, 2, 4, 6, 8]])
    sigmas, steps = run("Sigmas", **given | {"denoise": 0.5}, keep=99, last_steps=1)
    assert steps == 8 and torch.equal(sigmas, run("Sigmas", **given | {"denoise": 0.5})[0])
    assert run("Sigmas", **given | {"denoise": 0.0}, keep=1, last_steps=1)[1] == 0


# ----------------------------------------------------------------------------------------------- compiled


@pytest.mark.exact
def test_a_compiled_infusenet_is_the_infusenet(run, pack, applied, parts, monkeypatch):
    """By torch's tracer without its code generator. Its blocks have code that FLUX's, of the same class, have not."""
    monkeypatch.setattr(pack.module("infusenet.speed.compiled"), "BACKEND", "eager")
    network = run("LoadInfuseNet", infusenet="miniature", weight_dtype="default", compile=True)[0]
    blocks = [*network.control_model.double_blocks, *network.control_model.single_blocks]
    assert all("forward" in vars(block) for block in blocks)
    assert not any("forward" in vars(block) for block in parts.infusenet.control_model.double_blocks)
    assert torch.equal(sample(parts, applied(infusenet=network)[0]), sample(parts, applied()[0]))


@pytest.mark.exact
def test_a_compiled_backbone_is_the_backbone(run, pack, applied, parts, monkeypatch):
    """Likewise FLUX's blocks and the VAE's decoder; the networks that others hold are left alone."""
    monkeypatch.setattr(pack.module("infusenet.speed.compiled"), "BACKEND", "eager")
    none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
    chosen = {"backbone": "mini-dev", **none, "weight_dtype": "default"}
    plain, _, vae, *_ = run("LoadBackbone", **chosen)
    compiled, _, compiled_vae, *_ = run("LoadBackbone", **chosen, compile=True)
    again = run("LoadBackbone", **chosen, compile=True)
    assert again[0] is compiled and again[2] is compiled_vae, "compiled once"
    assert compiled.model is plain.model, "the weights are there once"
    wanted = sample(parts, applied()[0], model=plain)
    traced = torch._dynamo.utils.counters["frames"]["ok"]
    got = sample(parts, applied()[0], model=compiled)
    assert torch._dynamo.utils.counters["frames"]["ok"] >= traced + 2, "both kinds of block are traced"
    assert torch.equal(got, wanted)
    once = torch._dynamo.utils.counters["frames"]["ok"]
    sample(parts, applied()[0], model=compiled)
    assert torch._dynamo.utils.counters["frames"]["ok"] == once, "not traced anew at every run"
    network = plain.model.diffusion_model
    assert not any("forward" in vars(block) for block in [*network.double_blocks, *network.single_blocks])
    before = torch._dynamo.utils.counters["frames"]["ok"]
    decoded = compiled_vae.decode(got)
    assert torch._dynamo.utils.counters["frames"]["ok"] > before
    assert torch.equal(decoded, vae.decode(got))
    assert "forward" not in vars(vae.first_stage_model.decoder)


def test_products_in_8_bits_need_a_card(run):
    import comfy.model_management

    if comfy.model_management.supports_fp8_compute(comfy.model_management.get_torch_device()):
        pytest.skip("this card multiplies in 8 bits")
    none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
    with pytest.raises(Exception, match="fp8_e4m3fn_fast needs a card that multiplies in 8 bits"):
        run("LoadBackbone", backbone="mini-dev", **none, weight_dtype="fp8_e4m3fn_fast")


def test_the_attention_of_compiled_blocks_is_the_hosts(pack, monkeypatch):
    """With a mask, in another layout or by another kernel than torch's, the host's own answers."""
    compiled = pack.module("nodes.flux.compiled")
    q, k, v = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(3)).unbind()
    usual = compiled._PYTORCH
    want = usual(q, k, v, 4, skip_reshape=True)
    calls = []

    def counted(*given, **named):
        calls.append(named)
        return usual(*given, **named)

    torch.testing.assert_close(compiled.attend(usual, q, k, v, 4, skip_reshape=True, transformer_options={}), want)
    assert torch.equal(compiled.attend(counted, q, k, v, 4, skip_reshape=True), want) and len(calls) == 1
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    masked = compiled.attend(usual, q, k, v, 4, mask=mask, skip_reshape=True)
    assert torch.equal(masked, usual(q, k, v, 4, mask=mask, skip_reshape=True)) and not torch.allclose(masked, want)
    flat = [x.transpose(1, 2).flatten(2) for x in (q, k, v)]
    assert torch.equal(compiled.attend(usual, *flat, 4), usual(*flat, 4))
    monkeypatch.setattr(compiled, "_PYTORCH", counted)
    for special in ({"scale": 0.5}, {"enable_gqa": True}):
        calls.clear()
        compiled.attend(counted, q, k, v, 4, skip_reshape=True, **special)
        assert len(calls) == 1, "the host's own answers"


def test_compiled_blocks_attend_by_it_where_torch_would(run, pack, applied, parts, monkeypatch):
    """As on a card from Hopper on; the picture is the same but for rounding."""
    compiled = pack.module("nodes.flux.compiled")
    wanted = sample(parts, applied()[0])
    monkeypatch.setattr(pack.module("infusenet.speed.compiled"), "BACKEND", "eager")
    for module in ("nodes.flux.compiled", "nodes.infusenet.load"):
        monkeypatch.setattr(pack.module(module), "prefers_cudnn", lambda device: True)
    seen = []
    attend = compiled.attend

    def noted(usual, *given, **named):
        seen.append(named["transformer_options"])
        return attend(usual, *given, **named)

    monkeypatch.setattr(compiled, "attend", noted)
    # the loaded networks of other tests are not these
    monkeypatch.setattr(pack.module("nodes.loaders"), "load_once", lambda load, *key: load())
    none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
    model = run("LoadBackbone", backbone="mini-dev", **none, weight_dtype="default", compile=True)[0]
    network = run("LoadInfuseNet", infusenet="miniature", weight_dtype="default", compile=True)[0]
    with torch._dynamo.config.patch(disable=True):
        got = sample(parts, applied(infusenet=network)[0], model=model)
    blocks = [*model.model.diffusion_model.double_blocks, *model.model.diffusion_model.single_blocks]
    own = [*network.control_model.double_blocks, *network.control_model.single_blocks]
    assert len(seen) == 4 * (len(blocks) + len(own))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.exact
def test_a_compiled_backbone_on_another_card_computes_with_the_weights_there(run, pack, applied, parts, monkeypatch):
    """The host loads it afresh for Select Model Device and MultiGPU CFG Split, with all that is wrapped around it."""
    import comfy.model_patcher

    if not hasattr(comfy.model_patcher.ModelPatcher, "deepclone_multigpu"):
        pytest.skip("this ComfyUI computes on one card")
    monkeypatch.setattr(pack.module("infusenet.speed.compiled"), "BACKEND", "eager")
    monkeypatch.setattr(pack.module("nodes.loaders"), "load_once", lambda load, *key: load())
    none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
    model = run("LoadBackbone", backbone="mini-dev", **none, weight_dtype="default", compile=True)[0]
    wanted = sample(parts, applied()[0], model=model)
    other = model.deepclone_multigpu(new_load_device=torch.device("cpu"))
    for weight in model.model.diffusion_model.parameters():
        weight.data.zero_()
    traced = torch._dynamo.utils.counters["frames"]["ok"]
    assert torch.equal(sample(parts, applied()[0], model=other), wanted)
    assert torch._dynamo.utils.counters["frames"]["ok"] >= traced + 2, "compiled there too"


@pytest.mark.exact
def test_a_live_probe_through_a_compiled_vae_has_weights_of_its_own(run, pack, monkeypatch):
    """It looks through a copy where FLUX samples; the VAE itself may be somewhere else meanwhile."""
    monkeypatch.setattr(pack.module("infusenet.speed.compiled"), "BACKEND", "eager")
    monkeypatch.setattr(pack.module("nodes.loaders"), "load_once", lambda load, *key: load())
    none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
    model, _, vae, *_ = run("LoadBackbone", backbone="mini-dev", **none, weight_dtype="default", compile=True)
    decoder = pack.module("nodes.probe.decoders").small_decoder(vae, model.model, torch.device("cpu"))
    wanted = decoder.decode(noise())
    for weight in vae.first_stage_model.decoder.parameters():
        weight.data.zero_()
    assert torch.equal(decoder.decode(noise()), wanted)


@pytest.mark.parametrize(
    ("capability", "hip", "chosen"),
    [((9, 0), None, True), ((10, 0), None, True), ((8, 9), None, False), ((12, 0), None, False), ((9, 0), "6", False)],
)
def test_cudnn_is_preferred_where_torch_prefers_it(pack, monkeypatch, capability, hip, chosen):
    """Not on an RTX 40 or 50, nor on AMD's cards, which have such numbers too; nor where torch cannot be told."""
    compiled, card = pack.module("nodes.flux.compiled"), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert compiled.prefers_cudnn(card) is chosen and not compiled.prefers_cudnn(torch.device("cpu"))
    monkeypatch.setattr(compiled, "sdpa_kernel", lambda backends: None)  # torch 2.5
    assert not compiled.prefers_cudnn(card)


@pytest.mark.exact
def test_blocks_that_another_node_has_changed_are_left_to_it(run, pack, applied, parts, monkeypatch):
    """A block in the place of FLUX's, or another forward of it: at work while it is there, gone when it is gone."""

    class Doubled(torch.nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, *given, **named):
            return self.block(*given, **named) * 2

    monkeypatch.setattr(pack.module("infusenet.speed.compiled"), "BACKEND", "eager")
    monkeypatch.setattr(pack.module("nodes.loaders"), "load_once", lambda load, *key: load())
    none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
    chosen = {"backbone": "mini-dev", **none, "weight_dtype": "default"}
    wanted = {}
    for compiled in (False, True):
        model = run("LoadBackbone", **chosen, compile=compiled)[0]
        block = model.model.diffusion_model.single_blocks[0]
        patched = model.clone()
        patched.add_object_patch("diffusion_model.single_blocks.0", Doubled(block))
        got = [sample(parts, applied()[0], model=one) for one in (patched, model)]
        usual = block.forward
        block.forward = lambda *given, usual=usual, **named: usual(*given, **named) * 2
        got.append(sample(parts, applied()[0], model=model))
        del block.forward
        got.append(sample(parts, applied()[0], model=model))
        assert torch.equal(got[0], got[2]) and torch.equal(got[1], got[3]) and not torch.equal(got[0], got[1])
        wanted[compiled] = got
    assert all(torch.equal(*pair) for pair in zip(wanted[False], wanted[True], strict=True))
