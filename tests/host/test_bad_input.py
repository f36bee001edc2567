"""What goes wrong for a user ends in one message that says what was expected, what came, and what to do."""

import builtins
import json
import pickle
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

NO_FILES = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")


@pytest.fixture(scope="module")
def errors(pack):
    return pack.module("infusenet.errors")


@pytest.fixture(scope="module")
def shipped(pack):
    return pack.module("infusenet.miniature")


@pytest.fixture
def mine(pack, folders, tmp_path):
    """A folder of the user's, known to the host as `infinite_you` and `insightface`."""
    for name in ("infinite_you", "insightface"):
        folders(name, tmp_path)
    pack.module("nodes.paths").register_folders()
    return tmp_path


def load_infusenet(run, name):
    return run("LoadInfuseNet", infusenet=name, weight_dtype="default")


def load_encoder(run, **changed):
    chosen = {"image_proj": "miniature", "arcface": "miniature", "face_pack": "miniature", "device": "cpu", **changed}
    return run("LoadIdentityEncoder", **chosen)


# ----------------------------------------------------------------------------------------------- photos


class Detector:
    """Finds the faces it is told, each [left, top, right, bottom]."""

    provider = "CPUExecutionProvider"

    def __init__(self, *boxes):
        self.boxes = boxes

    def detect(self, rgb, **options):
        from infusenet_pack.infusenet.faces.detect import Face

        return [
            Face(np.array(box, np.float32), kps(*box), 0.9)
            for box in sorted(self.boxes, key=lambda b: -(b[2] - b[0]) * (b[3] - b[1]))
        ]


def kps(left, top, right, bottom):
    """Five landmarks where a frontal face has them."""
    shares = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
    return np.array([(left + x * (right - left), top + y * (bottom - top)) for x, y in shares], np.float32)


@pytest.fixture
def encode(pack, run, shipped):
    """`encode(image, boxes...)`: Encode Identity with a detector that finds these faces."""
    home = "infusenet.adapters.infusenet"
    encoder_class = pack.module(f"{home}.encoder").IdentityEncoder
    recognizer = pack.module(f"{home}.arcface").IRSE.from_file(shipped.ARCFACE)
    projector = pack.module(f"{home}.resampler").Resampler.from_file(shipped.IMAGE_PROJ)

    def call(image, *boxes, **changed):
        settings = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error", **changed}
        encoder = encoder_class(Detector(*boxes), recognizer, projector.float())
        return run("EncodeIdentity", encoder=encoder, image=image, **settings)

    return call


FACE, OTHER = (20, 20, 100, 110), (110, 30, 160, 90)


def photo(channels=3, batch=1):
    return torch.rand(batch, 128, 192, channels, generator=torch.Generator().manual_seed(2))


def test_no_face(encode, errors):
    with pytest.raises(errors.FaceError, match="no face was found"):
        encode(photo())
    with pytest.raises(errors.FaceError, match="Picture 1"):
        encode(photo(batch=2))


@pytest.mark.exact
def test_two_faces(encode, errors):
    """The largest, or the one asked for; one that is not there is an error that says how many there are."""
    largest = encode(photo(), FACE, OTHER)[1]
    right = encode(photo(), FACE, OTHER, face="index", face_index=1)[1]
    assert not torch.equal(largest, right)
    assert torch.equal(largest, encode(photo(), FACE, OTHER, face="index", face_index=0)[1])
    with pytest.raises(errors.FaceError, match="2 faces, so there is no face 2"):
        encode(photo(), FACE, OTHER, face="index", face_index=2)


def test_a_face_of_32_pixels(encode, errors):
    with pytest.raises(errors.FaceError, match=r"only 32 pixels wide"):
        encode(photo(), (50, 50, 76, 82))


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_transparent_photos_are_taken(encode, channels):
    identity, faces, count = encode(photo(channels), FACE)
    assert identity.tokens.shape == (1, 8, 96) and faces.shape == (1, 112, 112, 3) and count == 1


def test_not_a_picture(encode, errors):
    with pytest.raises(errors.PictureError, match="Expected an IMAGE"):
        encode(torch.rand(4, 4), FACE)


def test_photos_without_a_face_are_skipped_on_request(encode, errors):
    with pytest.raises(errors.FaceError, match="None of the 2 pictures"):
        encode(photo(batch=2), on_no_face="skip")


