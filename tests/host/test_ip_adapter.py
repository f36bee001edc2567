"""Apply IP-Adapter in the host: the recorded layers, whose tokens which branch sees, its LoRA, what it refuses."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

TEXT, EMBEDDING = 16, 512


# -- the recorded layers ---------------------------------------------------------------------------------------------


def manipulation_of(pack, case):
    """The settings of a recorded case as ours."""
    module, told = pack.module("infusenet.guidance.manipulation"), case.get("am")
    if not told:
        return None
    kinds, tokens = told["am_transforms"], told["target_tokens"]
    rest = {
        "tokens": None if tokens == [0, 1, 2, 3] else tokens,
        "steps": told["target_tsteps"],
        "blend": 0.7 if told["apply_adain"] else None,
    }
    if kinds[0] == "pow":
        plain = {} if "scale" in kinds else {"up": 1.0, "down": 1.0}
        return module.ScalePower(**rest, **plain)
    scheduled = told["apply_schedule"]
    numbers = {} if scheduled else {"sharpness": [12.5], "quantile": 0.6, "up": [1.45], "down": [1.55]}
    if kinds[0] == "softmask":
        numbers["quantile"] = None
    original = {"across": "batch", "round_quantile": True, "inverted": told["inverse_neg_transforms"]}
    return module.SoftMask(**rest, **numbers, **original)


def test_the_recorded_cross_attention_layers(pack, fastface, attention_case, deviation_of):
    """Text attention, identity attention and what is done to it, in all three thirds, by the host's own layer."""
    from comfy.ldm.modules.attention import CrossAttention
    from comfy.ops import disable_weight_init

    module = pack.module("nodes.ip_adapter.attention")
    golden = fastface(f"attention/{attention_case}")
    case, weights, inputs = golden.meta["case"], fastface("attention/weights"), fastface(golden.meta["inputs"])
    dtype, part = getattr(torch, case["dtype"]), case["part"]
    layer = {key: weights[f"{part}/{key}"].to(dtype) for key in LAYER}
    attention = CrossAttention(32, 24, heads=4, dim_head=8, dtype=dtype, operations=disable_weight_init)
    attention.load_state_dict({key: value for key, value in layer.items() if "processor" not in key})
    count = case["batch"]
    tokens = inputs["in/id_tokens"].to(dtype)[:, 0]
    projections = module.Projections([(layer["processor.to_k_ip.0.weight"], layer["processor.to_v_ip.0.weight"])])
    binding = module.Binding(
        tokens[count : 2 * count], tokens[:1], projections, [0.8], None, manipulation_of(pack, case)
    )
    patch = module.IdentityAttention(binding, 0, None if part == "mid" else part)
    steps, text = len(golden["out/hidden"]), inputs["in/text"].to(dtype)
    sigmas, got = torch.linspace(1, 0, steps + 1), []
    for step in range(steps):
        hidden = (inputs["in/hidden"][step] * case.get("gain", 1.0)).to(dtype)
        options = {
            "sigmas": sigmas[step].expand(count), "sample_sigmas": sigmas, "cond_or_uncond": [1, 0, 0], "n_heads": 4,
        }  # fmt: skip
        out = patch(attention.to_q(hidden), attention.to_k(text), attention.to_v(text), options)
        got.append(attention.to_out(out))
    half, masked = dtype == torch.float16, "attn/quantile" in golden
    got, want = torch.stack(got), golden["out/hidden"]
    assert deviation_of(got, want) <= (3e-2 if half else 2e-3 if masked else 1e-4)
    if masked:
        moved = float((got.double() - want.double()).norm() / want.double().norm())
        assert moved <= (4e-3 if half else 1.5e-4)


LAYER = [
    "to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias", "processor.to_k_ip.0.weight",
    "processor.to_v_ip.0.weight",
]  # fmt: skip


# -- a small UNet ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unet(stable_diffusion):
    return stable_diffusion[0]


@pytest.fixture
def adapter(pack, run, unet, tmp_path, folders, sibling):
    """`adapter(lora=..., ...)`: a file for the small UNet, through Load IP-Adapter."""
    from safetensors.torch import save_file

    faceid = sibling("faceid_files").faceid

    def make(name="face.safetensors", **changed):
        widths = [layer.width for layer in pack.module("nodes.ip_adapter.layers").layers_of(unet)]
        save_file(faceid(widths, **{"text": TEXT, **changed}), tmp_path / name)
        folders("ipadapter", tmp_path)
        return run("LoadIPAdapter", ip_adapter=name)[0]

    return make


