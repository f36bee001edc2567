"""FastFace's settings in words, and what a request with them asks of a pipeline."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from infusenet.backbones import BACKBONES
from infusenet.errors import SettingsError
from infusenet.generate import GenerateRequest, generate
from infusenet.guidance.decoupled import Decoupled
from infusenet.guidance.manipulation import ScalePower, SoftMask
from infusenet.guidance.notation import parse_attention, parse_decoupled


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ("none", None),
        ("identity", Decoupled()),
        ("direction a=2 rescale=0", Decoupled("direction", 2, rescale=0)),
        ("direction  a=1,1,2", Decoupled("direction", (1, 1, 2))),
        ("separate b=3 a=1.5,1", Decoupled("separate", (1.5, 1), 3)),
    ],
)
def test_guidance_reads_as_it_is_written(words, want):
    assert parse_decoupled(words) == want == parse_decoupled(want)
    if want is not None and want.kind != "direction":
        assert parse_decoupled(str(want)) == want
    if want is not None and want.kind == "direction":
        assert "b=" not in str(want) and parse_decoupled(str(want)).a == want.a


@pytest.mark.parametrize(
    "words",
    ["", "identity a", "identity c=1", "identity a=1,", "identity a=x", "identity a=inf", "direction rescale=1,0",
     "direction rescale=2", "sideways", "identity a=1 a=2"],
)  # fmt: skip
def test_guidance_that_cannot_be_read_is_refused(words):
    with pytest.raises(SettingsError):
        parse_decoupled(words)
    with pytest.raises(SettingsError):
        GenerateRequest("a person", decoupled=words)


def test_attention_reads_as_published_or_with_one_scale():
    assert parse_attention("none") is None
    assert parse_attention("scale") == ScalePower() and parse_attention("soft mask") == SoftMask()
    own = parse_attention("scale 1.2")
    assert (own.up, own.down, own.power) == (1.2, 1.2, 1.3) and parse_attention(own) is own
    assert parse_attention("soft mask 2").down == (2.0,)


@pytest.mark.parametrize("words", ["", "scale x", "scale -1", "scale nan", "hard mask 1", "soft 1"])
def test_attention_that_cannot_be_read_is_refused(words):
    with pytest.raises(SettingsError):
        parse_attention(words)
    with pytest.raises(SettingsError):
        GenerateRequest("a person", attention=words)


@pytest.fixture
def asked():
    """`asked(request)`: what the pipeline's call gets, and the result."""

    def call(**settings):
        heard = {}

        class Pipeline:
            spec = BACKBONES["mini-dev"]

            def __call__(self, **given):
                heard.update(given)
                return SimpleNamespace(images=[Image.fromarray(np.zeros((64, 64, 3), np.uint8))])

        return heard, generate(Pipeline(), None, GenerateRequest("a person", steps=4, **settings))

    return call


def test_a_request_hands_its_guidance_and_attention_on(asked):
    heard, result = asked(decoupled="direction a=1,1,1,2 rescale=0", attention="scale 1.2")
    assert heard["decoupled"] == Decoupled("direction", (1, 1, 1, 2), rescale=0)
    assert heard["attention"] == parse_attention("scale 1.2")
    assert "true_cfg_scale" not in heard and not result.warnings
    assert (result.made_with["decoupled"], result.made_with["attention"]) == (
        "direction a=1,1,1,2 rescale=0", "scale 1.2",
    )  # fmt: skip
    heard, _ = asked(decoupled="identity", negative="blur")
    assert heard["negative_prompt"] == "blur" and "true_cfg_scale" not in heard
    heard, _ = asked(negative="blur")
    assert heard["true_cfg_scale"] == 2.0 and "decoupled" not in heard and heard["attention"] is None


def test_what_does_nothing_beside_it_is_told(asked):
    _, result = asked(decoupled="direction a=1,2 rescale=0", negative="blur", true_cfg=3.0)
    assert result.warnings == (
        "a has 2 weights for 4 steps: the last one is repeated.",
        "Decoupled guidance replaces true CFG, so true CFG has no effect.",
        "With guidance direction a=1,2 rescale=0, the negative prompt has no effect.",
    )
