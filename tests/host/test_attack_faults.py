"""Runs that are cut off at any place: what was lost is told, and the next run knows nothing of it."""

import errno
import json

import numpy as np
import pytest
import torch

hypothesis = pytest.importorskip("hypothesis", reason="the attacks need hypothesis: pip install hypothesis")
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.attack

STEPS = 3
MEMORY = ("decode", "encode", "detect", "embed", "model", "residuals")
FAULTS = ("interrupt", "callback", "sampler", "no callback", "twice", "nan", "nan seen", "full", *MEMORY)
RUNS = ("live", "after the run", "at the peak", "Sweep")


class Broken(Exception):
    """What a foreign node raises."""


@pytest.fixture(scope="module")
def attacks(sibling):
    return sibling("attacks")


@pytest.fixture(scope="module")
def parts(run, mini, mini_infusenet, identity, conditioned):
    """Model, VAE, text, and the conditioning that carries an identity."""
    with torch.inference_mode():
        model, _, vae, *_ = mini("mini-schnell")
        text = conditioned()
        plain = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}
        given = {"positive": text, "infusenet": mini_infusenet, "identity": identity, "vae": vae}
        pose = torch.zeros(1, 128, 128, 3)  # encoded in each run
    return model, vae, text, lambda: run("Apply", **given, **plain, pose_image=pose)[0]


class Injector:
    """Does one fault, once: at a step of the sampler, or at a call of something."""

    def __init__(self, kind, place):
        self.kind, self.place, self.calls, self.done = kind, place, 0, False

    def due(self, *kinds):
        """Whether it is time for one of these."""
        if self.kind not in kinds or self.done:
            return False
        self.calls += 1
        self.done = self.calls > self.place
        return self.done

    def failing(self, kind, function):
        """A function that lacks memory, or room, at one call."""

        def call(*args, **named):
            if self.due(kind):
                raise OSError(errno.ENOSPC, "No space left") if kind == "full" else torch.OutOfMemoryError("injected")
            return function(*args, **named)

        return call

    def euler(self, model, x, sigmas, extra_args=None, callback=None, disable=None):
        """Euler's sampler, disturbed."""
        import comfy.model_management

        for i in range(len(sigmas) - 1):
            if self.due("interrupt"):
                comfy.model_management.interrupt_current_processing()
            if self.due("sampler"):
                raise Broken("the sampler fails")
            denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
            told = denoised * float("nan") if self.due("nan seen") else denoised
            if callback is not None and not self.due("no callback"):
                for _ in range(1 + self.due("twice")):
                    callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": told})
            if self.due("nan"):
                denoised = denoised * float("nan")
            x = denoised + (x - denoised) / sigmas[i] * sigmas[i + 1]
        return x

    def tell(self, step, x0, x, total):
        """The callback that a node gives to the sampler."""
        if self.due("callback"):
            raise Broken("the callback fails")


@pytest.fixture
def arm(pack, parts, recognizer, monkeypatch):
    """`arm(injector)`: the fault lies in wait."""
    import comfy.samplers

    model, vae, *_ = parts
    store = pack.module("infusenet.probe.store")
    control = pack.module("nodes.infusenet.adapter").InfuseNetControl
    targets = {
        "decode": (vae, "decode"), "encode": (vae, "encode"), "detect": (recognizer, "detect"),
        "embed": (recognizer, "embed"), "model": (model.model, "_apply_model"), "residuals": (control, "_residuals"),
        "full": (store.LatentStore, "_file"),
    }  # fmt: skip
    usual = {kind: getattr(*target) for kind, target in targets.items()}
    named = comfy.samplers.sampler_object

    def set_up(injector):
        for kind, (owner, name) in targets.items():
            made = injector.failing(kind, usual[kind]) if kind == injector.kind else usual[kind]
            monkeypatch.setattr(owner, name, made)
        monkeypatch.setattr(comfy.samplers, "sampler_object", lambda name: comfy.samplers.KSAMPLER(injector.euler)
                            if name == "euler" else named(name))  # fmt: skip
        monkeypatch.setattr(pack.module("infusenet.probe.recorder"), "CAPACITY", 1 << 28)
        full = injector.kind == "full"
        recorder = pack.module("infusenet.probe.recorder").ProbeRecorder
        monkeypatch.setitem(recorder.__init__.__kwdefaults__, "capacity", 1 if full else 1 << 28)
        return injector

    return set_up


TIMES = ("seconds", "seconds_in_loop", "seconds_after")


def without_times(record):
    """A record without what differs between two runs of the same."""
    if isinstance(record, dict):
        return {key: without_times(value) for key, value in record.items() if key not in TIMES}
    return [without_times(value) for value in record] if isinstance(record, list) else record


