"""InfuseNet and the probe in the host's samplers, with settings, latents and noise levels that no one would choose.

What comes is finite wherever the host alone gives something finite; InfuseNet acts; a probe changes nothing.
"""

import json
from functools import cache

import pytest
import torch

hypothesis = pytest.importorskip("hypothesis", reason="the attacks need hypothesis: pip install hypothesis")
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.attack

SAMPLERS = ["euler", "heun", "dpmpp_2m", "euler_ancestral"]


@pytest.fixture(scope="module")
def attacks(sibling):
    return sibling("attacks")


@pytest.fixture(scope="module")
def parts(run, mini, mini_infusenet, identity, conditioned):
    """Model, VAE, text, and what Apply is given besides its settings."""
    with torch.inference_mode():
        model, _, vae, *_ = mini("mini-schnell")
        text = conditioned()
    given = {"positive": text, "infusenet": mini_infusenet, "identity": identity, "vae": vae, "negative": text}
    return model, vae, text, given


def sample(model, positive, negative, latent, sampler, sigmas, cfg=1.0):
    """SamplerCustomAdvanced's way."""
    import comfy.sample
    import comfy.samplers

    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    noise = comfy.sample.prepare_noise(samples, 5)
    chosen = comfy.samplers.sampler_object(sampler)
    mask = latent.get("noise_mask")
    return guider.sample(noise, samples, chosen, sigmas, denoise_mask=mask, disable_pbar=True, seed=5).clone()


def strategy_of_apply(pack, attacks):
    """Settings within their ranges, at most one of them odd, and a small run."""
    gates = next(spec.options for spec in pack.nodes["Apply"].define_schema().inputs if spec.id == "gate")
    edges = st.one_of(st.just(1.0), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
    usual = {
        "strength": st.one_of(st.sampled_from([1.0, 3.0]), st.floats(0, 3)), "gate": st.sampled_from(gates),
        "start_percent": st.one_of(st.just(0.0), edges), "end_percent": edges, "on_negative": st.booleans(),
        "pose_image": st.none(), "mask": st.none(),
    }  # fmt: skip
    odd = {
        "strength": st.sampled_from([attacks.NAN, attacks.INF, -1.0, 0.0]),
        "pose_image": attacks.odd_things("IMAGE"), "mask": attacks.odd_things("MASK"),
    }  # fmt: skip
    ways = [st.fixed_dictionaries({**usual, key: value}) for key, value in odd.items()]
    sizes = {"batch": st.integers(1, 2), "height": st.sampled_from([16, 8, 11]), "width": st.sampled_from([16, 8, 9])}
    runs = {"steps": st.integers(1, 2), "cfg": st.sampled_from([1.0, 2.0]), "sampler": st.sampled_from(SAMPLERS)}
    return st.tuples(st.one_of(*ways, *ways[1:]), st.fixed_dictionaries(sizes | runs))


def test_an_identity_acts_or_is_refused(pack, parts, attacks, person):
    model, vae, text, given = parts
    tally, error = attacks.Tally("Apply in a sampler"), pack.module("infusenet.errors").InfuseNetError

    @cache
    def without(batch, height, width, steps, cfg, sampler):
        latent = {"samples": torch.zeros(batch, 16, height, width)}
        return sample(model, text, text, latent, sampler, torch.linspace(1, 0, steps + 1), cfg)

    @attacks.attack(case=strategy_of_apply(pack, attacks))
    def one(case):
        settings, how = case

        def go():
            things = {key: attacks.make(value, {"IMAGE": person}) for key, value in settings.items()}
            positive, negative = pack.nodes["Apply"].execute(**given, **things).args
            latent = {"samples": torch.zeros(how["batch"], 16, how["height"], how["width"])}
            return sample(model, positive, negative, latent, how["sampler"],
                          torch.linspace(1, 0, how["steps"] + 1), how["cfg"])  # fmt: skip

        def right(made):
            if not torch.isfinite(made).all():
                return "latents that are not finite: a black picture"
            if float(vae.decode(made).std()) < 1e-3:
                return "a picture of one colour"
            same = torch.equal(made, without(**how))
            return "the picture without the identity" if same and not silent else None

        silent = attacks.without_effect(settings, how["steps"])
        tally.judge(case, go, right, error)

    one()
    tally.close()


def test_odd_latents_and_noise_levels_are_the_hosts_own_matter(pack, parts, attacks, person, recognizer, run):
    """Refused, or sampled as the host does without us; a probe's record can be told."""
    model, vae, text, given = parts
    tally, error = attacks.Tally("latents and sigmas"), pack.module("infusenet.errors").InfuseNetError
    plain = {"strength": 1.0, "start_percent": 0.0, "gate": "step", "on_negative": False}
    probe = {"recognizer": recognizer, "reference": person, "every": 1, "vae": vae}
    stop = {"patience": 1, "min_steps": 1, "tolerance": 0.0}
    chains = st.sampled_from(["Apply", "live", "after the run", "short tail", "finish, keep the best", "at the peak"])
    things = {kind: st.one_of(st.just(attacks.Thing(kind)), attacks.odd_things(kind)) for kind in ("LATENT", "SIGMAS")}

    @attacks.attack(chain=chains, latent=things["LATENT"], sigmas=things["SIGMAS"], sampler=st.sampled_from(SAMPLERS),
                    end=st.sampled_from([1.0, 0.5]))  # fmt: skip
    def one(chain, latent, sigmas, sampler, end):
        case = (chain, latent, sigmas, sampler, end)
        told = attacks.make(latent, {}), sampler, attacks.make(sigmas, {})
        try:
            want = sample(model, text, text, *told)
        except Exception:
            tally.add("host", None, case)  # then it fails before or behind us as well
            return
        watch = None

        def go():
            nonlocal watch
            if chain == "Apply":
                positive, negative = run("Apply", **given, **plain, end_percent=end)
                return sample(model, positive, negative, *told)
            when = chain if chain == "after the run" else "live"
            watched, watch = run("IdentityProbe", model=model, when=when, **probe)
            if chain not in ("live", "after the run"):
                (watched,) = run("StopAtPeak", model=watched, mode=chain, share=0.5, tail_steps=2, **stop)
            return sample(watched, text, text, *told)

        def right(made):
            if bool(torch.isfinite(want).all()) and not torch.isfinite(made).all():
                return "latents that are not finite, where the host's are"
            probing = chain in ("live", "after the run")
            if probing and not torch.equal(made.nan_to_num(7), want.nan_to_num(7)):
                return "a probe that changes the picture"
            if watch is not None and watch.runs:
                report = run("DriftReport", trace=watch, samples={"samples": made})
                record = json.loads(report[6])
                if probing and not record["records"] and record["status"] == "complete" and len(told[2]) > 1:
                    return "a record of no step that calls itself complete"
            return None

        tally.judge(case, go, right, error)

    one()
    tally.close()
