"""The judge: what it reads in drawn pictures, as the share of what a prompt asks for."""

import numpy as np
import pytest
import torch

from infusenet.miniature import captions, faces, networks
from infusenet.miniature.evaluation import subjects
from infusenet.miniature.judging import judged, share_shown


@pytest.fixture(scope="module")
def pictures():
    """Three people in each of two prompts' scenes."""
    people = faces.sample_identities(3, torch.Generator().manual_seed(9900))
    return {
        k: subjects.as_pictures(faces.render(people, subjects.scene_of(k, 0, 3)).images)
        for k, prompt in enumerate(captions.PROMPTS)
        if prompt.level == "detailed"
    }


def test_pictures_drawn_as_asked_show_it(pictures):
    for k, drawn in pictures.items():
        shares = [share_shown(picture, captions.PROMPTS[k].attributes) for picture in drawn]
        assert np.mean(shares) > 0.85 and all(0 <= share <= 1 for share in shares)


def test_pictures_of_another_prompt_show_less(pictures):
    (k, drawn), (other, _), *_ = pictures.items()
    of = [np.mean([share_shown(picture, captions.PROMPTS[one].attributes) for picture in drawn]) for one in (k, other)]
    assert of[1] < of[0] - 0.3


def test_it_is_the_share_of_what_is_asked_for(pictures):
    picture = next(iter(pictures.values()))[0]
    read = {name: int(codes[0]) for name, codes in judged(picture[None]).items()}
    assert set(read) == set(networks.JUDGED)
    assert share_shown(picture, read) == 1
    assert share_shown(picture, {"style": read["style"], "light": read["light"] + 1}) == 0.5
    assert share_shown(picture, {"nothing it reads": 1}) is share_shown(picture, {}) is None


def test_a_picture_of_another_size_is_brought_to_the_judges(pictures):
    picture = next(iter(pictures.values()))[0]
    asked = {name: int(codes[0]) for name, codes in judged(picture[None]).items()}
    assert share_shown(picture.repeat(2, 0).repeat(2, 1), asked) > 0.7
