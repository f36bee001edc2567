"""SDXL with FaceID plus v2: whole calls as recorded from the original pipeline, and what ours promises beside them."""

import json
from dataclasses import dataclass, field, replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UNet2DConditionModel,
)

from infusenet.adapters.ip_adapter.adapter import FaceIdAdapter, tokens_of
from infusenet.adapters.ip_adapter.encoder import FaceCondition
from infusenet.adapters.ip_adapter.pipeline import SDXLPipeline
from infusenet.adapters.ip_adapter.weights import load_faceid
from infusenet.backbones import BACKBONES
from infusenet.errors import NotFiniteError, SettingsError
from infusenet.guidance.decoupled import Decoupled
from infusenet.guidance.manipulation import ScalePower, SoftMask

KIND_OF_TYPE = {1: "text-then-identity", 2: "separate", 3: "identity"}
SCHEDULERS = {
    "ddim": (DDIMScheduler, {"timestep_spacing": "trailing"}, "scheduler_sdxl"),
    "euler": (EulerDiscreteScheduler, {"timestep_spacing": "trailing"}, "scheduler_sdxl"),
    "lcm": (LCMScheduler, {}, "scheduler_sdxl"),
    "turbo": (EulerAncestralDiscreteScheduler, {}, "scheduler_turbo"),
}


@dataclass(frozen=True)
class Run:
    """What an adapter needs to know of a run."""

    strength: float = 0.8
    start: float = 0.0
    end: float = 1.0
    branches: str = "positive"
    attention: str = "none"


@dataclass(eq=False)
class Seen:
    """What a call shows at each step."""

    thirds: list = field(default_factory=list)
    guided: list = field(default_factory=list)
    denoised: list = field(default_factory=list)
    latents: list = field(default_factory=list)

    inputs = ("latents", "noise_pred", "denoised", "branch_preds")

    def __call__(self, pipeline, i, t, given):
        self.thirds.append(given["branch_preds"])
        self.guided.append(given["noise_pred"])
        self.denoised.append(given["denoised"])
        self.latents.append(given["latents"])
        return {}


@pytest.fixture(scope="module")
def unet(fastface):
    return UNet2DConditionModel.from_pretrained(fastface.model("unet")).eval().requires_grad_(False)


def pipeline_of(fastface, unet, kind):
    made, options, folder = SCHEDULERS[kind]
    config = json.loads((fastface.model(folder) / "scheduler_config.json").read_text(encoding="utf-8"))
    pipeline = SDXLPipeline(None, None, None, None, None, unet, made.from_config(config, **options))
    pipeline._spec = replace(BACKBONES["sdxl-hyper"], width=96, height=64)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def condition_of(golden):
    looks = golden["ip/clip_embeds"]
    batch = len(looks) // 3
    return FaceCondition(golden["in/id_embedding"][0, 0], looks[2 * batch : 2 * batch + 1, 0], looks[:1, 0])


def guidance_of(settings):
    kwargs = settings["pipe_kwargs"]
    dcg = kwargs["dcg_kwargs"]
    weights = dcg["sch_kwargs"].get("custom")
    a = weights["a"] if dcg["a_scheduler"] == "custom" else [kwargs["guidance_scale_a"]]
    b = weights["b"] if dcg["b_scheduler"] == "custom" else [kwargs["guidance_scale_b"]]
    rescale = dcg["rescale"] if dcg["term_postproc"] else 0
    return Decoupled(KIND_OF_TYPE[dcg["dcg_type"]], a, b, rescale)


def called(pipeline, fastface, golden, run, guidance, condition=None, batch=1, **options):
    adapter, seen = FaceIdAdapter(None, fastface.model("ip_adapter_faceid_plusv2.safetensors")), Seen()
    adapter.bind(pipeline)
    with adapter.acting(pipeline, condition or condition_of(golden), run) as given:
        result = pipeline(
            prompt_embeds=golden["in/prompt_embeds"],
            pooled_prompt_embeds=golden["in/pooled"],
            negative_prompt_embeds=golden["in/negative_prompt_embeds"],
            negative_pooled_prompt_embeds=golden["in/negative_pooled"],
            latents=golden["in/latents"].repeat(batch, 1, 1, 1) if batch > 1 else golden["in/latents"],
            num_images_per_prompt=batch,
            num_inference_steps=4,
            output_type="latent",
            decoupled=guidance,
            callback_on_step_end=seen,
            callback_on_step_end_tensor_inputs=Seen.inputs,
            **given | options,
        )
    return result.images, seen


def manipulation_for(settings, manipulation):
    if not settings["patch_pipe"]:
        return None
    return manipulation({"am": settings["am_patch_kwargs"]})


