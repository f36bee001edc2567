"""The original pipeline's recordings, reproduced through the nodes and the host's own samplers."""

from types import SimpleNamespace

import pytest
import torch

TOLERANCE = 1e-4
SETTINGS = {"on_negative": False, "gate": "step"}


def packed(latents):
    """[B, C, H, W] -> [B, tokens, 4 C], channel slowest, as the recordings are."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4)


class RecordedVAE:
    """Gives the recorded control latents, whatever it encodes: they were sampled, the host takes the mode."""

    def __init__(self, latents):
        from comfy.latent_formats import Flux

        self.latents = Flux().process_out(latents)
        self.asked = []

    def encode(self, pixels):
        self.asked.append(tuple(pixels.shape))
        return self.latents


def models(pack, run, folders, goldens, case):
    """The recording's backbone and InfuseNet; the InfuseNet through its node."""
    folders("infinite_you", goldens.model(""))
    pack.module("nodes.paths").register_folders()
    model = pack.module("nodes.flux.miniature").build_model(goldens.model(case["base"]), case["base"], None)
    return model, run("LoadInfuseNet", infusenet=case["net"], weight_dtype="default")[0]


def conditioned(run, infusenet, golden, case):
    """Positive and negative conditioning of a recording, through Apply."""
    guidance = {"guidance": case["guidance"]}
    positive = [[golden["in/prompt_embeds"], {"pooled_output": golden["in/pooled"], **guidance}]]
    negative = None
    if "in/negative_prompt_embeds" in golden:
        pooled = {"pooled_output": golden["in/negative_pooled"], **guidance}
        negative = [[golden["in/negative_prompt_embeds"], pooled]]
    vae = RecordedVAE(golden["cn/controlnet_cond_unpacked"])
    return run(
        "Apply",
        positive=positive,
        infusenet=infusenet,
        identity=SimpleNamespace(tokens=golden["in/id_tokens"], recognizer=None, notices=()),
        vae=vae,
        strength=case["scale"],
        start_percent=case["start"],
        end_percent=case["end"],
        negative=negative,
        **SETTINGS,
    )


def guider_for(model, positive, negative, case):
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(case.get("true_cfg", 1.0))
    return guider


def listen(monkeypatch, pack):
    """Records each evaluation's residuals by noise level; None where InfuseNet is off."""
    adapter = pack.module("nodes.infusenet.adapter")
    original, seen = adapter.InfuseNetControl.get_control, {}

    def get_control(self, x, t, cond, number, options):
        control = original(self, x, t, cond, number, options)
        seen[float(t[0])] = control and {key: list(value) for key, value in control.items()}
        return control

    monkeypatch.setattr(adapter.InfuseNetControl, "get_control", get_control)
    return seen


def test_free_running(pack, run, folders, goldens, golden_case, monkeypatch, deviation_of):
    """Schedule, residuals of every block, predictions and the result of every recorded run."""
    case = golden_case.meta["case"]
    if golden_case["in/prompt_embeds"].dtype != torch.float32:
        pytest.skip("a bfloat16 recording; the host computes in float32 on a CPU")
    model, infusenet = models(pack, run, folders, goldens, case)
    positive, negative = conditioned(run, infusenet, golden_case, case)
    residuals = listen(monkeypatch, pack)
    start = golden_case["in/latents_init_unpacked"]
    empty = torch.zeros_like(start)
    sigmas, steps = run("Sigmas", model=model, latent={"samples": empty}, steps=case["steps"], denoise=1.0)
    assert steps == case["steps"]
    torch.testing.assert_close(sigmas, golden_case["sched/sigmas"], rtol=3e-7, atol=0)

    predictions = {}
    import comfy.samplers

    out = guider_for(model, positive, negative, case).sample(
        start,
        empty,
        comfy.samplers.sampler_object("euler"),
        sigmas,
        callback=lambda step, x0, x, total: predictions.update({step: packed(x0)}),
        seed=0,
    )
    golden_case.check("out/decoder_in", out, TOLERANCE)
    golden_case.check("step/x0", torch.stack([predictions[step] for step in range(steps)]), TOLERANCE)
    check_residuals(golden_case, residuals, sigmas, goldens.table("block_mapping"), deviation_of)