def test_what_was_chosen_or_left_out_is_said_on_the_node(encode, pack, monkeypatch):
    said = []
    monkeypatch.setattr(pack.module("nodes.infusenet.encode"), "show", lambda node, text: said.append(text))
    encode(photo(), FACE)
    assert said == []
    encode(photo(), FACE, OTHER)
    assert "shows 2 faces, and the largest was used" in said.pop()
    find = Detector.detect
    monkeypatch.setattr(Detector, "detect", lambda self, rgb, **more: find(self, rgb, **more) if rgb.mean() else [])
    three = photo(batch=3)
    three[1] = 0
    assert encode(three, FACE, on_no_face="skip")[2] == 2
    assert "Picture 2" in said[-1] and "move up" not in said.pop()
    encode(three, FACE, on_no_face="skip", batch="one per image")
    assert "3 photos gave 2 identities, and those after a skipped photo move up" in said.pop()


def test_fused_or_one_a_picture(encode):
    fused, faces, count = encode(photo(batch=3), FACE)
    each, *_ = encode(photo(batch=3), FACE, batch="one per image")
    assert (fused.tokens.shape[0], each.tokens.shape[0], count, len(faces)) == (1, 3, 3, 3)
    mean = torch.nn.functional.normalize(each.embedding.mean(0, keepdim=True), dim=1)
    torch.testing.assert_close(fused.embedding, mean)


def test_the_faces_that_come_out_are_rgb(encode):
    image = torch.zeros(1, 128, 192, 3)
    image[..., 0] = 1  # red
    faces = encode(image, FACE)[1]
    assert float(faces[0, 56, 56, 0]) == 1 and not faces[0, 56, 56, 1:].any()


# ----------------------------------------------------------------------------------------------- weight files


def test_nothing_chosen(run, errors):
    for call in (
        lambda: load_infusenet(run, "none"),
        lambda: load_encoder(run, image_proj="none"),
        lambda: run("LoadBackbone", backbone="flux-dev", **NO_FILES, weight_dtype="default"),
    ):
        with pytest.raises(errors.SettingsError, match=r"(?i)choose"):
            call()


def test_a_file_that_is_gone(run, mine, errors):
    with pytest.raises(errors.SettingsError, match=f"gone.safetensors was not found. Searched: .*{mine}"):
        load_infusenet(run, "gone.safetensors")


def test_a_published_file_that_is_gone_or_not_chosen_is_told_with_page_folder_licence_and_size(run, mine, errors):
    home = "https://huggingface.co/ByteDance/InfiniteYou/blob/main/infu_flux_v1.0/sim_stage1"
    for call, name, size, folder in (
        (lambda: load_infusenet(run, "none"), "infusenet_sim_bf16.safetensors", "5.9 GB", ""),
        (lambda: load_infusenet(run, "infusenet_sim_bf16.safetensors"), "infusenet_sim_bf16.safetensors", "5.9 GB", ""),
        (lambda: load_encoder(run, image_proj="none"), "image_proj_model.bin", "338 MB", "/sim_stage1"),
    ):
        with pytest.raises(errors.SettingsError) as caught:
            call()
        advice = (
            f"{name} ({size}; CC BY-NC 4.0: no commercial use) from {home}/{name} into models/infinite_you{folder}."
        )
        assert f"Download {advice}" in str(caught.value)


def test_a_loader_takes_what_its_list_holds_and_refuses_the_rest_before_the_run(pack, mine):
    (mine / "sim_stage1").mkdir()
    (mine / "sim_stage1" / "image_proj_model.bin").touch()
    encoder, infusenet = pack.nodes["LoadIdentityEncoder"], pack.nodes["LoadInfuseNet"]
    chosen = {"image_proj": "sim_stage1/image_proj_model.bin", "arcface": "none", "face_pack": "miniature"}
    assert encoder.validate_inputs(**chosen) is True
    assert encoder.validate_inputs() is True  # what links bring is not known yet
    told = encoder.validate_inputs(**chosen | {"arcface": "recognition_arcface_ir_se50.pth"})
    assert told.startswith(
        "arcface: 'recognition_arcface_ir_se50.pth' is missing. Download recognition_arcface_ir_se50"
    )
    assert "image_proj" not in told
    for odd in ("mine.safetensors", 3, ["none"], {"a": 1}, "\ud800", "x" * 5000):
        told = infusenet.validate_inputs(infusenet=odd)
        assert "is missing. Choose another file. Refresh" in told and len(told) < 300


