"""Decoupled guidance: the original's recorded cases, and what ours promises beside them."""

import logging
import math

import pytest
import torch

from infusenet.errors import SettingsError
from infusenet.guidance.decoupled import (
    CONTENTS,
    KINDS,
    SCHEDULES,
    Decoupled,
    decoupled_guidance,
    guidance_weights,
)

KIND_OF_TYPE = {1: "text-then-identity", 2: "separate", 3: "identity"}
THIRDS = tuple(torch.randn(3, 2, 4, 8, 6, generator=torch.Generator().manual_seed(0)))


def weights_of(golden, which):
    case, extra = golden.meta["case"], golden.meta["sch_kwargs"]
    steps = golden.meta["timesteps"]
    return guidance_weights(
        case[f"{which}_scheduler"], case[which], steps, **extra[which], custom=extra["custom"][which]
    )


def test_the_recorded_predictions(fastface, guidance_case):
    golden = fastface(f"guidance/{guidance_case}")
    case = golden.meta["case"]
    dtype = getattr(torch, case["dtype"])
    inputs = fastface(golden.meta["inputs"])
    thirds = [inputs[f"in/eps_{third}"].to(dtype) for third in "u12"]
    options = {
        "kind": KIND_OF_TYPE[case["dcg_type"]],
        "rescale": case["rescale"] if case["term_postproc"] else 0,
        "renorm": case["term_preproc"] == "renorm",
    }
    steps = zip(weights_of(golden, "a"), weights_of(golden, "b"))
    predicted = torch.stack([decoupled_guidance(*thirds, a, b, **options) for a, b in steps])
    assert predicted.dtype == dtype
    golden.check("out/pred", predicted, 1e-5 if dtype == torch.float32 else 3e-2)


def test_the_recorded_weights_of_every_schedule(fastface):
    import json

    rows = json.loads((fastface.folder / "guidance" / "weights.json").read_text(encoding="utf-8"))
    assert {row["schedule"] for row in rows} == set(SCHEDULES) and len(SCHEDULES) == 14
    for row in rows:
        if row["schedule"] == "custom":
            got = guidance_weights("custom", row["w"], row["step"], custom=row["weight"])
        else:
            got = guidance_weights(row["schedule"], row["w"], row["t"], c=row["c"], s=row["s"])
        assert got == pytest.approx(row["weight"], rel=1e-15, abs=1e-15), row["schedule"]


# -- independent expectations ----------------------------------------------------------------------------------------


def test_the_sum_of_the_paper():
    u, e1, e2 = THIRDS
    for kind, second in (("identity", e2 - e1), ("text-then-identity", e2 - e1), ("separate", e2 - u)):
        want = u + 1.5 * (e1 - u) + 3 * second
        torch.testing.assert_close(decoupled_guidance(u, e1, e2, 1.5, 3, rescale=0, kind=kind), want)


def test_direction_needs_two_branches():
    u, _, e2 = THIRDS
    got = decoupled_guidance(u, None, e2, 2, None, rescale=0, kind="direction")
    torch.testing.assert_close(got, 2 * e2 - u)
    same = decoupled_guidance(u, torch.full_like(u, torch.nan), e2, 2, torch.nan, rescale=0, kind="direction")
    assert torch.equal(got, same)
    rescaled = decoupled_guidance(u, None, e2, 2, None, rescale=1, kind="direction")
    torch.testing.assert_close(rescaled.std(dim=(1, 2, 3)), e2.std(dim=(1, 2, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "separate"])
def test_neutral_is_the_full_branch_to_the_bit(kind, dtype):
    u, e1, e2 = (third.to(dtype) for third in THIRDS)
    for one in (1, torch.tensor(1.0), torch.ones(2)):
        assert torch.equal(decoupled_guidance(u, e1, e2, one, one, rescale=0, kind=kind), e2)
    if kind != "direction":  # trap 3: not plain
        assert not torch.equal(decoupled_guidance(u, e1, e2, 1, 1, rescale=0.75, kind=kind), e2)


def test_rescaling_takes_each_picture_to_the_mean_of_two_spreads():
    u, e1, e2 = (third * scale for third, scale in zip(THIRDS, (9.0, 1.0, 3.0)))
    got = decoupled_guidance(u, e1, e2, 1.5, 3, rescale=1)
    target = (e1.std(dim=(1, 2, 3)) + e2.std(dim=(1, 2, 3))) / 2
    torch.testing.assert_close(got.std(dim=(1, 2, 3)), target)
    plain = decoupled_guidance(u, e1, e2, 1.5, 3, rescale=0)
    ratio = (target / plain.std(dim=(1, 2, 3))).view(2, 1, 1, 1)
    torch.testing.assert_close(got, plain * ratio)  # the mean too


@pytest.mark.parametrize("renorm", [False, "picture"])
def test_a_picture_does_not_change_with_its_neighbours(renorm):
    alone = [third[:1] for third in THIRDS]
    got = decoupled_guidance(*THIRDS, 1.5, 3, renorm=renorm)[:1]
    torch.testing.assert_close(got, decoupled_guidance(*alone, 1.5, 3, renorm=renorm))
    whole = decoupled_guidance(*THIRDS, 1.5, 3, renorm=True)[:1]
    assert not torch.allclose(whole, decoupled_guidance(*alone, 1.5, 3, renorm=True))


def test_weights_may_be_tensors_one_a_picture():
    got = decoupled_guidance(*THIRDS, torch.tensor([1.5, 2]), torch.tensor([3, 1.0]))
    for item, (a, b) in enumerate(((1.5, 3), (2, 1))):
        alone = decoupled_guidance(*[third[item : item + 1] for third in THIRDS], a, b)
        torch.testing.assert_close(got[item : item + 1], alone)


def test_packed_latents_have_three_axes():
    packed = [third.reshape(2, 12, 16) for third in THIRDS]
    got = decoupled_guidance(*packed, 1.5, 3)
    torch.testing.assert_close(got.reshape(THIRDS[0].shape), decoupled_guidance(*THIRDS, 1.5, 3))


def test_nothing_at_all_gives_no_nan():
    zeros = torch.zeros(1, 4, 2, 2)
    for kind in KINDS:
        assert torch.equal(decoupled_guidance(zeros, zeros, zeros, 2, 2, kind=kind, renorm=True), zeros)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "dcg"}, "Unknown kind of guidance 'dcg'. Known: identity, text-then-identity, separate, direction."),
        ({"identity": None}, "'identity' needs the identity branch's prediction"),
        ({"b": None}, "Expected a number as b, got None"),
        ({"a": math.nan}, "Expected a number as a, got nan"),
        ({"rescale": 1.5}, "rescale between 0"),
        ({"rescale": math.nan}, "rescale between 0"),
        ({"renorm": "batch"}, "renorm as False"),
        (
            {"identity": THIRDS[1][..., 1:]},
            r"the same shape, got \(2, 4, 8, 5\) and \(2, 4, 8, 6\) \(identity and full\)",
        ),
        ({"a": torch.ones(3)}, "one weight, or one for each of 2 pictures, got 3"),
    ],
)
def test_what_cannot_be_meant_is_told(changed, message):
    given = dict(zip(("negative", "identity", "full"), THIRDS)) | {"a": 1.5, "b": 3.0} | changed
    with pytest.raises(SettingsError, match=message):
        decoupled_guidance(**given)


