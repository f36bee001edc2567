"""What a probe looks through when it measures live: a TAESD file, the linear preview, latents with a time axis."""

import json

import pytest
import torch
import torch.nn.functional as F

STEPS = 3


@pytest.fixture(scope="module")
def text(conditioned):
    return conditioned()


@pytest.fixture
def unknown(pack, mini, monkeypatch):
    """The miniature as a MODEL that the pack does not know as its own."""
    monkeypatch.setattr(pack.module("nodes.probe.decoders"), "_is_miniature", lambda base_model: False)
    return mini("mini-schnell")[0]


@pytest.fixture
def approx(folders, host, tmp_path):
    """An empty models/vae_approx."""
    import folder_paths

    folder_paths.folder_names_and_paths["vae_approx"] = ([str(tmp_path)], {".safetensors", ".pt", ".pth"})
    folder_paths.filename_list_cache.clear()
    return tmp_path


@pytest.fixture
def probed(run, recognizer, person, text):
    """`probed(model, vae)`: the only run of a live probe, and what the sampler gave."""

    def go(model, vae=None, shape=(1, 16, 16, 16), **more):
        import comfy.sample

        inputs = {"recognizer": recognizer, "reference": person, "when": "live", "every": 1, "vae": vae, **more}
        watched, watch = run("IdentityProbe", model=model, **inputs)
        latents = torch.zeros(shape)
        noise = comfy.sample.prepare_noise(latents, 5)
        out, plain = (
            comfy.sample.sample(one, noise, STEPS, 1.0, "euler", "simple", text, text, latents, seed=5)
            for one in (watched, model)
        )
        assert torch.equal(out, plain)
        (one,) = watch.runs.values()
        return one, watch, out

    return go


def taesd_decoder(seed=1):
    """A TAESD decoder of 16 channels with random weights, in the layout of taef1_decoder."""
    from comfy.taesd.taesd import Decoder

    network = Decoder(16)
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(v.shape, generator=generator) * 0.05 for name, v in network.state_dict().items()}


@pytest.mark.exact
def test_a_taesd_file_is_used_as_the_host_uses_it(approx, unknown, probed, pack, host):
    import comfy.taesd.taesd
    import latent_preview
    from safetensors.torch import save_file

    save_file(taesd_decoder(), approx / "taef1_decoder.safetensors")
    one, _, out = probed(unknown)
    assert one.trace.status == "complete", one.trace.reason
    assert one.trace.run.decoder == "TAESD (taef1_decoder.safetensors)" == one.trace.run.final_decoder
    assert not one.trace.warnings and len(one.trace.records) == STEPS
    assert all(record.sharpness[0] is not None for record in one.trace.records)
    decoder = pack.module("nodes.probe.decoders").small_decoder(None, unknown.model, torch.device("cpu"))
    theirs = comfy.taesd.taesd.TAESD(None, str(approx / "taef1_decoder.safetensors"), latent_channels=16)
    previewer = latent_preview.TAESDPreviewerImpl(theirs)
    assert_same_picture(decoder.decode(out), previewer.decode_latent_to_preview(unknown.model.process_latent_in(out)))


@pytest.mark.exact
def test_without_one_the_hosts_linear_preview_is_used_and_told(approx, unknown, probed, pack, host):
    import latent_preview

    one, _, out = probed(unknown)
    assert one.trace.status == "complete" and one.trace.run.decoder == "linear preview"
    (notice,) = one.trace.warnings
    assert "rough linear preview" in notice and "Put taef1_decoder into models/vae_approx" in notice
    decoder = pack.module("nodes.probe.decoders").small_decoder(None, unknown.model, torch.device("cpu"))
    form = unknown.model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
    theirs = previewer.decode_latent_to_preview(unknown.model.process_latent_in(out))
    assert_same_picture(decoder.decode(out), theirs)


@pytest.mark.exact
@pytest.mark.parametrize("damage", ["cut off", "another model's"])
def test_a_taesd_file_that_does_not_fit_is_told_and_the_preview_used(approx, unknown, probed, damage):
    from safetensors.torch import save_file

    path = approx / "taef1_decoder.safetensors"
    state = taesd_decoder()
    save_file(state if damage == "cut off" else {"wrong": torch.zeros(3)}, path)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    one, *_ = probed(unknown)
    assert one.trace.status == "complete" and one.trace.run.decoder == "linear preview"
    assert "taef1_decoder.safetensors in models/vae_approx is damaged" in one.trace.warnings[0]