def draws(monkeypatch, golden):
    """Schedulers that add noise get the recorded draws."""
    if "rng/noise" in golden:
        noise = iter(golden["rng/noise"])
        for module in ("scheduling_lcm", "scheduling_euler_ancestral_discrete"):
            monkeypatch.setattr(f"diffusers.schedulers.{module}.randn_tensor", lambda *_, **__: next(noise))


class Everything(Decoupled):
    """All three thirds at every step, as the original evaluates them."""

    needs_negative = True

    def branches_at(self, step):
        return tuple(self.contents)


def test_the_recorded_calls(fastface, unet, pipeline_case, manipulation, monkeypatch, deviation_of):
    golden = fastface(f"pipeline/{pipeline_case}")
    case, settings = golden.meta["case"], golden.meta["settings"]
    if case["dtype"] != "float32" or case["batch"] != 1:
        pytest.skip("recorded for another precision or batch")
    pipeline = pipeline_of(fastface, unet, case["scheduler"])
    draws(monkeypatch, golden)
    base = guidance_of(settings)
    guidance = Everything(base.kind, base.a, base.b, base.rescale)
    mask = settings["patch_pipe"] and "adaptive_softmask" in settings["am_patch_kwargs"]["am_transforms"]
    attention = manipulation_for(settings, manipulation)
    _, seen = called(pipeline, fastface, golden, Run(settings["ip_adapter_scale"]), guidance, attention=attention)
    allowed = 2e-3 if mask else 1e-4
    assert pipeline.scheduler.timesteps.tolist() == golden["sched/timesteps"].tolist()
    for key, got in (("step/predictions", seen.thirds), ("step/guided", seen.guided), ("step/latents", seen.latents)):
        got = torch.stack(got)
        want = golden[key][1:] if key == "step/latents" else golden[key]
        assert got.shape == want.shape and deviation_of(got, want) <= allowed, key
        if mask:
            assert float((got - want).norm() / want.norm()) <= 1.5e-4


def test_the_tokens_of_a_face_and_of_nobody(fastface, unet):
    golden = fastface("pipeline/dcg_ddim")
    weights = load_faceid(fastface.model("ip_adapter_faceid_plusv2.safetensors"), unet)
    face, nobody = tokens_of(weights, condition_of(golden))
    golden.check("ip/tokens", torch.cat([nobody, face, face]), 1e-5)
    assert weights.plus and weights.projection.clip_embeds is None and float(nobody.abs().max()) > 0.1


# -- ours beside it --------------------------------------------------------------------------------------------------


@pytest.fixture
def golden(fastface):
    return fastface("pipeline/dcg_ddim")


@pytest.fixture
def ddim(fastface, unet):
    return pipeline_of(fastface, unet, "ddim")


@pytest.mark.parametrize("attention", [None, ScalePower(), SoftMask()])
def test_branches_one_after_the_other_are_the_same(fastface, ddim, golden, attention):
    together, _ = called(ddim, fastface, golden, Run(), Decoupled(), attention=attention)
    apart, _ = called(ddim, fastface, golden, Run(), Decoupled(), attention=attention, together=False)
    torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-4)
    if attention is not None:
        plain, _ = called(ddim, fastface, golden, Run(), Decoupled())
        assert not torch.allclose(plain, together, atol=1e-3)


def test_other_pictures_change_nothing(fastface, ddim, golden):
    alone, _ = called(ddim, fastface, golden, Run(), Decoupled(), attention=SoftMask())
    two, _ = called(ddim, fastface, golden, Run(), Decoupled(), attention=SoftMask(), batch=2)
    torch.testing.assert_close(two[:1], alone, rtol=1e-3, atol=1e-4)


def test_neutral_guidance_is_one_branch_and_no_guidance(fastface, ddim, golden):
    plain, _ = called(ddim, fastface, golden, Run(), None)
    neutral, seen = called(ddim, fastface, golden, Run(), Decoupled(a=1, b=1, rescale=0))
    assert torch.equal(plain, neutral) and {len(step) for step in seen.thirds} == {1}
    rescaled, seen = called(ddim, fastface, golden, Run(), Decoupled(a=1, b=1))
    assert not torch.equal(plain, rescaled) and {len(step) for step in seen.thirds} == {3}


def test_direction_takes_two_branches_where_it_acts(fastface, ddim, golden):
    late = Decoupled("direction", a=[1, 1, 2], rescale=0)
    _, seen = called(ddim, fastface, golden, Run(), late)
    assert [len(step) for step in seen.thirds] == [1, 1, 2, 2]
    without, full = seen.thirds[3]
    torch.testing.assert_close(seen.guided[3], 2 * full - without)


