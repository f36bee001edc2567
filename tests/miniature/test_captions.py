"""Captions: true of the picture, in the vocabulary, short; tokenizers: one token a word, equal to the fast encoder."""

import random
import re

import numpy as np
import pytest
import torch

from infusenet.errors import SettingsError
from infusenet.miniature import captions, faces, scenes
from infusenet.miniature.tokens import build_tokenizers, encode

PLACES = (" wall", "studio", "beach", "forest", "city", "library", "snow", "sunset", "space")
MOODS = ("neutral", "smiling|happy", "surprised", "sad", "winking")
STYLE_WORDS = ("", "sketch|pencil drawing", "watercolor", "pixel art", "comic")
LIGHTS = ("", "warm light", "cool light", "light from the left", "light from the right", "dramatic")
WORN = ("", r"\bglasses", "sunglasses", r"\ba hat", "headphones")


def samples(n: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    identity = {k: v.tolist() for k, v in faces.sample_identities(n, generator).items()}
    scene = {k: v.tolist() for k, v in faces.sample_scenes(n, generator, styled=0.4).items()}
    for k in range(n):
        yield {name: v[k] for name, v in scene.items()}, {name: v[k] for name, v in identity.items()}


def claims(text: str, phrases: tuple[str, ...]) -> set[int]:
    return {k for k, phrase in enumerate(phrases) if phrase and re.search(phrase, text)}


@pytest.fixture(scope="module")
def written():
    rng = random.Random(0)
    rows = []
    for scene, identity in samples(3000):
        person = identity if rng.random() < 0.5 else None
        level = rng.choice(captions.LEVELS)
        rows.append((scene, person, level, captions.caption(scene, person, level, rng)))
    return rows


def test_what_is_said_holds(written):
    for scene, identity, _, text in written:
        assert claims(text, PLACES) <= {scene["background"]}, text
        assert claims(text, LIGHTS) <= {scene["light"]}, text
        assert claims(text, STYLE_WORDS) == ({scene["style"]} if scene["style"] else set()), text
        assert claims(text, WORN) <= {scene["accessory"]}, text
        mood = 1 if scene["expression"] == 4 and scene["accessory"] == 2 else scene["expression"]
        assert claims(text, MOODS) <= {mood}, text
        beards = claims(text, ("", "moustache", "goatee", "beard"))
        assert beards <= ({identity["beard"]} if identity else set()), text
        assert ("photo" not in text.split() or "studio" in text) or scene["style"] == 0, text
        if "looking left" in text or "looking right" in text:
            assert ("right" in text.split("looking")[1]) == (scene["yaw"] > 0)
        for colour, garment in re.findall(r"(\w+) (?:striped )?(shirt|hoodie|suit)", text):
            assert garment == ("shirt", "hoodie", "suit", "shirt")[scene["clothes"]]
            assert ("striped" in text) == (scene["clothes"] == 3)
            if scene["style"] == 1:
                assert colour in ("a", "striped"), text
            else:
                assert colour == scenes.COLOURS[scene["clothes_colour"]], text
        if (hair := re.search(r"(\w+) hair", text)) and hair[1] in faces.HAIR_COLOURS:
            assert hair[1] == faces.HAIR_COLOURS[identity["hair_colour"]]
        if scene["accessory"] == 3:
            assert not re.search("hair|bob|bun|mohawk|quiff", text), text


def test_levels_tell_what_they_promise(written):
    for scene, _, level, text in written:
        place = bool(claims(text, PLACES))
        if level in ("scene", "detailed", "complex", "style"):
            assert place, text
        if level in ("detailed", "complex"):
            assert "wearing" in text and claims(text, WORN) == ({scene["accessory"]} - {0}), text
        if level == "minimal":
            assert "wearing" not in text and not claims(text, MOODS), text
        if level == "complex" and scene["light"] and scene["style"] != 1:
            assert claims(text, LIGHTS) == {scene["light"]}, text


def test_captions_are_short_and_in_the_vocabulary(written):
    words = set(captions.vocabulary())
    assert len(words) <= 120
    for *_, text in written:
        assert set(text.split()) <= words
        assert len(text.split()) <= captions.MAX_WORDS
        assert re.fullmatch("[a-z ]+", text) and "  " not in text


def test_articles_fit(written):
    for *_, text in written:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text


def test_unknown_level():
    scene, _ = next(samples(1))
    with pytest.raises(SettingsError, match="minimal"):
        captions.caption(scene, None, "long", random.Random(0))


def test_prompts_are_expressible_and_agree_with_their_attributes():
    assert encode([prompt.text for prompt in captions.PROMPTS]).shape == (len(captions.PROMPTS), 2, 40)
    for level in captions.LEVELS:
        assert sum(prompt.level == level for prompt in captions.PROMPTS) >= 3
    assert len(set(captions.NINE)) == 9 and set(captions.NINE) <= set(captions.PROMPTS)
    for prompt in captions.PROMPTS:
        got = prompt.attributes
        for name, phrases in (("background", PLACES), ("expression", MOODS), ("light", LIGHTS), ("accessory", WORN)):
            assert claims(prompt.text, phrases) == ({got[name]} if name in got else set()), prompt
        assert claims(prompt.text, STYLE_WORDS) == {got["style"]} - {0}, prompt
        garment = re.search(r"(\w+) (striped shirt|shirt|hoodie|suit)", prompt.text)
        if garment:
            assert scenes.COLOURS[got["clothes_colour"]] == garment[1], prompt
            assert scenes.CLOTHES[got["clothes"]] == garment[2].split()[0], prompt
        else:
            assert "clothes" not in got


def test_encode_refuses_what_it_does_not_know():
    with pytest.raises(SettingsError, match="zebra"):
        encode(["a zebra"])
    with pytest.raises(SettingsError, match="39 words"):
        encode([" ".join(["a"] * 39)])


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tokenizers")
    build_tokenizers(folder)
    return (
        transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        transformers.T5TokenizerFast.from_pretrained(folder / "tokenizer_2"),
    )


def test_encode_equals_the_tokenizers(tokenizers, written):
    texts = ["", *(row[-1] for row in written[:400]), *(prompt.text for prompt in captions.PROMPTS)]
    settings = {"padding": "max_length", "max_length": 40, "truncation": True}
    expected = np.stack([np.array(tokenizer(texts, **settings).input_ids) for tokenizer in tokenizers], 1)
    rows = encode(texts)
    assert rows.dtype == np.int16
    np.testing.assert_array_equal(rows, expected)


def test_every_word_is_one_token_and_any_text_is_accepted(tokenizers):
    for tokenizer in tokenizers:
        ids = [tokenizer(word, add_special_tokens=False).input_ids for word in captions.vocabulary()]
        assert all(len(row) == 1 for row in ids)
        assert len({row[0] for row in ids}) == len(ids)
        spelled = tokenizer("zebra", add_special_tokens=False).input_ids
        assert len(spelled) > 1 and tokenizer.unk_token_id not in spelled


def test_special_tokens(tokenizers):
    clip, t5 = tokenizers
    assert clip.eos_token_id != 2 and clip.pad_token_id == clip.eos_token_id != clip.bos_token_id
    assert clip.model_max_length == 77 and t5.model_max_length == 512
    assert (t5.pad_token_id, t5.eos_token_id) == (0, 1)


@pytest.mark.parametrize("prompt", captions.PROMPTS, ids=lambda prompt: prompt.text)
def test_what_a_prompt_asks_for_is_read_back(prompt):
    assert captions.asked_of(prompt.text) == prompt.attributes


def test_the_longest_wording_counts_and_words_stay_whole():
    asked = captions.asked_of("A comic book portrait of a man, wearing an orange striped shirt and sunglasses!")
    assert asked == {"style": 4, "clothes": 3, "clothes_colour": 7, "accessory": 2}
    assert captions.asked_of("in front of a blue wall") == {"background": 0}
    assert captions.asked_of("a person with glassesss and a snowy sadness") == {"style": 0}
    assert captions.asked_of("zebras on the moon") == captions.asked_of("") == {}
