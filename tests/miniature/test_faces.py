"""The drawn portraits: repeatable, with landmarks and boxes that lie where the face is."""

import pytest
import torch

from infusenet.miniature import faces, heads, scenes

N = 24


def draw(seed: int, n: int = N, **settings):
    generator = torch.Generator().manual_seed(seed)
    identity = faces.sample_identities(n, generator)
    scene = faces.sample_scenes(n, generator, **settings)
    return identity, scene, faces.render(identity, scene)


def pixel(images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Colours at points (n, 2): (n, 3)."""
    at = points.round().long()
    return images[torch.arange(len(images)), :, at[:, 1], at[:, 0]]


def test_samples_have_one_value_per_person_within_range():
    generator = torch.Generator().manual_seed(0)
    identity = faces.sample_identities(500, generator)
    scene = faces.sample_scenes(500, generator)
    for value in (*identity.values(), *scene.values()):
        assert value.shape == (500,)
    for name, value in identity.items():
        if value.is_floating_point():
            assert 0 <= value.min() < 0.1 and 0.9 < value.max() <= 1, name
    for name, names in (
        ("hair_style", faces.HAIR_STYLES),
        ("hair_colour", faces.HAIR_COLOURS),
        ("beard", faces.BEARDS),
    ):
        assert set(identity[name].tolist()) == set(range(len(names)))
    for name, names in (
        ("background", scenes.BACKGROUNDS),
        ("clothes", scenes.CLOTHES),
        ("light", scenes.LIGHTS),
        ("clothes_colour", scenes.COLOURS),
        ("expression", scenes.EXPRESSIONS),
        ("accessory", scenes.ACCESSORIES),
        ("style", scenes.STYLES),
    ):
        assert set(scene[name].tolist()) == set(range(len(names)))


def test_plain_scenes_are_reference_photos():
    scene = faces.sample_scenes(300, torch.Generator().manual_seed(0), plain=True, styled=1.0)
    for name in ("expression", "accessory", "style"):
        assert not scene[name].any()
    assert set(scene["background"].tolist()) == {0, 1}
    assert 5 not in scene["light"]
    assert scene["yaw"].abs().max() < 0.2


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_styled_pictures(share):
    scene = faces.sample_scenes(2000, torch.Generator().manual_seed(0), styled=share)
    assert (scene["style"] > 0).double().mean().item() == pytest.approx(share, abs=0.04)


@pytest.mark.exact
def test_same_seed_same_pictures_and_part_of_a_batch_equals_the_batch():
    first, second = draw(3), draw(3)
    assert torch.equal(first[2].images, second[2].images)
    part = faces.render({k: v[5:7] for k, v in first[0].items()}, {k: v[5:7] for k, v in first[1].items()})
    torch.testing.assert_close(part.images, first[2].images[5:7], atol=1e-4, rtol=0)
    torch.testing.assert_close(part.landmarks, first[2].landmarks[5:7])


def test_pictures_are_finite_in_range_and_of_the_agreed_size():
    _, scene, drawn = draw(1, styled=0.6)
    empty = faces.render_scene(scene)
    for images in (drawn.images, empty):
        assert images.shape == (N, 3, faces.SIZE, faces.SIZE) and images.dtype == torch.float32
        assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1
    assert drawn.landmarks.shape == (N, 5, 2) and drawn.boxes.shape == (N, 4)


def test_eye_landmarks_lie_on_pupils_and_are_ringed_by_the_iris_colour():
    identity, scene, _ = draw(2, n=200, plain=True)
    keep = (identity["eye_aspect"] > 0.4) & (identity["eye_size"] > 0.3) & (scene["light"] == 0)
    drawn = faces.render(identity, scene)
    for eye in (0, 1):
        points = drawn.landmarks[:, eye]
        shifts = torch.cartesian_prod(torch.arange(-1.0, 2.0), torch.arange(-1.0, 2.0))
        around = torch.stack([pixel(drawn.images, points + shift) for shift in shifts])
        assert around.mean(2).amin(0)[keep].max() < 0.2
        side = torch.stack([pixel(drawn.images, points + torch.tensor([dx, 0.0])) for dx in (-3.0, -2.5, 2.5, 3.0)])
        iris = torch.tensor(heads.IRIS_COLOURS)[identity["iris"]]
        distance = (side - iris).abs().mean(2).amin(0)
        assert distance[keep].mean() < 0.1


def test_mouth_landmarks_bound_the_lips():
    identity, scene, _ = draw(4, n=64, plain=True)
    identity |= {
        "beard": torch.zeros(64, dtype=torch.long),
        "lips": torch.ones(64),
        "skin": torch.zeros(64),
        "mole": torch.zeros(64, dtype=torch.long),
    }
    scene |= {"roll": torch.zeros(64), "light": torch.zeros(64, dtype=torch.long)}
    drawn = faces.render(identity, scene)
    left, right = drawn.landmarks[:, 3], drawn.landmarks[:, 4]

    def redness(points):
        colour = pixel(drawn.images, points)
        return colour[:, 0] - colour[:, 1]

    inside = torch.lerp(left, right, 0.3)
    outside = torch.lerp(left, right, -0.3)
    assert (redness(inside + torch.tensor([0.0, 2.0])) > redness(outside) + 0.04).double().mean() > 0.95


def test_the_pose_moves_the_landmarks_as_it_moves_the_face():
    identity, scene, _ = draw(5, plain=True)
    zero = torch.zeros(N)
    still = {**scene, "yaw": zero, "roll": zero, "dx": zero, "dy": zero, "scale": zero + 1}
    base = faces.render(identity, still).landmarks
    assert torch.allclose(base[:, 0, 1], base[:, 1, 1])
    turned = faces.render(identity, {**still, "roll": zero + 0.1, "dx": zero + 3}).landmarks
    slope = turned[:, 1] - turned[:, 0]
    assert torch.allclose(torch.atan2(slope[:, 1], slope[:, 0]), zero + 0.1, atol=1e-4)
    larger = faces.render(identity, {**still, "scale": zero + 1.1}).landmarks
    torch.testing.assert_close((larger[:, 1] - larger[:, 0]), 1.1 * (base[:, 1] - base[:, 0]))
    right = faces.render(identity, {**still, "yaw": zero + 0.3}).landmarks
    shift = (right - base)[:, :, 0]
    assert (shift[:, 2] > 3).all()
    assert (shift[:, 2] > shift[:, :2].mean(1)).all()  # the nose stands out


def test_eyes_are_large_and_boxes_hold_the_landmarks():
    _, _, drawn = draw(6, n=300)
    between = (drawn.landmarks[:, 1] - drawn.landmarks[:, 0]).norm(dim=1)
    assert 31 < between.mean() < 36 and between.min() > 22
    points, boxes = drawn.landmarks, drawn.boxes
    assert (points > boxes[:, None, :2]).all() and (points < boxes[:, None, 2:]).all()
    assert ((boxes[:, 2:] - boxes[:, :2]).min(dim=1).values > 40).all()
    assert (boxes[:, 0] > 0).all() and (boxes[:, 2] < faces.SIZE).all()


def test_the_box_ends_where_the_chin_ends():
    identity, scene, _ = draw(7, n=40, plain=True)
    zero = torch.zeros(40)
    scene |= {"roll": zero, "yaw": zero, "light": zero.long()}
    identity |= {"skin": zero, "beard": zero.long()}
    drawn = faces.render(identity, scene)
    middle = (drawn.boxes[:, 0] + drawn.boxes[:, 2]) / 2
    above = pixel(drawn.images, torch.stack([middle, drawn.boxes[:, 3] - 3], 1))
    ends = [torch.stack([middle, drawn.boxes[:, 3] + k], 1) for k in (-1.0, 0.0, 1.0)]
    at = torch.stack([pixel(drawn.images, end).mean(1) for end in ends])
    assert (at.amin(0) < above.mean(1) - 0.15).all()  # the dark outline of the chin


def test_a_person_is_drawn_over_the_scene_and_persons_differ():
    generator = torch.Generator().manual_seed(8)
    scene = faces.sample_scenes(N, generator, plain=True)
    one, other = faces.sample_identities(N, generator), faces.sample_identities(N, generator)
    first, second, empty = faces.render(one, scene).images, faces.render(other, scene).images, faces.render_scene(scene)
    centre = (slice(None), slice(None), slice(30, 100), slice(35, 93))
    assert ((first - second)[centre].abs().mean((1, 2, 3)) > 0.02).all()
    assert ((first - empty)[centre].abs().mean((1, 2, 3)) > 0.05).all()
    corner = (slice(None), slice(None), slice(0, 8), slice(0, 8))
    assert torch.allclose(first[corner], empty[corner], atol=0.02)


def test_another_scene_is_another_picture_of_the_same_person():
    generator = torch.Generator().manual_seed(9)
    identity = faces.sample_identities(N, generator)
    first, second = (faces.render(identity, faces.sample_scenes(N, generator)).images for _ in range(2))
    assert ((first - second).abs().mean((1, 2, 3)) > 0.01).all()


@pytest.mark.exact
@pytest.mark.parametrize("style", range(1, 5))
def test_every_style_changes_the_picture_but_not_the_layout(style):
    identity, scene, photo = draw(10, styled=0.0)
    drawn = faces.render(identity, {**scene, "style": torch.full((N,), style)})
    assert ((drawn.images - photo.images).abs().mean((1, 2, 3)) > 0.01).all()
    assert torch.equal(drawn.landmarks, photo.landmarks)
    if style == 3:  # blocks of three pixels
        assert torch.equal(drawn.images[:, :, 0:126:3, 0:126:3], drawn.images[:, :, 2:128:3, 1:127:3])
    if style == 1:  # one tint of gray
        ratio = drawn.images[:, 0] / drawn.images[:, 2]
        torch.testing.assert_close(ratio, torch.full_like(ratio, 0.98 / 0.91), atol=0.03, rtol=0)


def test_bytes_are_rounded():
    values = torch.tensor([0.0, 0.5, 1.0, 0.1])
    assert faces.to_uint8(values).tolist() == [0, 128, 255, 26]
