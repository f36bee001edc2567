"""The tokenizers of the miniature's closed vocabulary, and the same token ids without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError
from .captions import TEXT_LENGTH, vocabulary

if TYPE_CHECKING:
    import numpy as np

_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789.,-'!?:;()\"")
_BOS, _EOS = "<|startoftext|>", "<|endoftext|>"
_SPACE = "\u2581"


def _merge(pieces: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Byte pair encoding of one word by the merges so far."""
    while True:
        known = [ranks[pair] for pair in pairwise(pieces) if pair in ranks]
        if not known:
            return pieces
        left, right = next(pair for pair, rank in ranks.items() if rank == min(known))
        joined: list[str] = []
        k = 0
        while k < len(pieces):
            both = tuple(pieces[k : k + 2]) == (left, right)
            joined.append(left + right if both else pieces[k])
            k += 2 if both else 1
        pieces = joined


@cache
def _clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token ids and merges, such that every word of the vocabulary becomes one token."""
    tokens = dict.fromkeys((_BOS, _EOS, *_LETTERS, *(f"{letter}</w>" for letter in _LETTERS)))
    ranks: dict[tuple[str, str], int] = {}
    for word in vocabulary():
        pieces = _merge([*word[:-1], f"{word[-1]}</w>"], ranks)
        while len(pieces) > 1:  # later merges rank lower, so that earlier words stay whole
            ranks[pieces[0], pieces[1]] = len(ranks)
            tokens[pieces[0] + pieces[1]] = None
            pieces = _merge([*word[:-1], f"{word[-1]}</w>"], ranks)
    return {token: k for k, token in enumerate(tokens)}, list(ranks)


@cache
def _t5_vocabulary() -> tuple[tuple[str, float], ...]:
    """Tokens and scores: words win over letters."""
    words = [(f"{_SPACE}{word}", -1.0) for word in vocabulary()]
    return (
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        (_SPACE, -20.0),
        *words,
        *((letter, -30.0) for letter in (*_LETTERS, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
    )


@cache
def _word_ids() -> dict[str, tuple[int, int]]:
    """CLIP id and T5 id of every word."""
    clip = _clip_vocabulary()[0]
    t5 = {token: k for k, (token, _) in enumerate(_t5_vocabulary())}
    return {word: (clip[f"{word}</w>"], t5[f"{_SPACE}{word}"]) for word in vocabulary()}


def encode(captions: Sequence[str]) -> np.ndarray:
    """Token ids of captions, without a tokenizer: equal to what the tokenizers of `build_tokenizers` give.

    Args:
        captions: Texts of words of the vocabulary, at most TEXT_LENGTH - 2 words each.

    Returns:
        int16 ``(n, 2, 40)``: the row of CLIP (begin, words, end, end, ...), the row of T5 (words, end, padding).

    Raises:
        SettingsError: A word is not in the vocabulary, or a caption is too long.
    """
    import numpy as np

    known, clip = _word_ids(), _clip_vocabulary()[0]
    rows = np.zeros((len(captions), 2, TEXT_LENGTH), dtype=np.int16)
    rows[:, 0] = clip[_EOS]
    rows[:, 0, 0] = clip[_BOS]
    for row, text in zip(rows, captions, strict=True):
        words = text.split()
        unknown = [word for word in words if word not in known]
        if unknown or len(words) > TEXT_LENGTH - 2:
            raise SettingsError(
                f"expected at most {TEXT_LENGTH - 2} words of the vocabulary, got {len(words)} words, "
                f"unknown: {unknown}; use the tokenizers for free text"
            )
        ids = [known[word] for word in words]
        row[0, 1 : len(ids) + 1] = [pair[0] for pair in ids]
        row[1, : len(ids) + 1] = [*(pair[1] for pair in ids), 1]
    return rows


def build_tokenizers(folder: str | Path) -> None:
    """Write ``tokenizer`` (CLIP) and ``tokenizer_2`` (T5) with the vocabulary of the captions into a folder.

    Every word of the vocabulary is one token; other words fall apart into smaller pieces. CLIP: ids 0 begin, 1 end and
    padding, up to 77 tokens. T5: 0 padding, 1 end, 2 unknown, up to 512 tokens.

    Args:
        folder: Where the two folders are put; made if missing.
    """
    from transformers import T5TokenizerFast

    root = Path(folder)
    build_clip_tokenizer(root / "tokenizer")
    t5 = T5TokenizerFast(vocab=list(_t5_vocabulary()), extra_ids=0, model_max_length=512)
    t5.save_pretrained(root / "tokenizer_2")


def build_clip_tokenizer(folder: Path) -> None:
    """Write the CLIP tokenizer of `build_tokenizers` into a folder of its own."""
    import json

    from transformers import CLIPTokenizer

    ids, merges = _clip_vocabulary()
    clip = CLIPTokenizer(vocab=dict(ids), merges=list(merges), model_max_length=77, pad_token=_EOS)
    clip.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    merge_lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(merge_lines) + "\n", encoding="utf-8")