@pytest.fixture
def go(pack, parts, recognizer, person, run):
    """`go(kind, injector)`: a run by way of our nodes; (picture, record, the way to its record afterwards)."""
    import comfy.samplers

    model, vae, text, applied = parts

    def sweep(injector):
        given = {"model": model, "positive": applied(), "negative": text, "vae": vae, "recognizer": recognizer}
        latent, asked = {"samples": torch.zeros(1, 16, 16, 16)}, {"axis": "steps", "values": "1, 2", "steps": 2}
        _, _, best, value, table, _ = run("Sweep", **given, **asked, latent_image=latent, reference=person, cfg=1.0,
                                           seed=5, sampler_name="euler")  # fmt: skip
        rows = [line.split(",") for line in table.splitlines()]
        drop = rows[0].index("seconds")
        return best["samples"], [value, [row[:drop] + row[drop + 1 :] for row in rows]]

    def begin(kind):
        """A probed model, and its watch."""
        when = "after the run" if kind == "after the run" else "live"
        watched, watch = run("IdentityProbe", model=model, recognizer=recognizer, reference=person, when=when, every=1,
                             vae=vae)  # fmt: skip
        if kind == "at the peak":
            (watched,) = run("StopAtPeak", model=watched, patience=1, min_steps=1, tolerance=0.0, mode=kind)
        return watched, watch

    def probed(injector, watched, watch):
        guider = comfy.samplers.CFGGuider(watched)
        guider.set_conds(applied(), text)
        latents = torch.zeros(1, 16, 16, 16)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(5))
        chosen = comfy.samplers.sampler_object("euler")
        made = guider.sample(noise, latents, chosen, torch.linspace(1, 0, STEPS + 1), callback=injector.tell,
                             disable_pbar=True, seed=5).clone()  # fmt: skip
        return made, record(watch, made)

    def record(watch, made=None):
        samples = torch.zeros(1, 16, 16, 16) if made is None else made
        return without_times(json.loads(run("DriftReport", trace=watch, samples={"samples": samples})[6]))

    return sweep, begin, probed, record


def test_after_any_fault_the_next_run_is_as_if_it_had_never_been(pack, attacks, arm, go, tmp_path, monkeypatch):
    import comfy.model_management
    import folder_paths

    sweep, begin, probed, record = go
    charts, blank = pack.module("infusenet.charts"), np.zeros((8, 8, 3), np.uint8)
    for name in ("figure_pixels", "similarity_figure", "faces_sheet", "values_figure", "contact_sheet"):
        monkeypatch.setattr(charts, name, lambda *_, **__: blank)  # drawing takes most of a run's time
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    tally, error = attacks.Tally("faults in a run"), pack.module("infusenet.errors").InfuseNetError
    meant = (Broken, torch.OutOfMemoryError, comfy.model_management.InterruptProcessingException, error)

    def whole(kind, injector):
        return sweep(injector) if kind == "Sweep" else probed(injector, *begin(kind))

    fresh = {}
    for kind in RUNS:
        fresh[kind] = whole(kind, arm(Injector("", 0)))
    same = {kind: whole(kind, arm(Injector("", 0))) for kind in RUNS}
    assert all(torch.equal(fresh[kind][0], same[kind][0]) and fresh[kind][1] == same[kind][1] for kind in RUNS)

    def disturbed(kind, injector):
        """What is wrong with a run with a fault, and what it leaves."""
        ended, made, told, watch = None, None, None, None
        try:
            watched, watch = (None, None) if kind == "Sweep" else begin(kind)
            made, told = sweep(injector) if kind == "Sweep" else probed(injector, watched, watch)
        except meant as fault:
            ended = fault
        finally:
            comfy.model_management.interrupt_current_processing(False)
        if watch is not None and ended is not None and watch.runs:
            told = record(watch) if any(run.trace for run in watch.runs.values()) else None
        return told_of(kind, injector, ended, made, told)

    def told_of(kind, injector, ended, made, told):
        want, clean = fresh[kind]
        if not injector.done:
            return None if ended is None and torch.equal(made, want) else "another run without any fault"
        if ended is not None:
            whole = isinstance(told, dict) and told["status"] == "complete"
            return "a run that failed, and its record is complete" if whole else None
        if injector.kind == "interrupt":
            return "the interrupt is lost" if kind == "Sweep" else None  # 0.3.64's guider looks now and then alone
        if not torch.isfinite(made).all():
            if kind == "Sweep":
                return "a latent that is not finite, without a word"
            words = json.dumps(told)
            return None if "NaN or infinity" in words or told["status"] != "complete" else "NaN, and a complete record"
        if kind != "at the peak" and not torch.equal(made, want):
            return "a fault in looking that changes the picture"
        if isinstance(told, dict) and told != clean and told["status"] == "complete" and injector.kind in MEMORY:
            return None if len(told["warnings"]) > len(clean["warnings"]) else "another record without a word"
        return None

    @attacks.attack(kind=st.sampled_from(RUNS), fault=st.sampled_from(FAULTS), place=st.integers(0, STEPS))
    def one(kind, fault, place):
        injector, case = Injector(fault, place), (kind, fault, place)

        def right(_):
            found = disturbed(kind, arm(injector))
            if list(tmp_path.iterdir()):
                return f"left behind: {[path.name for path in tmp_path.iterdir()]}"
            if found is None:
                made, told = whole(kind, arm(Injector("", 0)))
                if not torch.equal(made, fresh[kind][0]):
                    return "the next run's picture is another"
                if told != fresh[kind][1]:
                    return "the next run's record is another"
            return found

        tally.judge(case, lambda: None, right, error)

    one()
    tally.close()
