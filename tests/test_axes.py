"""What users write as values, and what is made of what came of them."""

import csv
import io
import math
import time

import pytest

from infusenet.axes import AXES, COLUMNS, MOST, Tried, as_text, best_of, in_words, parse_values, to_csv
from infusenet.errors import SettingsError

STEPS, STRENGTH, GUIDANCE, SEED = AXES["steps"], AXES["strength"], AXES["guidance"], AXES["seed"]


def tried(value, *similarities, seconds=0.5):
    return Tried(value, similarities, 4, 7, seconds)


@pytest.mark.parametrize(
    ("axis", "text", "values"),
    [
        (STEPS, "1, 2, 4, 8", (1, 2, 4, 8)),
        (STEPS, " 8 ,1", (8, 1)),  # in the order given
        (STEPS, "1:8:1", (1, 2, 3, 4, 5, 6, 7, 8)),
        (STEPS, "1:8:2", (1, 3, 5, 7)),  # the stop where a step falls on it
        (STEPS, "8:1:-3", (8, 5, 2)),
        (STEPS, "1, 4:12:4, 8, 1", (1, 4, 8, 12)),  # once each
        (STEPS, "4:4:1", (4,)),
        (STEPS, "4.0", (4,)),
        (STEPS, "1;2;4", (1, 2, 4)),
        (STEPS, "1-4", (1, 2, 3, 4)),
        (STEPS, "4 - 2; 8", (4, 3, 2, 8)),
        (STEPS, "1\n2\n\n4\n", (1, 2, 4)),
        (STEPS, "1,\n2, 3;\r\n8", (1, 2, 3, 8)),
        (STRENGTH, "0.5\n1", (0.5, 1.0)),
        (STRENGTH, "0.25:1.5:0.25", (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)),
        (STRENGTH, "0.1:0.7:0.1", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),  # no 0.30000000000000004
        (GUIDANCE, "0, .5, 1e0, 3.5", (0.0, 0.5, 1.0, 3.5)),
        (SEED, "18446744073709551615, 9007199254740993", (2**64 - 1, 2**53 + 1)),  # no float in between
        (SEED, "18446744073709551613:18446744073709551615:1", (2**64 - 3, 2**64 - 2, 2**64 - 1)),
    ],
)
def test_values_are_exact_and_in_order(axis, text, values):
    got = parse_values(text, axis)
    assert got == values
    assert {type(value) for value in got} == {int if axis.whole else float}


@pytest.mark.parametrize(
    ("axis", "text", "named"),
    [
        (STEPS, "", "nothing is written here"),
        (STEPS, "  ", "nothing is written here"),
        (STEPS, "1,,2", "comma has no value"),
        (STEPS, "1, two, 3", "'two' is not a number"),
        (STEPS, "1 2", "'1 2' is not a number"),
        (STEPS, "1, 2.5", "'2.5' is not a whole number"),
        (STEPS, "4, 0", "'0' is outside 1..200"),
        (STEPS, "201", "'201' is outside 1..200"),
        (STEPS, "-4", "'-4' is outside"),
        (STEPS, "1;;2", "comma has no value"),
        (STEPS, "0-4", "'0' in '0:4:1' is outside"),
        (STRENGTH, "1-2", "'1-2' is not a number"),
        (STEPS, "1:8", "'1:8' is not a range"),
        (STEPS, "1:2:3:4", "'1:2:3:4' is not a range"),
        (STEPS, "1:8:0", "'1:8:0' never reaches its end"),
        (STEPS, "1:8:-1", "'1:8:-1' never reaches its end"),
        (STEPS, "8:1:1", "'8:1:1' never reaches its end"),
        (STEPS, "1:8:0.5", "step of '1:8:0.5' is not a whole number"),
        (STEPS, "1:x:2", "'x' is not a number (in '1:x:2')"),
        (STEPS, "1:x:", "'x' is not a number"),
        (STEPS, "1:300:2", "'300' in '1:300:2' is outside"),
        (STRENGTH, "3.01", "'3.01' is outside 0..3"),
        (STRENGTH, "nan", "'nan' is not a number"),
        (GUIDANCE, "inf", "'inf' is not a number"),
        (SEED, "-1", "'-1' is outside"),
        (SEED, "18446744073709551616", "'18446744073709551616' is outside"),
        (SEED, "0:1000000:1", "'0:1000000:1' makes more than 100"),
        (GUIDANCE, "1:100:1, 0", "'0' makes more than 100"),
        (STRENGTH, "0:1:1e-999999999", "more than 100"),
        (GUIDANCE, "1e999999999", "outside 0..100"),
    ],
)
def test_the_offending_part_is_named(axis, text, named):
    """At once, whatever size of number is written."""
    began = time.perf_counter()
    with pytest.raises(SettingsError) as told:
        parse_values(text, axis)
    assert time.perf_counter() - began < 0.5
    assert named in str(told.value) and "\n" not in str(told.value)
    assert f"For {axis.name}, write " in str(told.value)  # and what to do