def test_a_template_made_elsewhere_finds_its_files_on_windows(pack, monkeypatch):
    checks, encoder = pack.module("nodes.checks"), pack.nodes["LoadIdentityEncoder"]
    monkeypatch.setattr(pack.module("nodes.paths"), "files", lambda *_: ["sim_stage1\\image_proj_model.bin"])
    for name in ("sim_stage1/image_proj_model.bin", "sim_stage1\\image_proj_model.bin"):
        assert checks.listed(encoder, image_proj=name) is True


def test_a_path_that_leaves_the_folder(run, mine, errors):
    (mine.parent / "outside.safetensors").write_bytes(b"x")
    with pytest.raises(errors.SettingsError, match="not found"):
        load_infusenet(run, "../outside.safetensors")


def test_truncated_safetensors(run, mine, shipped, errors):
    whole = (shipped.INFUSENET / "diffusion_pytorch_model.safetensors").read_bytes()
    (mine / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(errors.WeightsError, match="incomplete"):
        load_infusenet(run, "cut.safetensors")


def changed_infusenet(shipped, path, change):
    state = load_file(shipped.INFUSENET / "diffusion_pytorch_model.safetensors")
    change(state)
    save_file(state, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("transformer_blocks.0.attn.to_k.weight"), r"1 missing \(transformer_blocks\.0\.attn\.to_k"),
        (lambda s: s.update({"renamed": s.pop("controlnet_blocks.0.bias")}), "1 missing .*1 unexpected"),
        (lambda s: s.update({"controlnet_blocks.0.bias": torch.zeros(3)}), "1 with another shape"),
        (lambda s: s.pop("x_embedder.weight"), "the tensor x_embedder.weight is missing"),
    ],
)
def test_renamed_missing_and_wrongly_shaped_keys(run, mine, shipped, errors, change, message):
    changed_infusenet(shipped, mine / "odd.safetensors", change)
    with pytest.raises(errors.WeightsError, match=message):
        load_infusenet(run, "odd.safetensors")


def test_nan_weights(run, mine, shipped, errors):
    changed_infusenet(shipped, mine / "nan.safetensors", lambda s: s["controlnet_blocks.0.bias"].fill_(float("nan")))
    with pytest.raises(errors.WeightsError, match="holds NaN or infinity"):
        load_infusenet(run, "nan.safetensors")


def test_a_resampler_of_flat_tensors(run, mine, shipped, errors):
    state = load_file(shipped.IMAGE_PROJ)
    save_file(state | {"latents": state["latents"].flatten()}, mine / "flat.safetensors")
    with pytest.raises(errors.WeightsError, match="a known network's names with other shapes"):
        load_encoder(run, image_proj="flat.safetensors")


def test_another_models_file(run, mine, shipped, errors):
    shutil.copy(shipped.IMAGE_PROJ, mine / "proj.safetensors")
    shutil.copy(
        shipped.BACKBONES["mini-dev"] / "transformer" / "diffusion_pytorch_model.safetensors", mine / "flux.safetensors"
    )
    with pytest.raises(errors.WeightsError, match=r"(?i)resampler"):
        load_infusenet(run, "proj.safetensors")
    with pytest.raises(errors.WeightsError, match="FLUX"):
        load_infusenet(run, "flux.safetensors")
    with pytest.raises(errors.WeightsError, match=r"(?i)resampler"):
        load_encoder(run, image_proj="flux.safetensors")
    with pytest.raises(errors.WeightsError, match=r"(?i)resampler"):
        load_encoder(run, arcface="proj.safetensors")


def test_a_web_page_instead_of_the_file(run, mine, errors):
    (mine / "page.safetensors").write_text("<!DOCTYPE html><html>Please log in</html>")
    with pytest.raises(errors.WeightsError, match="HTML page"):
        load_infusenet(run, "page.safetensors")


class Malicious:
    def __reduce__(self):
        return builtins.exec, ("import sys; sys.infusenet_was_hacked = True",)


def test_a_malicious_pickle_does_not_run(run, mine, errors):
    torch.save({"image_proj": Malicious()}, mine / "image_proj_model.bin")
    (mine / "plain.bin").write_bytes(pickle.dumps(Malicious()))
    for name in ("image_proj_model.bin", "plain.bin"):
        with pytest.raises(errors.WeightsError):
            load_encoder(run, image_proj=name)
    assert not hasattr(sys, "infusenet_was_hacked")


