"""Captions for the miniature's pictures in a closed vocabulary, and the prompts it is measured with."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from ..errors import SettingsError

LEVELS = ("minimal", "portrait", "scene", "detailed", "complex", "style")
MAX_WORDS = 36
TEXT_LENGTH = 40  # tokens of a row of `encode`
LOOKING = 0.13  # radians of yaw from which a person looks to a side

_STYLE_HEADS = (
    ("", "a photo of", "a portrait of", "a portrait photo of", "a professional photo of"),
    ("a pencil sketch of", "a sketch of", "a pencil drawing of"),
    ("a watercolor painting of", "a watercolor of", "a watercolor portrait of"),
    ("pixel art of", "a pixel art portrait of"),
    ("a comic drawing of", "a comic book portrait of", "a comic of"),
)
_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple", "orange")
_BACKGROUNDS = (
    ("in front of {wall}",),
    ("in a studio", "in a photo studio"),
    ("at the beach", "on a beach"),
    ("in a forest",),
    ("in a city at night", "in the city at night"),
    ("in a library",),
    ("in the snow",),
    ("at sunset",),
    ("in space", "in outer space"),
)
_CLOTHES = ("{c} shirt", "{c} hoodie", "{c} suit", "{c} striped shirt")
_ACCESSORIES = ("", "glasses", "sunglasses", "a hat", "headphones")
_LIGHTS = (
    ("",),
    ("warm light",),
    ("cool light",),
    ("light from the left",),
    ("light from the right",),
    ("dramatic light", "dramatic lighting"),
)
_EXPRESSIONS = (("", "", "neutral"), ("smiling", "happy"), ("surprised",), ("sad",), ("winking",))
_COUNTED = ("{c} bob", "{c} bun", "{c} mohawk", "{c} quiff")
_HAIR = (
    "no hair",
    "short {c} hair",
    "parted {c} hair",
    "{c} bob",
    "long {c} hair",
    "curly {c} hair",
    "{c} bun",
    "{c} mohawk",
    "{c} quiff",
    "spiky {c} hair",
)
_HAIR_COLOURS = ("black", "brown", "red", "blonde", "gray", "blue")
_BEARDS = ("", "a moustache", "a goatee", "a beard")
_FILLERS = ("detailed", "cinematic", "beautiful", "high quality", "sharp focus")
_NOUNS = ("person", "man", "woman")
_SPARE = "very and the with wearing looking left right to camera face head drawing style picture image bright dark"


SKETCH, HAT, SUNGLASSES, WINKING = 1, 3, 2, 4  # codes of the scene that hide something


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _filled(phrase: str, colour: str, scene: Mapping[str, float]) -> str:
    """A phrase with its colour, or without where none can be seen."""
    shown = "" if scene["style"] == SKETCH else colour
    return " ".join(phrase.format(c=shown).split())


def _noun(identity: Mapping[str, float] | None, rng: random.Random) -> str:
    """Only a beard tells anything; every other face may be called either."""
    if identity is None:
        return "person"
    if identity["beard"]:
        return rng.choice(("person", "man", "man"))
    return rng.choices(_NOUNS, (6, 1.5, 2.5))[0]


def _looks(scene: Mapping[str, float], identity: Mapping[str, float], rng: random.Random) -> str:
    """Hair, beard or both; a hat hides the hair."""
    style, colour = _HAIR[int(identity["hair_style"])], _HAIR_COLOURS[int(identity["hair_colour"])]
    hair = _filled(style, colour, scene)
    hair = _article(hair) if style in _COUNTED else hair
    beard = _BEARDS[int(identity["beard"])]
    if scene["accessory"] == HAT:
        return beard
    return rng.choice((hair, beard, f"{hair} and {beard}")) if beard else hair


def _subject(scene: Mapping[str, float], identity: Mapping[str, float] | None, level: str, rng: random.Random) -> str:
    """The style words, the person, and how the face looks."""
    head = rng.choice(_STYLE_HEADS[int(scene["style"])])
    hidden = scene["expression"] == WINKING and scene["accessory"] == SUNGLASSES  # the mouth still smiles
    mood = "" if level == "minimal" else rng.choice(_EXPRESSIONS[1 if hidden else int(scene["expression"])])
    words = f"{head} {_article(f'{mood} {_noun(identity, rng)}'.strip())}"
    looks = _looks(scene, identity, rng) if identity is not None and level != "minimal" else ""
    return f"{words} with {looks}".strip() if looks else words.strip()


def _worn(scene: Mapping[str, float]) -> str:
    """Clothes, and an accessory whenever there is one."""
    clothes = _filled(_CLOTHES[int(scene["clothes"])], _COLOURS[int(scene["clothes_colour"])], scene)
    accessory = _ACCESSORIES[int(scene["accessory"])]
    return f"wearing {_article(clothes)}" + (f" and {accessory}" if accessory else "")


def _place(scene: Mapping[str, float], rng: random.Random) -> str:
    colour = _COLOURS[int(scene["background_colour"])]
    wall = _article(_filled("{c} wall", colour, scene))
    return rng.choice(_BACKGROUNDS[int(scene["background"])]).format(wall=wall)


def _extras(scene: Mapping[str, float], rng: random.Random) -> list[str]:
    """Light, where the person looks, and words without content."""
    extras = []
    light = rng.choice(_LIGHTS[int(scene["light"])])
    if light and not (scene["style"] == SKETCH and light in ("warm light", "cool light")):
        extras.append(f"with {light}")
    if abs(scene["yaw"]) > LOOKING:
        extras.append("looking right" if scene["yaw"] > 0 else "looking left")
    elif abs(scene["yaw"]) < 0.05 and rng.random() < 0.3:
        extras.append("looking to the camera")
    if rng.random() < 0.4:
        extras.append(rng.choice(_FILLERS))
    return extras


def caption(scene: Mapping[str, float], identity: Mapping[str, float] | None, level: str, rng: random.Random) -> str:
    """Describe one picture; all that is said is true of it.

    Args:
        scene: One sample of `faces.sample_scenes` as plain numbers.
        identity: The same of `faces.sample_identities`: hair and beard are then described. None: they are not.
        level: One of LEVELS, from a bare mention of a person to all that the scene holds; ``style`` tells the drawing
            style and the place. A picture that is not a photo has its style told at every level, and ``detailed``,
            ``complex`` tell what is worn.
        rng: Chooses among the wordings.

    Returns:
        Lower case words of `vocabulary` without punctuation, at most MAX_WORDS.

    Raises:
        SettingsError: The level is unknown.
    """
    if level not in LEVELS:
        raise SettingsError(f"Expected a caption level from {', '.join(LEVELS)}, got {level!r}.")
    parts = [_subject(scene, identity, level, rng)]
    if level in ("detailed", "complex") or (level == "style" and rng.random() < 0.5):
        parts.append(_worn(scene))
    if level in ("scene", "detailed", "complex", "style"):
        parts.append(_place(scene, rng))
    for extra in _extras(scene, rng) if level == "complex" else ():
        if len(" ".join((*parts, extra)).split()) <= MAX_WORDS:
            parts.append(extra)
    return " ".join(parts)


@dataclass(frozen=True)
class EvaluationPrompt:
    """A prompt and what it asks for: values of the scene, keys and codes as in `faces.sample_scenes`."""

    level: str
    text: str
    attributes: Mapping[str, int] = field(default_factory=dict, hash=False)


def _prompt(level: str, text: str, **attributes: int) -> EvaluationPrompt:
    return EvaluationPrompt(level, text, {"style": 0, **attributes})


PROMPTS = (
    _prompt("minimal", "a photo of a person"),
    _prompt("minimal", "a person"),
    _prompt("minimal", "a portrait of a person"),
    _prompt("portrait", "a portrait of a smiling person", expression=1),
    _prompt("portrait", "a portrait of a surprised person", expression=2),
    _prompt("portrait", "a photo of a sad person", expression=3),
    _prompt("scene", "a photo of a person at the beach", background=2),
    _prompt("scene", "a photo of a smiling person in a forest", background=3, expression=1),
    _prompt("scene", "a photo of a person in a city at night", background=4),
    _prompt(
        "detailed",
        "a professional photo of a person wearing a blue suit in a studio",
        background=1,
        clothes=2,
        clothes_colour=1,
    ),
    _prompt(
        "detailed",
        "a photo of a person wearing a red hoodie and glasses in the snow",
        background=6,
        clothes=1,
        clothes_colour=0,
        accessory=1,
    ),
    _prompt(
        "detailed",
        "a photo of a smiling person wearing a green striped shirt and a hat at the beach",
        background=2,
        clothes=3,
        clothes_colour=2,
        accessory=3,
        expression=1,
    ),
    _prompt(
        "complex",
        "a photo of a smiling person wearing a purple hoodie and headphones in a city at night with cool light",
        background=4,
        clothes=1,
        clothes_colour=6,
        accessory=4,
        light=2,
        expression=1,
    ),
    _prompt(
        "complex",
        "a photo of a person wearing a black suit and glasses in a library with warm light",
        background=5,
        clothes=2,
        clothes_colour=4,
        accessory=1,
        light=1,
    ),
    _prompt(
        "complex",
        "a photo of a sad person wearing a yellow shirt at sunset with light from the left",
        background=7,
        clothes=0,
        clothes_colour=3,
        light=3,
        expression=3,
    ),
    _prompt("style", "a pencil sketch of a person in a library", style=1, background=5),
    _prompt("style", "a watercolor painting of a smiling person in a forest", style=2, background=3, expression=1),
    _prompt(
        "style",
        "a comic drawing of a person wearing a white shirt in space",
        style=4,
        background=8,
        clothes=0,
        clothes_colour=5,
    ),
    _prompt("style", "pixel art of a person at the beach", style=3, background=2),
)
NINE = tuple(PROMPTS[k] for k in (0, 3, 4, 9, 11, 12, 15, 16, 17))


def asked_of(text: str) -> dict[str, int]:
    """What a prompt asks for, read back from its words: keys and codes as in `EvaluationPrompt.attributes`.

    Only the captions' own wordings are understood, the longest of each attribute. As in captions, whoever speaks of a
    person and names no style asks for a photo.
    """
    words = f" {' '.join(re.findall(r'[a-z]+', text.lower()))} "
    asked = {"style": 0} if any(f" {noun} " in words for noun in _NOUNS) else {}
    for name, codes in _wordings().items():
        if found := [phrase for phrase in codes if f" {phrase} " in words]:
            asked[name] = codes[max(found, key=len)]
    return asked


@cache
def _wordings() -> dict[str, dict[str, int]]:
    """Of each attribute that a prompt may ask for: its phrases, and the code that each stands for."""
    groups: dict[str, Sequence[Sequence[str]]] = {
        "style": [[head.removeprefix("a ").removesuffix(" of") for head in heads] for heads in _STYLE_HEADS],
        "background": _BACKGROUNDS,
        "light": _LIGHTS,
        "expression": _EXPRESSIONS,
        "accessory": [[name] for name in _ACCESSORIES],
        "clothes": [[garment] for garment in _CLOTHES],
        "clothes_colour": [[garment.format(c=colour) for garment in _CLOTHES] for colour in _COLOURS],
    }
    bare = re.compile(r" ?\{\w+\} ?")  # the colour of clothes, and which wall
    return {
        name: {bare.sub("", phrase): code for code, phrases in enumerate(group) for phrase in phrases if phrase}
        for name, group in groups.items()
    }


@cache
def _words() -> tuple[str, ...]:
    groups: list[Iterable[str]] = [
        *_STYLE_HEADS,
        *_BACKGROUNDS,
        *_LIGHTS,
        *_EXPRESSIONS,
        _COLOURS,
        _CLOTHES,
        _ACCESSORIES,
        _HAIR,
        _HAIR_COLOURS,
        _BEARDS,
        _FILLERS,
        _NOUNS,
        (_SPARE, "a an wall"),
    ]
    found = {word for group in groups for phrase in group for word in phrase.split() if "{" not in word}
    return tuple(sorted(found))


def vocabulary() -> list[str]:
    """All words of the captions, sorted."""
    return list(_words())