class Reader:
    """Finds the whole picture's face, and reads its colour."""

    crop_size = 112

    def __init__(self, pack):
        template = np.asarray(pack.module("infusenet.faces.align").TEMPLATE, np.float32)
        face = SimpleNamespace(kps=template, bbox=np.array([0, 0, 112, 112]), size=112.0, score=0.99)
        self.detector = SimpleNamespace(detect=lambda rgb, **_: [face], sure=0.5)

    def embed(self, crops):
        out = np.zeros([len(crops), EMBEDDING], np.float32)
        out[:, :3] = crops.reshape(len(crops), -1, 3).mean(1) + 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.fixture
def reader(pack):
    return Reader(pack)


def photos(*colours):
    return torch.tensor(colours).float()[:, None, None].expand(-1, 112, 112, -1).contiguous()


RED, GREEN = (1.0, 0.1, 0.1), (0.1, 1.0, 0.1)
PLAIN = {
    "weight": 0.8, "start_percent": 0.0, "end_percent": 1.0, "batch": "fuse", "lora_strength": 1.0,
}  # fmt: skip


@pytest.fixture
def applied(run, unet, adapter, reader):
    """`applied(...)`: the small UNet with a face of one colour."""
    loaded = {}

    def make(colours=(RED,), model=None, **changed):
        if "file" not in loaded:
            loaded["file"] = adapter()
        inputs = {"model": model or unet, "recognizer": reader, "image": photos(*colours), **PLAIN}
        return run("ApplyIPAdapter", **{"ip_adapter": loaded["file"], **inputs, **changed})[0]

    return make


def text(seed=1):
    return [[torch.randn(1, 7, TEXT, generator=torch.Generator().manual_seed(seed)), {}]]


def sample(model, batch=1, steps=2, cfg=1.0, guider=None, callback=None):
    import comfy.samplers

    if guider is None:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(text(1), text(2))
        guider.set_cfg(cfg)
    x = torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    sampling = guider.model_patcher.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "sgm_uniform", steps)
    return guider.sample(x, torch.zeros_like(x), comfy.samplers.sampler_object("euler"), sigmas, seed=3).clone()


def test_the_identity_acts_by_its_weight_and_window(applied, unet):
    plain = sample(unet)
    red, green = sample(applied()), sample(applied((GREEN,)))
    assert float((red - plain).abs().max()) > 1e-3 and float((red - green).abs().max()) > 1e-4
    half = sample(applied(weight=0.4))
    assert 0 < float((half - plain).norm()) < float((red - plain).norm())
    assert torch.equal(sample(applied(start_percent=1.0)), plain)
    first = sample(applied(end_percent=0.3))
    assert not torch.equal(first, plain) and not torch.equal(first, red)


def test_weight_zero_is_the_model_itself(applied, unet, run, reader):
    assert applied(weight=0.0) is unet


def test_photos_fuse_into_one_person_or_are_one_each(applied):
    both = applied((RED, GREEN), batch="one per image")
    red, green = applied(), applied((GREEN,))
    together = sample(both, batch=2)
    for place, alone in enumerate((red, green)):
        torch.testing.assert_close(together[place], sample(alone, batch=2)[place], rtol=1e-4, atol=1e-4)
    fused = sample(applied((RED, GREEN)))
    assert float((fused - sample(red)).abs().max()) > 1e-5


def test_branches_without_identity_see_nobodys_tokens(applied, pack):
    """Zero embedding, whose tokens are not zero; and pictures of a batch keep their order in each branch."""
    binding = applied((RED, GREEN), batch="one per image").get_attachment("infusenet_ip_adapter")
    got = binding.tokens([1, 0], torch.zeros(4, 1))
    assert torch.equal(got, torch.cat([binding.nobody, binding.nobody, binding.face]))
    assert float(binding.nobody.abs().max()) > 0.1 and len(binding.nobody) == 1
    assert torch.equal(binding.tokens([0], torch.zeros(3, 1))[2], binding.face[0])


def test_the_unconditional_side_has_the_zero_identity(applied):
    """Under CFG the host's second branch is numbered 1."""
    model, seen = applied(), []
    binding = model.get_attachment("infusenet_ip_adapter")
    original = type(binding).tokens

    def tokens(self, sides, like):
        seen.append(list(sides))
        return original(self, sides, like)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(binding), "tokens", tokens)
        sample(model, cfg=3.0, steps=1)
    assert {side for sides in seen for side in sides} == {0, 1}


