"""Successive halving against an oracle: it finds what exhaustive search finds, by fewer pictures."""

from dataclasses import replace

import pytest

from infusenet.tune import halving
from infusenet.tune.halving import DOUBT, TIE, chances_to_win, choose, race
from infusenet.tune.standing import Share, Standing, Target
from infusenet.tune.ways import Way

TARGET = Target()
ROUNDS = (12, 24, 48)


def exact(identity=1.0, cost=1.0, half=0.0, lost=0, **others):
    """A standing with intervals of this half width."""
    means = {"identity": identity, "prompt": 1.0, "sharpness": 1.0, **others}
    shares = {name: Share(mean, mean - half, mean + half, 12, 48) for name, mean in means.items()}
    return Standing(shares, cost, lost, 48)


def looking(standings):
    """A look that always sees the same."""
    return lambda ways, _: {way: standings[way] for way in ways}


def test_it_ends_near_exhaustive_search_by_half_the_pictures(oracle, ways, reference):
    """Within .02 of likeness and 5 % of seconds, and never below the target by the pictures that it made."""
    near, spent = 0, []
    for seed in range(12):
        quick, whole = oracle(seed), oracle(seed)
        found = race(ways, reference, quick.look, ROUNDS, TARGET)
        best = race(ways, reference, whole.look, ROUNDS, TARGET, exhaustive=True)
        assert not found.entry(found.chosen).standing.misses(TARGET, DOUBT)
        ours, theirs = (one.entry(one.chosen).standing for one in (found, best))
        near += abs(ours.identity - theirs.identity) <= 0.04 and ours.cost <= 1.05 * theirs.cost
        spent.append(sum(quick.seen.values()) / sum(whole.seen.values()))
    assert near >= 11
    assert max(spent) < 0.6


def test_the_same_pictures_give_the_same_race(oracle, ways, reference):
    first, second = (race(ways, reference, oracle(3).look, ROUNDS, TARGET) for _ in range(2))
    assert first == second


def test_a_clock_that_is_a_little_off_gives_the_same_choice(oracle, ways, reference):
    """Ways that differ by their calls stay apart, and those that do not are a tie either way."""

    def off(share):
        look = oracle(1).look
        return lambda ways, count: {
            way: replace(one, cost=one.cost * (1 + share * (len(way.name) % 3 - 1)))
            for way, one in look(ways, count).items()
        }

    chosen = {race(ways, reference, off(share), ROUNDS, TARGET).chosen for share in (0.0, 0.005, -0.005)}
    assert len(chosen) == 1


def test_every_way_has_an_entry_in_the_order_given(oracle, ways, reference):
    found = race(ways, reference, oracle(0).look, ROUNDS, TARGET)
    assert [entry.way for entry in found.entries] == ways
    assert {entry.fate for entry in found.entries if entry.way == reference} <= {"reference", "chosen"}
    assert found.entry(reference).round == len(ROUNDS)


def test_what_surely_misses_goes_and_what_only_seems_to_stays():
    slow, sure, unsure = Way("dev", 28), Way("dev", 4), Way("dev", 8)
    standings = {slow: exact(cost=3), sure: exact(0.8, half=0.1), unsure: exact(0.9, cost=2, half=0.1)}
    found = race([slow, sure, unsure], slow, looking(standings), (1, 2), TARGET)
    assert found.entry(sure).round == 1 and found.entry(sure).fate == "misses"
    assert found.entry(unsure).round == 2 and found.entry(unsure).fate == "misses"
    assert found.chosen == slow


def test_what_is_slower_than_the_reference_goes():
    reference, slower = Way("dev", 4), Way("dev", 28)
    found = race(
        [reference, slower], reference, looking({reference: exact(), slower: exact(1.5, cost=2)}), (1, 2), TARGET
    )
    assert (found.entry(slower).round, found.entry(slower).fate) == (1, "slower")


def test_the_fast_and_doubtful_and_the_safe_go_on(monkeypatch):
    """What is likely to be the fastest that meets the target, not what a safe and faster one makes needless."""
    monkeypatch.setattr(halving, "FEW", 1)
    ways = [Way("dev", steps) for steps in (28, 2, 4, 8, 12, 16)]
    _, doubtful, hopeless, safe, needless, slow = ways
    standings = {way: exact(1.1, cost=way.steps, half=0.02) for way in ways}
    standings |= {doubtful: exact(0.97, cost=2, half=0.1), hopeless: exact(0.9, cost=4, half=0.09)}
    chances = chances_to_win({way: standings[way] for way in ways[1:]}, TARGET)
    assert sorted(chances, key=chances.get) == [slow, needless, hopeless, doubtful, safe]
    assert sum(chances.values()) == pytest.approx(1, abs=0.02)
    found = race(ways, ways[0], looking(standings), (1, 2), TARGET)
    assert [entry.way for entry in found.entries if entry.fate == "halved"] == [needless, slow]
    assert found.chosen == safe


def test_a_few_ways_all_go_on():
    ways = [Way("dev", steps) for steps in range(28, 28 - halving.FEW, -1)]
    found = race(ways, ways[0], looking({way: exact(cost=way.steps, half=0.2) for way in ways}), (1, 2), TARGET)
    assert {entry.round for entry in found.entries} == {2}


def test_what_only_just_meets_the_target_on_average_has_nothing_to_spare():
    reference, lucky, safe = Way("dev", 28), Way("dev", 4), Way("dev", 8)
    standings = {reference: exact(cost=28), lucky: exact(0.985, cost=4, half=0.02), safe: exact(1.0, cost=8, half=0.02)}
    assert race([reference, lucky, safe], reference, looking(standings), (1, 2), TARGET).chosen == safe


def test_of_equally_fast_ways_the_most_alike_is_chosen():
    fast, alike, slow = Way("dev", 4), Way("dev", 4, 1.5), Way("dev", 8)
    standings = {fast: exact(1.0), alike: exact(1.1, cost=1 + TIE * 0.9), slow: exact(2.0, cost=1 + TIE * 1.1)}
    assert choose(standings) == alike
    assert choose({}) is None


@pytest.mark.parametrize("changes", [{"identity": 0.97}, {"prompt": 0.9}, {"sharpness": 0.5}, {"lost": 2}])
def test_where_nothing_meets_the_target_nothing_is_chosen(changes):
    way = Way("dev", 4)
    found = race([way], way, looking({way: exact(**changes)}), (1, 2), TARGET)
    assert found.chosen is None and found.entries[0].fate == "reference"