def check_residuals(golden, residuals, sigmas, mapping, deviation_of):
    """Each of the backbone's blocks gets the residual that the original gives it."""
    counts = [golden["cn/double"].shape[1], golden["cn/single"].shape[1]]
    entry = next(entry for entry in mapping if entry["base"] == [5, 9] and entry["infusenet"] == counts)
    for step, sigma in enumerate(sigmas[:-1].tolist()):
        for kind, key in (("double", "input"), ("single", "output")):
            recorded = golden[f"cn/{kind}"][step]  # [residuals, B, L, width]
            if float(golden["cn/conditioning_scale"][step]) == 0:
                assert residuals[sigma] is None
                continue
            blocks = residuals[sigma][key]
            assert all(block is not None for block in blocks)
            for index, (block, source) in enumerate(zip(blocks, entry[kind], strict=True)):
                assert deviation_of(block, recorded[source]) <= TOLERANCE, (step, kind, index)


def test_block_mapping_is_the_recorded_one(pack, goldens):
    """Every measured pair of counts, the published 19/38 with 4/10 among them."""
    spread = pack.module("nodes.infusenet.adapter").spread
    checked = 0
    for entry in goldens.table("block_mapping"):
        for kind, blocks, residuals in zip(("double", "single"), entry["base"], entry["infusenet"], strict=True):
            tensors = tuple(torch.full([1, 1, 1], float(index)) for index in range(residuals))
            got = [int(value) for value in spread(tensors, blocks, None)]
            assert got == [source for source in entry[kind] if source is not None]
            checked += 1
    assert checked


@pytest.mark.parametrize("name", ["dev_s28_black", "schnell_window_s4"])
def test_one_step_at_a_time(pack, run, folders, goldens, name):
    """Started from each recorded step's own latents, the velocity is the recorded one."""
    golden = goldens(f"cases/{name}")
    case = golden.meta["case"]
    model, infusenet = models(pack, run, folders, goldens, case)
    positive, negative = conditioned(run, infusenet, golden, case)
    sigmas = golden["sched/sigmas"]
    width = golden["in/latents_init_unpacked"].shape[-1]
    seen = []

    def walk(predict, noise, given, extra_args=None, callback=None, disable=None):
        """A sampler of one evaluation a step, each at the recorded latents."""
        for step in range(len(given) - 1):
            x = unpacked(golden["step/latents"][step], width)
            x0 = predict(x, given[step].expand(len(x)), **extra_args)
            seen.append(packed((x - x0) / given[step]))
        return noise

    import comfy.samplers

    guider_for(model, positive, negative, case).sample(
        golden["in/latents_init_unpacked"],
        torch.zeros_like(golden["in/latents_init_unpacked"]),
        comfy.samplers.KSAMPLER(walk),
        sigmas,
        seed=0,
    )
    golden.check("step/velocity", torch.stack(seen), TOLERANCE)


def unpacked(tokens, width):
    batch, count, channels = tokens.shape
    columns = width // 2
    patches = tokens.reshape(batch, count // columns, columns, channels // 4, 2, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, -1, width)


def test_a_black_picture_is_encoded_without_a_pose(pack, run, folders, goldens):
    """Once for a size and VAE, and kept."""
    golden = goldens("cases/schnell_s4_kps")
    _, infusenet = models(pack, run, folders, goldens, golden.meta["case"])
    vae = RecordedVAE(golden["cn/controlnet_cond_unpacked"])
    x = torch.zeros(1, 16, *golden["in/latents_init_unpacked"].shape[-2:])
    for _ in range(2):
        control = infusenet.bind(golden["in/id_tokens"], vae, strength=1.0, window=(0.0, 1.0), gate="step")
        control._hint(control.whole, *x.shape[-2:])
        control.cleanup()
    assert vae.asked == [(1, 128, 128, 3)]