def test_fastface_guider_takes_the_identity_off_without_a_second_model(applied, run, unet):
    """u and e1 have the same text: u sees nobody, e1 the person. So at a = 0, b = 1 the identity is half gone."""
    import comfy.samplers

    model = applied()
    inputs = {"positive": text(1), "negative": text(2), "rescale": 0.0}
    guider = run("DecoupledGuider", model=model, kind="identity", a="0", b="0", **inputs)[0]
    binding = model.get_attachment("infusenet_ip_adapter")
    nobody = copy.copy(binding)
    object.__setattr__(nobody, "face", binding.nobody)
    bare = run_with(run, unet, model, nobody)
    plain = comfy.samplers.CFGGuider(bare)
    plain.set_conds(text(2), text(2))
    torch.testing.assert_close(sample(model, guider=guider), sample(bare, guider=plain), rtol=1e-4, atol=1e-4)
    with pytest.raises(Exception, match="finds no identity"):
        run("DecoupledGuider", model=unet, kind="identity", a="1", b="1", **inputs)


def run_with(run, unet, model, binding):
    """The same MODEL with another binding."""
    from importlib import import_module

    patch = next(iter(model.model_options["transformer_options"]["patches_replace"]["attn2"].values()))
    package = type(patch).__module__.rsplit(".", 1)[0]
    layers = import_module(f"{package}.layers").layers_of(unet)
    attention = import_module(f"{package}.attention")
    other = model.clone()
    for index, layer in enumerate(layers):
        other.set_model_attn2_replace(attention.IdentityAttention(binding, index, layer.part), *layer.key)
    return other


@pytest.mark.parametrize("attention", ["scale", "soft mask"])
def test_attention_is_reshaped_but_never_between_pictures(applied, attention):
    model = applied(attention=attention)
    out = sample(model, batch=2)
    assert float((out[:1] - sample(applied(), batch=2)[:1]).abs().max()) > 1e-5
    torch.testing.assert_close(out[:1], sample(model)[:1], rtol=1e-3, atol=1e-3)


def test_block_weights(pack, applied, unet):
    module = pack.module("nodes.ip_adapter.apply")
    layers = pack.module("nodes.ip_adapter.layers").layers_of(unet)
    blocks = [f"{layer.block}_{layer.number}" for layer in layers]
    assert module.block_strengths("", layers) == [1.0] * len(layers)
    got = module.block_strengths(f"down=0.5, mid = 0; {blocks[0]}=2", layers)
    want = {"input": 0.5, "output": 1.0, "middle": 0.0}
    assert got == [2.0 if name == blocks[0] else want[layer.block] for name, layer in zip(blocks, layers)]
    assert torch.equal(sample(applied(block_weights="down=0, mid=0, up=0")), sample(unet))
    for wrong in ("left=1", "down", "down=x", "down=nan", "output_99=1"):
        with pytest.raises(Exception, match=r"block_weights must look like .*output_0"):
            module.block_strengths(wrong, layers)


# -- order, LoRA, memory ---------------------------------------------------------------------------------------------


def test_layers_of_true_sdxl_are_in_diffusers_order(pack):
    """24 down, 36 up, 10 middle; the widths of each, as the published files have them."""
    import comfy.supported_models

    config = {
        "image_size": 32, "use_spatial_transformer": True, "legacy": False, "num_classes": "sequential",
        "adm_in_channels": 2816, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_head_channels": 64,
        "num_res_blocks": [2, 2, 2], "transformer_depth": [0, 0, 2, 2, 10, 10], "channel_mult": [1, 2, 4],
        "transformer_depth_middle": 10, "use_linear_in_transformer": True, "context_dim": 2048,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "use_temporal_attention": False,
    }  # fmt: skip
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.ops import disable_weight_init

    assert comfy.supported_models.SDXL.unet_config["context_dim"] == 2048
    network = UNetModel(**config, device="meta", dtype=torch.float16, operations=disable_weight_init)
    model = SimpleNamespace(model=SimpleNamespace(diffusion_model=network))
    layers = pack.module("nodes.ip_adapter.layers").layers_of(model)
    assert [layer.width for layer in layers] == [640] * 4 + [1280] * 20 + [1280] * 30 + [640] * 6 + [1280] * 10
    assert {layer.text_width for layer in layers} == {2048}
    keys = [layer.key for layer in layers]
    assert keys[0] == ("input", 4, 0) and keys[4] == ("input", 7, 0) and keys[24] == ("output", 0, 0)
    assert keys[54] == ("output", 3, 0) and keys[60] == ("middle", 0, 0) and len(set(keys)) == 70
    assert layers[60].stem == "diffusion_model.middle_block.1.transformer_blocks.0"
    assert [layer.part for layer in layers[::24]] == ["down", "up", "up"] and layers[-1].part is None
    parameters = dict(network.named_parameters())
    for number in range(140):
        lora = {(number, part): (torch.zeros(1), torch.zeros(1)) for part in ("to_q", "to_k", "to_v", "to_out")}
        targets, _ = pack.module("nodes.ip_adapter.layers").lora_names(layers, lora)
        assert all(name.removeprefix("diffusion_model.") in parameters for name in targets.values())