def assert_same_picture(ours, theirs):
    """A preview of the host's, enlarged where it is a pixel a latent, is the decoder's picture to 8 bits."""
    import numpy as np

    want = torch.from_numpy(np.asarray(theirs)).movedim(-1, 0)[None].float() / 255
    if want.shape[-1] != ours.shape[-1]:
        want = F.interpolate(want, size=ours.shape[-2:], mode="bilinear")
    assert ours.shape == want.shape == (1, 3, 128, 128)
    assert float((ours - want).abs().max()) <= 1.01 / 255  # they cut off, we do not
    assert float(ours.std()) > 0.005


class Aim(torch.nn.Module):
    """A flow model whose every prediction is one picture, in latents with a time axis."""

    dtype = torch.float32

    def __init__(self, target):
        super().__init__()
        self.target = target

    def forward(self, x, t, context=None, control=None, transformer_options=None, **_):
        return (x - self.target) / (t.reshape(-1, 1, 1, 1, 1) / 1000)


@pytest.fixture
def video_like(person, mini, host):
    """`video_like(frames)`: (MODEL, vae) of Wan's latent format, [B, 16, frames, h, w]; the picture is the person."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        unet_config = {"disable_unet_model_creation": True}  # noqa: RUF012 - the host's way
        latent_format = comfy.latent_formats.Wan21

        def __init__(self):
            super().__init__(self.unet_config)
            self.latent_format = comfy.latent_formats.Wan21()
            self.sampling_settings = {"shift": 3.0}

    tiny = mini("mini-schnell")[2]

    class VideoVAE:
        latent_dim, first_stage_model = 3, None

        def decode(self, latents):
            assert latents.ndim == 5
            return tiny.decode(latents[:, :, 0])[:, None]

    def make(frames=1):
        config = Config()
        target = config.latent_format.process_in(tiny.encode(person)[:, :, None].repeat(1, 1, frames, 1, 1))
        base = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.FLOW, torch.device("cpu"))
        base.diffusion_model = Aim(target)
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(base, load_device=cpu, offload_device=cpu), VideoVAE()

    return make


@pytest.mark.exact
def test_latents_with_one_frame_are_pictures(approx, probed, run, video_like):
    model, vae = video_like()
    one, watch, out = probed(model, vae, (2, 16, 1, 16, 16), when="after the run")
    assert one.trace.status == "complete", one.trace.reason
    assert min(value for record in [*one.trace.records, one.trace.final] for value in record.similarity) > 0.9
    _, _, best, step, *_ = run("DriftReport", trace=watch, samples={"samples": out}, vae=vae)
    assert step >= 1 and best["samples"].shape == out.shape == (2, 16, 1, 16, 16)


@pytest.mark.exact
def test_they_are_previewed_live_and_their_finished_picture_measured(approx, probed, run, pack, video_like):
    import latent_preview

    model, vae = video_like()
    one, watch, out = probed(model, None, (1, 16, 1, 16, 16))
    assert one.trace.status == "complete" and one.trace.run.decoder == "linear preview"
    assert "Connect a tiny VAE" in one.trace.warnings[0]
    form = model.model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
    theirs = previewer.decode_latent_to_preview(form.process_in(out))
    ours = (
        pack.module("nodes.probe.decoders").small_decoder(None, model.model, torch.device("cpu")).decode(out[:, :, 0])
    )
    assert_same_picture(ours, theirs)
    record = json.loads(run("DriftReport", trace=watch, samples={"samples": out}, vae=vae)[6])
    assert record["run"]["final_decoder"] == "VAE" and record["final"]["similarity"][0] > 0.9


@pytest.mark.exact
def test_video_is_refused_in_words_and_sampled_all_the_same(approx, probed, video_like):
    model, vae = video_like(frames=3)
    one, _, out = probed(model, vae, (1, 16, 3, 16, 16))
    assert out.shape == (1, 16, 3, 16, 16)
    assert one.trace.status == "failed" and "[1, 16, 3, 16, 16]" in one.trace.reason
    assert "measures pictures" in one.trace.reason and one.trace.final is None