def test_the_true_pickle_layout_loads(run, mine, shipped):
    """InfiniteYou's `image_proj_model.bin` is a pickle with everything under the key image_proj."""
    torch.save({"image_proj": load_file(shipped.IMAGE_PROJ)}, mine / "image_proj_model.bin")
    (encoder,) = load_encoder(run, image_proj="image_proj_model.bin")
    assert encoder.token_width == 96


def test_single_and_sharded_files_load_alike(run, mine, shipped):
    """The folder, the folder in shards with its index, and the single file in bf16 and fp8."""
    state = load_file(shipped.INFUSENET / "diffusion_pytorch_model.safetensors")
    folder = mine / "sim_stage1" / "InfuseNetModel"
    folder.mkdir(parents=True)
    shutil.copy(shipped.INFUSENET / "config.json", folder)
    keys = sorted(state)
    shards = {
        "a-00001-of-00002.safetensors": keys[: len(keys) // 2],
        "a-00002-of-00002.safetensors": keys[len(keys) // 2 :],
    }
    for file, part in shards.items():
        save_file({key: state[key] for key in part}, folder / file)
    index = {"metadata": {}, "weight_map": {key: file for file, part in shards.items() for key in part}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    save_file(state, mine / "infusenet_sim_bf16.safetensors")
    save_file({k: v.to(torch.float8_e4m3fn) for k, v in state.items()}, mine / "infusenet_sim_fp8e4m3fn.safetensors")
    whole = load_infusenet(run, "miniature")[0].control_model.state_dict()
    for name in ("sim_stage1/InfuseNetModel", "infusenet_sim_bf16.safetensors"):
        got = load_infusenet(run, name)[0].control_model.state_dict()
        assert all(torch.equal(got[key], value) for key, value in whole.items())
    small = load_infusenet(run, "infusenet_sim_fp8e4m3fn.safetensors")[0].control_model
    assert small.img_in.weight.dtype == torch.float8_e4m3fn


def test_the_lists_offer_what_lies_there(pack, mine, shipped):
    """Folders once and not their shards; every file of ours, none of other kinds."""
    (mine / "sim_stage1" / "InfuseNetModel").mkdir(parents=True)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copy(shipped.INFUSENET / name, mine / "sim_stage1" / "InfuseNetModel")
    (mine / "models" / "antelopev2").mkdir(parents=True)
    (mine / "models" / "antelopev2" / "scrfd_10g_bnkps.onnx").write_bytes(b"x")
    for name in ("image_proj_model.bin", "infusenet_sim_bf16.safetensors", "readme.txt"):
        (mine / name).write_bytes(b"x")

    def options(node, key):
        inputs = pack.nodes[node].INPUT_TYPES()["required"][key]
        return inputs[0] if isinstance(inputs[0], list) else inputs[1]["options"]

    adapters = options("LoadInfuseNet", "infusenet")
    assert "sim_stage1/InfuseNetModel" in adapters and "infusenet_sim_bf16.safetensors" in adapters
    assert not any("readme" in name or "diffusion_pytorch" in name or "image_proj" in name for name in adapters)
    assert "image_proj_model.bin" in options("LoadIdentityEncoder", "image_proj")
    assert "models/antelopev2" in options("LoadIdentityEncoder", "face_pack")


# ----------------------------------------------------------------------------------------------- FLUX's files


@pytest.fixture
def true(sibling):
    """Files of the published names, shapes and sizes."""
    return sibling("true_files")


def test_expected_tensors_of_the_published_models(pack, true):
    """780 tensors of dev in the original layout, 11.9 B parameters; 314 tensors and 2.95 B of InfuseNet."""
    shapes, original = true.flux_shapes(pack, guidance=True)
    assert len(original) == 780
    assert round(sum(int(np.prod(shape)) for shape in shapes.values()) / 1e9, 1) == 11.9
    config = true.PUBLISHED | {"num_layers": 4, "num_single_layers": 10, "guidance_embeds": True}
    adapter = pack.module("infusenet.flux.networks").expected_tensors(config, controlnet=True)
    assert len(adapter) == 314
    assert round(sum(int(np.prod(shape)) for shape in adapter.values()) / 1e9, 2) == 2.95


@pytest.mark.parametrize("layout", [0, 1])
def test_the_other_variant_is_told_from_the_weights(pack, run, folders, tmp_path, errors, layout, true):
    folders("diffusion_models", tmp_path)
    true.header_only(tmp_path / "flux1-dev.safetensors", true.flux_shapes(pack, guidance=True)[layout])
    files = {**NO_FILES, "diffusion_model": "flux1-dev.safetensors"}
    with pytest.raises(errors.SettingsError, match=r"holds FLUX\.1 dev.*Set backbone to flux-dev"):
        run("LoadBackbone", backbone="flux-schnell", **files, weight_dtype="default")
    with pytest.raises(errors.SettingsError, match="text encoders"):  # the file itself is fine
        run("LoadBackbone", backbone="flux-dev", **files, weight_dtype="default")


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_backbone_that_lacks_tensors(pack, run, folders, tmp_path, errors, prefix, true):
    folders("diffusion_models", tmp_path)
    shapes = true.flux_shapes(pack, guidance=False)[1]
    shapes.pop("single_blocks.7.linear1.weight")
    true.header_only(tmp_path / "f.safetensors", {prefix + key: value for key, value in shapes.items()})
    with pytest.raises(errors.WeightsError, match=r"is missing 1 tensors \(single_blocks\.7\.linear1\.weight\)"):
        run(
            "LoadBackbone",
            backbone="flux-schnell",
            **{**NO_FILES, "diffusion_model": "f.safetensors"},
            weight_dtype="default",
        )


def test_not_a_flux_file(run, folders, tmp_path, shipped, errors):
    folders("diffusion_models", tmp_path)
    shutil.copy(shipped.IMAGE_PROJ, tmp_path / "x.safetensors")
    with pytest.raises(errors.WeightsError, match=r"not a FLUX\.1 transformer.*(?i:resampler)"):
        run(
            "LoadBackbone",
            backbone="flux-dev",
            **{**NO_FILES, "diffusion_model": "x.safetensors"},
            weight_dtype="default",
        )


def test_wrong_text_encoders_and_vae(pack, run, folders, tmp_path, shipped, errors, true):
    for name in ("diffusion_models", "text_encoders", "vae"):
        folders(name, tmp_path)
    true.header_only(tmp_path / "flux.safetensors", true.flux_shapes(pack, guidance=True)[1])
    shutil.copy(shipped.IMAGE_PROJ, tmp_path / "proj.safetensors")
    true.header_only(tmp_path / "clip_l.safetensors", {"text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768)})
    true.header_only(tmp_path / "t5.safetensors", {"encoder.block.0.layer.0.SelfAttention.k.weight": (4096, 4096)})
    true.header_only(tmp_path / "sd_vae.safetensors", {"decoder.conv_in.weight": (512, 4, 3, 3)})

    def load(one, two, vae):
        files = {"diffusion_model": "flux.safetensors", "text_encoder_1": one, "text_encoder_2": two, "vae": vae}
        run("LoadBackbone", backbone="flux-dev", **files, weight_dtype="default")

    with pytest.raises(errors.WeightsError, match="one CLIP-L and one T5"):
        load("clip_l.safetensors", "clip_l.safetensors", "sd_vae.safetensors")
    with pytest.raises(errors.WeightsError, match=r"proj\.safetensors seems to be"):
        load("clip_l.safetensors", "proj.safetensors", "sd_vae.safetensors")
    with pytest.raises(errors.SettingsError, match="two text encoders"):
        load("clip_l.safetensors", "none", "sd_vae.safetensors")
    with pytest.raises(errors.WeightsError, match="not FLUX's VAE"):
        load("t5.safetensors", "clip_l.safetensors", "sd_vae.safetensors")
    with pytest.raises(errors.SettingsError, match="holds no VAE. Choose FLUX's"):
        load("t5.safetensors", "clip_l.safetensors", "none")


# ----------------------------------------------------------------------------------------------- packages, models


def test_a_missing_face_stack_leaves_the_other_nodes(pack, run, errors, monkeypatch):
    """This node alone fails, with the command to run."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("insightface", "onnxruntime")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(errors.PackageError, match="-m pip install"):
        load_encoder(run, device="auto")
    assert run("LoadBackbone", backbone="mini-dev", **NO_FILES, weight_dtype="default")[3] == 28
    assert load_infusenet(run, "miniature")


def test_sigmas_of_a_model_that_is_not_flux(run, errors):
    other = SimpleNamespace(model=SimpleNamespace(model_config=SimpleNamespace(unet_config={"image_model": "sdxl"})))
    with pytest.raises(errors.SettingsError, match="this MODEL is sdxl"):
        run("Sigmas", model=other, latent={"samples": torch.zeros(1, 16, 8, 8)}, steps=4, denoise=1.0)


def test_latents_that_are_not_flux(run, mini, errors):
    with pytest.raises(errors.SettingsError, match="Expected FLUX latents"):
        run("Sigmas", model=mini("mini-dev")[0], latent={"samples": torch.ones(1, 4, 8, 8)}, steps=4, denoise=1.0)


def test_folders_of_extra_model_paths_are_kept(pack, host, tmp_path):
    """What extra_model_paths.yaml put there stays first; our extensions are set."""
    import folder_paths

    before = dict(folder_paths.folder_names_and_paths)
    try:
        folder_paths.folder_names_and_paths.pop("infinite_you", None)
        folder_paths.add_model_folder_path("infinite_you", str(tmp_path))
        pack.module("nodes.paths").register_folders()
        pack.module("nodes.paths").register_folders()
        paths, extensions = folder_paths.folder_names_and_paths["infinite_you"]
        assert paths[0] == str(tmp_path) and len(paths) == len(set(paths)) == 3
        assert {".safetensors", ".bin", ".pth"} <= extensions
    finally:
        folder_paths.folder_names_and_paths.clear()
        folder_paths.folder_names_and_paths.update(before)


@pytest.mark.parametrize(("backbone", "length"), [("flux-dev", 512), ("flux-schnell", 256)])
def test_the_hosts_loaders_get_the_users_files(pack, run, folders, tmp_path, monkeypatch, backbone, length, true):
    """Files in any order, the storage that was chosen, the variant's own text length and settings."""
    import comfy.sd
    import comfy.utils

    asked = {}

    class Clip:
        def set_tokenizer_option(self, name, value):
            asked[name] = value

    class Vae:
        def __init__(self, sd):
            asked["vae"], self.patcher = sorted(sd), SimpleNamespace()

        def throw_exception_if_invalid(self):
            asked["valid"] = True

    def load_model(path, model_options):
        asked["model"] = (path, model_options)
        return Clip()

    def load_clip(paths, embedding_directory, clip_type):
        asked["clip"] = (paths, clip_type)
        return Clip()

    monkeypatch.setattr(comfy.sd, "load_diffusion_model", load_model)
    monkeypatch.setattr(comfy.sd, "load_clip", load_clip)
    monkeypatch.setattr(comfy.sd, "VAE", Vae)
    for name in ("diffusion_models", "text_encoders", "vae"):
        folders(name, tmp_path)
    true.header_only(
        tmp_path / "flux.safetensors", true.flux_shapes(pack, guidance=backbone == "flux-dev")[1], "F8_E4M3"
    )
    true.header_only(tmp_path / "l.safetensors", {"text_model.encoder.layers.0.mlp.fc1.weight": (30, 7)})
    true.header_only(tmp_path / "t5.safetensors", {"encoder.block.0.layer.0.SelfAttention.k.weight": (40, 40)})
    true.header_only(tmp_path / "ae.safetensors", {"decoder.conv_in.weight": (8, 16, 3, 3)})
    *_, steps, guidance = run(
        "LoadBackbone",
        backbone=backbone,
        diffusion_model="flux.safetensors",
        text_encoder_1="t5.safetensors",
        text_encoder_2="l.safetensors",
        vae="ae.safetensors",
        weight_dtype="fp8_e5m2",
    )
    assert (steps, guidance) == ((28, 3.5) if backbone == "flux-dev" else (4, 0.0))
    assert asked["model"] == (str(tmp_path / "flux.safetensors"), {"dtype": torch.float8_e5m2})
    assert asked["clip"] == ([str(tmp_path / n) for n in ("t5.safetensors", "l.safetensors")], comfy.sd.CLIPType.FLUX)
    assert asked["t5xxl_min_length"] == length
    assert asked["vae"] == ["decoder.conv_in.weight"] and asked["valid"]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../etc/passwd", "..\\..\\secret", "C:\\secret", "C:secret", "\\\\host\\file"]
)
def test_a_name_that_a_link_brings_stays_inside_the_hosts_folders(pack, tmp_path, folders, name):
    folders("infinite_you", tmp_path)
    errors = pack.module("infusenet.errors")
    with pytest.raises(errors.SettingsError, match="was not found. Searched"):
        pack.module("nodes.paths").find(name, "infinite_you")