def test_the_lora_in_the_file_is_added_to_the_models_weights(pack, applied, adapter, unet):
    import comfy.model_management

    comfy.model_management.load_models_gpu([unet], force_full_load=True)
    file = adapter("lora.safetensors", lora=True)
    model = applied(ip_adapter=file, lora_strength=0.5)
    layers = pack.module("nodes.ip_adapter.layers").layers_of(unet)
    weights = {key: value.clone() for key, value in unet.model_state_dict().items()}
    comfy.model_management.load_models_gpu([model], force_full_load=True)
    after = {key: value.clone() for key, value in model.model_state_dict().items()}
    comfy.model_management.load_models_gpu([unet], force_full_load=True)
    state = file.file.lora
    for number, part in ((0, "to_q"), (1, "to_k"), (1, "to_v"), (2 * len(layers) - 1, "to_out")):
        down, up = state[number, part]
        name = f"{layers[number // 2].stem}.attn{1 + number % 2}.{part}{'.0' * (part == 'to_out')}.weight"
        torch.testing.assert_close(after[name], weights[name] + 0.5 * up @ down, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, weights[key]) for key, value in unet.model_state_dict().items())
    assert applied(ip_adapter=file, lora_strength=0.0).patches == {}


def test_its_weights_are_the_hosts_to_load_and_no_clone_copies_them(applied, monkeypatch):
    import comfy.model_management

    model, asked, original = applied(), [], comfy.model_management.load_models_gpu

    def load(models, *args, **named):
        asked.append([type(entry.model).__name__ for entry in models])
        return original(models, *args, **named)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load)
    sample(model, steps=1)
    assert sum("Projections" in names for names in asked) == 1
    patches = [
        entry.model_options["transformer_options"]["patches_replace"]["attn2"] for entry in (model, model.clone())
    ]
    assert all(patches[0][key] is patches[1][key] for key in patches[0])


def test_two_people_are_two_nodes_and_the_unet_stays_untouched(applied, unet):
    plain = sample(unet)
    one, other = applied(), applied((GREEN,))
    both = applied((GREEN,), model=one)
    assert not torch.equal(sample(both), sample(one)) and not torch.equal(sample(both), sample(other))
    assert torch.equal(sample(unet), plain) and unet.get_attachment("infusenet_ip_adapter") is None
    with pytest.raises(Exception, match="after the nodes of IPAdapter_plus"):
        next(iter(one.model_options["transformer_options"]["patches_replace"]["attn2"].values())).add(print)


# -- what it refuses -------------------------------------------------------------------------------------------------


def test_another_model_is_refused(applied, run, mini, adapter, reader, unet):
    inputs = {"ip_adapter": adapter("x.safetensors"), "recognizer": reader, "image": photos(RED), **PLAIN}
    with pytest.raises(Exception, match="needs a MODEL with Stable Diffusion's UNet.*Apply InfuseNet Identity"):
        run("ApplyIPAdapter", model=mini("mini-schnell")[0], **inputs)
    with pytest.raises(Exception, match="text embeddings of width 24.*the MODEL is"):
        run("ApplyIPAdapter", model=unet, **{**inputs, "ip_adapter": adapter("y.safetensors", text=24)})