def test_as_many_as_allowed_and_no_more():
    assert len(parse_values(f"0:{MOST - 1}:1", SEED)) == MOST == 100
    with pytest.raises(SettingsError):
        parse_values(f"0:{MOST}:1", SEED)


def test_failures_are_counted_and_never_a_zero():
    one = tried(4, 0.5, None, -0.25)
    assert (one.similarity, one.failures) == (0.125, 1)
    lost = tried(1, None, None)
    assert (lost.similarity, lost.failures) == (None, 2)
    assert best_of([lost, tried(2, -0.3), tried(4, -0.2), tried(8, -0.2)]).value == 4  # below zero still wins
    assert best_of([lost]) is None and best_of([]) is None


def test_the_table_reads_back_in_full_precision():
    rows = [tried(0.1, 1 / 3, None, seconds=math.pi), tried(3.0, None, None)]
    read = list(csv.DictReader(io.StringIO(to_csv(rows, STRENGTH, cfg=1.0, sampler='odd, "name"'))))
    assert tuple(read[0]) == COLUMNS and len(read) == 4
    first, second, third, _ = read
    assert float(first["similarity"]) == float(first["value_similarity"]) == 1 / 3
    assert (float(first["value"]), float(first["seconds"])) == (0.1, math.pi)
    assert (first["axis"], first["picture"], first["value_failures"]) == ("strength", "1", "1")
    assert (second["picture"], second["similarity"]) == ("2", "")
    assert (third["value_similarity"], third["value_failures"]) == ("", "2")
    assert (first["steps"], first["seed"], first["sampler"]) == ("4", "7", 'odd, "name"')


def test_words():
    assert in_words([tried(4, 0.5), tried(8, 0.25)], STEPS) == "Best steps: 4, similarity 0.500."
    assert in_words([tried(1.0, 0.5), tried(2.0, None)], STRENGTH).endswith(
        "strength: 1, similarity 0.500. 1 of 2 pictures show no face."
    )
    assert "no best steps" in in_words([tried(4, None)], STEPS)
    assert [as_text(value) for value in (2**64 - 1, 1.0, 0.25)] == [str(2**64 - 1), "1", "0.25"]


def test_a_table_names_what_measured_and_how() -> None:
    text = to_csv([Tried(1, (0.5,), 4, 0, 1.0)], STRENGTH, cfg=1.0, sampler="euler", recognizer="r", rule="face 1")
    (read,) = csv.DictReader(io.StringIO(text))
    assert (read["recognizer"], read["rule"]) == ("r", "face 1")


def test_a_best_value_at_the_edge_is_remarked_on():
    def said(axis, best, values):
        return in_words([tried(value, 0.9 if value == best else 0.5) for value in values], axis)

    assert "the largest value tried" in said(STEPS, 8, (1, 4, 8))
    assert "the smallest value tried" in said(STRENGTH, 0.5, (0.5, 1.0, 1.5))
    for axis, best, values in ((STEPS, 4, (1, 4, 8)), (STEPS, 8, (4, 8)), (STEPS, 1, (1, 4, 8)), (SEED, 9, (1, 4, 9))):
        assert "beyond" not in said(axis, best, values), "inside, of two, at the axis's end, or without an order"