def test_a_run_leaves_the_backbone_as_it_was(fastface, ddim, golden):
    processors = {name: type(one) for name, one in ddim.unet.attn_processors.items()}
    keys = list(ddim.unet.state_dict())
    before, _ = called(ddim, fastface, golden, Run(strength=0), None)
    first, _ = called(ddim, fastface, golden, Run(), Decoupled(), attention=SoftMask())
    again, _ = called(ddim, fastface, golden, Run(), Decoupled(), attention=SoftMask())
    assert torch.equal(first, again) and not torch.equal(first, before)
    after, _ = called(ddim, fastface, golden, Run(strength=0), None)
    assert torch.equal(before, after)
    assert {name: type(one) for name, one in ddim.unet.attn_processors.items()} == processors
    assert list(ddim.unet.state_dict()) == keys and ddim.unet.encoder_hid_proj is None


def test_a_window_is_steps_of_the_plain_backbone(fastface, ddim, golden):
    _, before = called(ddim, fastface, golden, Run(strength=0), None)
    _, half = called(ddim, fastface, golden, Run(start=0.5), None)
    for step in (0, 1):
        torch.testing.assert_close(half.latents[step], before.latents[step], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(half.latents[2], before.latents[2], atol=1e-4)


def test_ordinary_guidance_with_the_identity_on_one_branch_or_both(fastface, ddim, golden):
    _, one = called(ddim, fastface, golden, Run(), None, guidance_scale=2.0)
    _, both = called(ddim, fastface, golden, Run(branches="both"), None, guidance_scale=2.0)
    assert torch.equal(one.thirds[0][1], both.thirds[0][1]) and not torch.equal(one.thirds[0][0], both.thirds[0][0])
    golden_thirds = golden["step/predictions"][0]
    torch.testing.assert_close(one.thirds[0][0], golden_thirds[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(both.thirds[0][0], golden_thirds[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one.guided[0], 2 * golden_thirds[2] - golden_thirds[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", list(SCHEDULERS))
def test_the_denoised_prediction_of_every_scheduler(fastface, unet, golden, kind):
    pipeline = pipeline_of(fastface, unet, kind)
    _, seen = called(pipeline, fastface, golden, Run(), Decoupled(), generator=torch.Generator().manual_seed(0))
    sigmas = pipeline.sigmas
    assert len(sigmas) == 5 and sigmas == sorted(sigmas, reverse=True) and sigmas[-1] == 0
    pipeline.scheduler.set_timesteps(4)
    t, latents = pipeline.scheduler.timesteps[1], seen.latents[0]
    own = pipeline.scheduler.step(seen.guided[1], t, latents, **({} if kind != "ddim" else {"eta": 0.0}))
    if kind == "ddim":
        torch.testing.assert_close(own.pred_original_sample, seen.denoised[1])
    share = pipeline.scheduler.alphas_cumprod[int(t)]
    assert sigmas[1] == pytest.approx(float(((1 - share) / share) ** 0.5), rel=1e-3)


def test_a_call_says_what_it_lacks(fastface, ddim, golden):
    embeds = {"prompt_embeds": golden["in/prompt_embeds"], "pooled_prompt_embeds": golden["in/pooled"]}
    with pytest.raises(SettingsError, match="needs an identity"):
        ddim(**embeds, attention=ScalePower())
    with pytest.raises(SettingsError, match="step"):
        ddim(**embeds, num_inference_steps=0)
    with pytest.raises(SettingsError, match="evaluated together"):
        called(ddim, fastface, golden, Run(), Decoupled(), attention=SoftMask(across="batch"), together=False)
    with pytest.raises(SettingsError, match="No text encoders"):
        ddim(prompt="a portrait")
    other = FaceCondition(torch.ones(1, 16))
    with pytest.raises(SettingsError, match="embeddings of 32 numbers, got 16"):
        called(ddim, fastface, golden, Run(), None, condition=other)
    with pytest.raises(SettingsError, match="needs CLIP's view"):
        called(ddim, fastface, golden, Run(), None, condition=FaceCondition(torch.ones(1, 32)))
    broken = replace(condition_of(golden), embedding=torch.full((1, 32), torch.nan))
    with pytest.raises(NotFiniteError, match="identity tokens"):
        called(ddim, fastface, golden, Run(), None, condition=broken)
    with pytest.raises(SettingsError, match="takes no pose"):
        FaceIdAdapter(None, fastface.folder).control(None, 64, 64)


def test_short_weights_go_on_and_are_told_once(fastface, ddim, golden, caplog):
    with caplog.at_level("WARNING"):
        short, _ = called(ddim, fastface, golden, Run(), Decoupled(a=[1, 1.5], b=[1, 3]))
    told = [record.getMessage() for record in caplog.records if "is repeated" in record.getMessage()]
    assert told == ["a has 2 and b has 2 weights for 4 steps: the last one is repeated."]
    whole, _ = called(ddim, fastface, golden, Run(), Decoupled(a=[1, 1.5, 1.5, 1.5], b=[1, 3, 3, 3]))
    assert torch.equal(short, whole)