def test_recognizers_that_do_not_fit_are_refused(applied, reader, pack):
    with pytest.raises(Exception, match="needs a face recognizer"):
        applied(recognizer=SimpleNamespace(embed=None))
    short = Reader(pack)
    short.embed = lambda crops: np.ones([len(crops), 128], np.float32)
    with pytest.raises(Exception, match="embeddings of 512 numbers, but this recognizer gives 128"):
        applied(recognizer=short)
    blind = Reader(pack)
    blind.detector = SimpleNamespace(detect=lambda rgb, **_: [], sure=0.5)
    with pytest.raises(Exception, match="no face"):
        applied(recognizer=blind)


def test_nothing_chosen_and_files_that_are_gone(run, pack):
    with pytest.raises(Exception, match="Nothing is chosen.*ip-adapter-faceid-plusv2_sdxl.bin .*models/ipadapter"):
        run("LoadIPAdapter", ip_adapter="none")
    assert "missing" in pack.nodes["LoadIPAdapter"].validate_inputs(ip_adapter="gone.bin")


# -- FaceID plus v2 --------------------------------------------------------------------------------------------------


class Vision:
    """A CLIP vision of one layer: its states are the means of what it is shown."""

    image_size, load_device, patcher = 224, "cpu", None

    def __init__(self, width):
        self.width, self.seen = width, []

    def encode_image(self, image):
        self.seen.append(image)
        return {"penultimate_hidden_states": self.model(pixel_values=image.movedim(-1, 1))[1]}

    def model(self, pixel_values, intermediate_output=-2):
        mean = pixel_values.mean((2, 3))[:, :1, None] + 0.5
        return None, mean.expand(-1, 17, self.width)


@pytest.fixture
def plus(fastface, pack):
    return pack.module("infusenet.adapters.ip_adapter.layouts").read_ip_adapter(
        fastface.model("ip_adapter_faceid_plusv2.safetensors")
    )


def test_plus_reads_the_face_in_bgr_and_nobody_as_zeros(pack, plus, monkeypatch):
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "load_model_gpu", lambda patcher: None)
    person, reader, vision = pack.module("nodes.ip_adapter.person"), Reader(pack), Vision(16)
    reader.embed = lambda crops: np.full([len(crops), 32], 32**-0.5, np.float32)
    pictures = [(photos(colour)[0] * 255).byte().numpy() for colour in (RED, GREEN)]
    read = person.read_person(plus, reader, pictures, vision, fuse=False)
    (shown,) = vision.seen
    assert tuple(shown.shape) == (2, 224, 224, 3)
    assert float(shown[0, 112, 112, 2]) > 0.9 > 0.5 > float(shown[0, 112, 112, 0])  # red lies last
    assert read.face.shape == (2, 4, 24) and read.nobody.shape == (1, 4, 24)
    want = plus.projection(torch.zeros(1, 32), torch.full([1, 17, 16], 0.5))
    torch.testing.assert_close(read.nobody, want)
    with pytest.raises(Exception, match="needs CLIP's view.*CLIP-ViT-H-14"):
        person.read_person(plus, reader, pictures)
    with pytest.raises(Exception, match="width 16, but this clip_vision gives width 8"):
        person.read_person(plus, reader, pictures, Vision(8))


def test_the_real_recognizers_read_a_photo(pack, run, recognizer, person):
    """The pack's face recognizer, and the identity encoder, whose network the miniature was trained with."""
    module = pack.module("nodes.ip_adapter.person")
    names = dict.fromkeys(["image_proj", "arcface", "face_pack"], "miniature")
    (encoder,) = run("LoadIdentityEncoder", **names, device="cpu")
    pictures = [(person[0] * 255).byte().numpy()]
    for reads in (recognizer, encoder):
        size = torch.as_tensor(np.asarray(reads.embed(np.zeros([1, 112, 112, 3], np.uint8)))).shape[-1]
        file = SimpleNamespace(
            layout=SimpleNamespace(reads_look=False, title="x"), embedding=size, path=None,
            projection=lambda embedding, look: embedding[:, None],
        )  # fmt: skip
        read = module.read_person(file, reads, pictures)
        assert read.face.shape == (1, 1, size) and float(read.face.norm()) == pytest.approx(1, abs=1e-3)
        assert not read.nobody.any() and read.faces.shape == (1, 112, 112, 3)


def test_the_schema_says_which_recognizers_fit(pack):
    (entry,) = [one for one in pack.nodes["ApplyIPAdapter"].define_schema().inputs if one.id == "recognizer"]
    assert json.dumps(entry.get_io_type()) == '"INFUSENET_RECOGNIZER,INFUSENET_IDENTITY_ENCODER"'