# -- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("cosine", {}, "Unknown schedule 'cosine'. Known: default, linear"),
        ("clamped_lin", {}, "'clamped_lin' needs c, the least weight"),
        ("inv_clamped_pcs", {"c": 1}, "'inv_clamped_pcs' needs s, the exponent"),
        ("pcs", {"s": 0}, "above 0"),
        ("custom", {}, "needs custom="),
        ("custom", {"custom": []}, "at least one finite number"),
        ("custom", {"custom": ["much"]}, "one number per step"),
        ("linear", {"total": 100}, "timesteps from 0 to 100"),
    ],
)
def test_a_schedule_says_what_it_lacks(name, given, message):
    with pytest.raises(SettingsError, match=message):
        guidance_weights(name, 1.5, [999, 499], **given)


def test_a_short_list_goes_on_and_says_so_once(caplog):
    with caplog.at_level(logging.WARNING):
        got = guidance_weights("custom", 9, torch.arange(6), custom=[1, 1.5])
    assert got == [1, 1.5, 1.5, 1.5, 1.5, 1.5]
    told = [record.getMessage() for record in caplog.records]
    assert told == ["Got 2 weights for 6 steps, so the last one, 1.5, is repeated."]
    caplog.clear()
    assert guidance_weights("custom", 9, [999], custom=[1, 1.5]) == [1] and not caplog.records


def test_cosine_has_no_half_and_linear_begins_small():
    assert guidance_weights("cos", 2, [1000, 500, 0]) == pytest.approx([0, 2, 4])
    assert guidance_weights("linear", 2, [1000, 0]) == [0, 2]
    assert guidance_weights("capshape", 2, [1000, 500, 0]) == [0, 1, 0]


# -- a run's guidance ------------------------------------------------------------------------------------------------


def test_the_published_weights_are_the_defaults():
    run = Decoupled()
    assert [run.at(step) for step in range(6)] == [(1, 1), (1.5, 3), (1.5, 3), (1, 1), (1, 1), (1, 1)]
    assert run.branches == ("negative", "identity", "full") and not run.neutral
    got = run.combine(1, dict(zip(run.branches, THIRDS)))
    assert torch.equal(got, decoupled_guidance(*THIRDS, 1.5, 3))


def test_only_the_branches_that_a_step_needs():
    late = Decoupled("direction", a=[1, 1, 2], b=[5], rescale=0)
    assert [late.branches_at(step) for step in (1, 2, 3)] == [("full",), *[("negative", "full")] * 2]
    assert late.branches == ("negative", "full") and not late.neutral
    assert late.combine(0, {"full": THIRDS[2]}) is THIRDS[2]
    assert Decoupled(a=1, b=[1], rescale=0).branches == ("full",)
    assert not Decoupled(a=1, b=1).neutral  # rescaling acts
    assert not Decoupled("separate", 1, 1, 0).neutral  # no branch of it sees both


def test_what_each_third_sees():
    assert CONTENTS["identity"] == {"negative": (False, False), "identity": (False, True), "full": (True, True)}
    assert CONTENTS["text-then-identity"]["identity"] == (True, False)
    assert CONTENTS["separate"]["full"] == (False, True)
    assert CONTENTS["direction"] == {"negative": (True, False), "full": (True, True)}
    assert set(CONTENTS) == set(KINDS)


def test_short_weights_are_told():
    assert Decoupled().shortage(4) is None and Decoupled(a=2, b=[2]).shortage(9) is None
    assert Decoupled().shortage(6) == "a has 4 and b has 4 weights for 6 steps: the last one is repeated."
    assert Decoupled("direction", a=[1, 2]).shortage(3) == "a has 2 weights for 3 steps: the last one is repeated."


@pytest.mark.parametrize(
    "given", [{"kind": "other"}, {"a": []}, {"b": [1, math.inf]}, {"rescale": -0.1}, {"a": None}, {"b": "x"}]
)
def test_a_run_that_cannot_be_meant_is_refused(given):
    with pytest.raises(SettingsError):
        Decoupled(**given)
