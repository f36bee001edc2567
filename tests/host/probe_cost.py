"""What a probe costs on the miniature through the host, as ratios within one run. No test: it measures.

    COMFYUI_PATH=~/comfy/ComfyUI python -m pytest tests/host/probe_cost.py -s

The four ways take turns; each figure is the median of the rounds' ratios to that round's unprobed loop.
Work is the processor time of the sampler's own thread, which other programs do not disturb; the clock's time holds all.
INFUSENET_ROUNDS is the number of rounds, 9 by default; INFUSENET_THREADS that of torch's threads, 1 by default.
"""

import os
import statistics
import time

import pytest
import torch

ROUNDS = int(os.environ.get("INFUSENET_ROUNDS", 9))
WAYS = ("unprobed", "after the run", "live, in the loop", "live, in the background")


class OnGPU:
    """A recognizer that claims a GPU, so that a live probe measures in the loop."""

    provider = "CUDAExecutionProvider"

    def __init__(self, real):
        self.name, self.detect, self.crop, self.embed = real.name, real.detect, real.crop, real.embed


class Timed:
    """Euler's sampler, and how long its loop took: by the clock, and work of its thread."""

    seconds = work = 0.0

    def __call__(self, *args, **named):
        from comfy.k_diffusion.sampling import sample_euler

        began, worked = time.perf_counter(), time.thread_time()
        try:
            return sample_euler(*args, **named)
        finally:
            self.seconds, self.work = time.perf_counter() - began, time.thread_time() - worked


@pytest.mark.parametrize(("backbone", "steps"), [("mini-schnell", 4), ("mini-dev", 28)])
def test_cost(run, mini, recognizer, person, conditioned, backbone, steps):
    import comfy.sample
    import comfy.samplers

    torch.set_num_threads(int(os.environ.get("INFUSENET_THREADS", 1)))
    model, _, vae, *_ = mini(backbone)
    text, latents = conditioned(backbone), torch.zeros(1, 16, 16, 16)
    noise = comfy.sample.prepare_noise(latents, 5)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    inputs = {"model": model, "reference": person, "every": 1, "vae": vae}
    after, live = WAYS[1], "live"
    models = {
        WAYS[0]: model,
        WAYS[1]: run("IdentityProbe", recognizer=recognizer, when=after, **inputs)[0],
        WAYS[2]: run("IdentityProbe", recognizer=OnGPU(recognizer), when=live, **inputs)[0],
        WAYS[3]: run("IdentityProbe", recognizer=recognizer, when=live, **inputs)[0],
    }
    loops, works, totals = ({way: [] for way in WAYS} for _ in range(3))
    for turn in range(ROUNDS + 1):
        for way in (*WAYS[turn % 4 :], *WAYS[: turn % 4]):
            timed, began = Timed(), time.perf_counter()
            comfy.sample.sample_custom(
                models[way], noise, 1.0, comfy.samplers.KSAMPLER(timed), sigmas, text, text, latents, seed=5,
                disable_pbar=True,
            )  # fmt: skip
            if turn:  # the first warms up
                loops[way].append(timed.seconds)
                works[way].append(timed.work)
                totals[way].append(time.perf_counter() - began)
    base = statistics.median(loops[WAYS[0]])
    load = os.getloadavg()[0]
    print(f"\n{backbone}, {steps} steps: {1000 * base:.0f} ms unprobed; load {load:.1f} on {os.cpu_count()} cores")
    for way in WAYS:
        clock, work, whole = (
            statistics.median(a / b for a, b in zip(taken[way], taken[WAYS[0]], strict=True))
            for taken in (loops, works, totals)
        )
        print(f"{way:24s} loop x {clock:.3f} (work x {work:.3f}), with what comes after it x {whole:.3f}")
