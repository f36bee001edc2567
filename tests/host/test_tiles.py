"""Nodes that sample in tiles: each tile has its own part of the pose and of the mask.

Stand-ins do what such packs do to a ControlNet: crop its hint before a run (`cropped`), set the tile's pixels at every
step (`set_pixels`), or encode the whole hint and set the tile's latents (`set_latents`).
"""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

SIDE, TILE = 16, 8  # latents a side
BOXES = [(row, column) for row in (0, TILE) for column in (0, TILE)]


@pytest.fixture(scope="module")
def parts(mini, mini_infusenet, person):
    model, clip, vae, _, _ = mini("mini-schnell")
    with torch.inference_mode():
        text = clip.encode_from_tokens_scheduled(clip.tokenize("a portrait of a person"))
    tokens = torch.randn(4, 8, 96, generator=torch.Generator().manual_seed(5))
    pose = F.interpolate(person.movedim(-1, 1), size=SIDE * 8).movedim(1, -1)
    return SimpleNamespace(model=model, vae=vae, text=text, tokens=tokens, infusenet=mini_infusenet, pose=pose)


@pytest.fixture
def bound(run, parts):
    """`bound(pose_image=..., mask=...)`: the ControlNet that Apply hangs on the conditioning, ready to run."""

    def make(count=1, **changed):
        inputs = {"positive": parts.text, "infusenet": parts.infusenet, "vae": parts.vae, "strength": 1.0}
        inputs |= {"start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}
        identity = SimpleNamespace(tokens=parts.tokens[:count], recognizer=None, notices=())
        return run("Apply", **inputs, identity=identity, **changed)[0][0][1]["control"]

    return make


def cropped(control, box, parts):
    row, column = box
    tile, hint = control.copy(), control.cond_hint_original
    height, width = (size * TILE // SIDE for size in hint.shape[2:])
    top, left = row * hint.shape[2] // SIDE, column * hint.shape[3] // SIDE
    part = hint[:, :, top : top + height, left : left + width]
    tile.cond_hint_original = F.interpolate(part, size=(TILE * 8, TILE * 8), mode="nearest-exact")
    return tile


def set_pixels(control, box, parts):
    row, column = box
    whole = F.interpolate(control.cond_hint_original, size=(SIDE * 8, SIDE * 8), mode="nearest-exact")
    tile = control.copy()
    tile.cond_hint = whole.narrow(2, row * 8, TILE * 8).narrow(3, column * 8, TILE * 8).clone()
    return tile


def set_latents(control, box, parts):
    import comfy.utils

    row, column = box
    size = SIDE * control.compression_ratio * control.vae.downscale_ratio
    whole = comfy.utils.common_upscale(control.cond_hint_original, size, size, control.upscale_algorithm, "center")
    latents = control.latent_format.process_in(control.vae.encode(control.preprocess_image(whole).movedim(1, -1)))
    masks = [comfy.utils.common_upscale(m, SIDE, SIDE, "nearest-exact", "center") for m in control.extra_concat_orig]
    latents = torch.cat([latents, *(m.expand(len(latents), -1, -1, -1) for m in masks)], dim=1)
    tile = control.copy()
    tile.cond_hint = latents[:, :, row : row + TILE, column : column + TILE]
    return tile


TILERS = pytest.mark.parametrize("tiler", [cropped, set_pixels, set_latents])


def evaluated(control, parts, batch=1, side=TILE):
    """(the hint that InfuseNet read, its residuals) of one evaluation."""
    inner, heard = parts.model.model, []
    control.pre_run(inner, inner.model_sampling.percent_to_sigma)
    network = control.control_model
    control.control_model = lambda **given: heard.append(given["hint"]) or network(**given)
    control.control_model.dtype, control.control_model.hidden_size = network.dtype, network.hidden_size
    x = torch.randn(batch, 16, side, side, generator=torch.Generator().manual_seed(1))
    cond = {"c_crossattn": parts.text[0][0].expand(batch, -1, -1), "y": parts.text[0][1]["pooled_output"]}
    cond["y"] = cond["y"].expand(batch, -1)
    try:
        control.model_sampling_current = inner.model_sampling
        residuals = control.get_control(x, torch.full((batch,), 0.7), cond, 1, {})
    finally:
        control.control_model = network
        control.cleanup()
    return heard[0], residuals


def test_the_hint_is_as_the_host_has_it(bound, parts):
    assert torch.zeros(1).to(bound().device).device.type == "cpu", "as some tilers ask"
    assert tuple(bound().cond_hint_original.shape)[:2] == (1, 3) and not bound().cond_hint_original.any()
    assert torch.equal(bound(pose_image=parts.pose).cond_hint_original, parts.pose.movedim(-1, 1))
    masked = bound(pose_image=parts.pose, mask=torch.ones(1, 32, 32)).cond_hint_original
    assert tuple(masked.shape) == (1, 4, SIDE * 8, SIDE * 8) and bool((masked[:, 3] == 1).all())


@TILERS
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.exact
def test_without_a_pose_a_tile_is_as_any_picture_of_its_size(bound, parts, tiler, count):
    plain, want = evaluated(bound(count), parts, count)
    hint, got = evaluated(tiler(bound(count), (TILE, 0), parts), parts, count)
    if tiler is not set_latents:  # black encoded with its neighbours is another black
        assert torch.equal(hint, plain)
        assert all(torch.equal(a, b) for a, b in zip(got["input"], want["input"], strict=True))
    assert hint.shape == plain.shape and bool(torch.isfinite(hint).all())


@TILERS
@pytest.mark.parametrize("box", BOXES)
def test_a_tile_has_its_part_of_the_pose(bound, parts, tiler, box):
    row, column = (place * 8 for place in box)
    part = parts.pose[:, row : row + TILE * 8, column : column + TILE * 8]
    want = evaluated(bound(pose_image=part), parts)[0]
    if tiler is set_latents:
        want = evaluated(bound(pose_image=parts.pose), parts, side=SIDE)[0]
        want = want[:, :, box[0] : box[0] + TILE, box[1] : box[1] + TILE]
    assert torch.equal(evaluated(tiler(bound(pose_image=parts.pose), box, parts), parts)[0], want)


@TILERS
@pytest.mark.parametrize("posed", [False, True])
@pytest.mark.parametrize("count", [1, 4])
def test_a_tile_has_its_part_of_the_mask(bound, parts, tiler, posed, count):
    mask = torch.zeros(1, SIDE * 8, SIDE * 8)
    mask[:, : TILE * 8] = 1
    given = {"mask": mask} | ({"pose_image": parts.pose} if posed else {})
    sums = []
    for box in BOXES:
        residuals = evaluated(tiler(bound(count, **given), box, parts), parts, count)[1]
        sums.append([float(each.abs().sum()) for each in residuals["input"]])
    assert all(value > 0 for white in sums[:2] for value in white)
    assert all(value == 0 for black in sums[2:] for value in black)


@TILERS
def test_a_run_after_tiles_is_the_whole_again(bound, parts, tiler):
    control = bound(pose_image=parts.pose)
    before = evaluated(control, parts, side=SIDE)[0]
    evaluated(tiler(control, (0, TILE), parts), parts)
    assert torch.equal(evaluated(control, parts, side=SIDE)[0], before)
