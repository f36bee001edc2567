"""What each saving gains in ComfyUI at true size, with random weights, as ratios in one process. No test: it measures.

    COMFYUI_PATH=~/comfy/ComfyUI-0.33 python tests/host/speed_cost.py --out FOLDER [--tiny]

Through what a user has: Load FLUX Backbone (compile, and fp8_e4m3fn_fast for 8-bit products), Load InfuseNet Adapter
(compile), Apply InfuseNet Identity (refresh), the host's sampler and VAE. The ways take turns; sampling and decoding
are timed, text encoding is not. --tiny runs the miniature on the CPU, to try the script. --streamed switches the
host's dynamic VRAM on, its default where there is any, and leaves dev out. Needs about 95 GiB on the GPU (50 streamed).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

HERE = Path(__file__).parent


def sibling(name):
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"infusenet_host_{name}", HERE / f"{name}.py")
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])
    return sys.modules[spec.name]


def ways():
    """(backbone, steps, refresh, speed); the first is what the others are compared with."""
    dev = [("dev", 28, "every step"), ("dev", 28, "every 4")]
    schnell = [("schnell", 4, "every step"), ("schnell", 4, "1,3"), ("schnell", 2, "every step"), ("schnell", 2, "1")]
    for speed in ("eager", "compiled", "fp8"):
        yield from ((*way, speed) for way in (*dev, *schnell))


def start(tiny, streamed=False, more=()):
    """The host with our pack in it, in the process of this script."""
    held = sibling("conftest")
    sys.path[:] = [str(held.HOST), *(path for path in sys.path if path not in (str(held.REPOSITORY), "", str(HERE)))]
    sys.argv = ["main.py", *(["--cpu"] if tiny else []), *more]
    import comfy.options

    comfy.options.enable_args_parsing()
    if streamed:
        stream()
    import comfy.model_management

    import nodes

    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False))
    extension = asyncio.run(held.load_pack().comfy_entrypoint())
    ours = {cls.GET_SCHEMA().node_id.removeprefix("InfuseNet_"): cls for cls in asyncio.run(extension.get_node_list())}
    pack = SimpleNamespace(module=lambda name: importlib.import_module(f"{held.PACK}.{name}"))

    def run(name, **inputs):
        if name in ours:
            return ours[name].execute(**inputs).args
        node = nodes.NODE_CLASS_MAPPINGS[name]
        if hasattr(node, "GET_SCHEMA"):
            return node.execute(**inputs).args
        return getattr(node(), node.FUNCTION)(**inputs)

    return pack, run


def stream():
    """Dynamic VRAM on, as the host's main.py does it."""
    import comfy_aimdo.control

    comfy_aimdo.control.init()
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    devices = ((device.index, 0) for device in comfy.model_management.get_all_torch_devices())
    if not comfy_aimdo.control.init_devices(devices):
        raise SystemExit("No working comfy-aimdo here: leave --streamed out.")
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True


def write_files(pack, streamed):
    """Published layouts, most of them without data. What is streamed is read again and again: its data are written."""
    import folder_paths

    files, home = sibling("true_files"), Path(tempfile.mkdtemp())
    shapes = {f"unet/flux1-{name}": files.flux_shapes(pack, name == "dev")[1] for name in ("dev", "schnell")}
    config = files.PUBLISHED | {"num_layers": 4, "num_single_layers": 10, "guidance_embeds": True}
    shapes["infinite_you/infusenet"] = pack.module("infusenet.flux.networks").expected_tensors(config, controlnet=True)
    shapes["vae/ae"] = files.vae_shapes()
    for name, tensors in shapes.items():
        files.header_only(home / f"{name}.safetensors", tensors)
        if streamed and not name.endswith("dev"):
            fill(home / f"{name}.safetensors")
    fill(home / "infinite_you" / "infusenet.safetensors")  # zeros are refused there
    for kind, name in (("diffusion_models", "unet"), ("vae", "vae"), ("infinite_you", "infinite_you")):
        folder_paths.add_model_folder_path(kind, str(home / name), is_default=True)
    return home


def draw(module):
    """Random weights of a usual size where they lie: zeros would multiply faster."""
    import torch

    for weight in module.parameters():
        values = torch.empty_like(weight, dtype=torch.bfloat16).normal_(std=0.02) if weight.ndim > 1 else None
        if values is not None:
            weight.data.copy_(values)


def fill(path, part=1 << 26):
    """Write random bfloat16 of a usual size over a file's data, the same few again and again."""
    import torch

    values = torch.empty(part // 2, dtype=torch.bfloat16).normal_(std=0.02).view(torch.uint8).numpy().tobytes()
    with path.open("r+b") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        left = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        while left > 0:
            left -= file.write(values[:left])


class Networks:
    """FLUX once a precision, InfuseNet once a speed, shared by the ways."""

    def __init__(self, pack, run, tiny, streamed):
        self.run, self.tiny, self.streamed, self.kept = run, tiny, streamed, {}
        self.compiled = pack.module("nodes.flux.compiled")
        if not tiny:
            self.home = write_files(pack, streamed)

    def _once(self, key, make):
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def _drawn(self, patcher):
        import comfy.model_management

        if not self.streamed:
            comfy.model_management.load_models_gpu([patcher])
            draw(patcher.model)

    def model(self, backbone, speed):
        """The MODEL, compiled as Load FLUX Backbone does where that is asked for."""
        stored = "fp8_e4m3fn_fast" if speed == "fp8" else "default"

        def plain():
            if self.tiny:
                none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
                return self.run("LoadBackbone", backbone=f"mini-{backbone}", **none, weight_dtype="default")[0]
            made = self.run("UNETLoader", unet_name=f"flux1-{backbone}.safetensors", weight_dtype=stored)[0]
            self._drawn(made)
            return made

        model = self._once(("model", backbone, stored), plain)
        if speed == "eager":
            return model
        return self._once(("compiled", backbone, stored), lambda: self.compiled.compiled_model(model))

    def infusenet(self, speed):
        """InfuseNet, its blocks compiled where that is asked for."""

        compiled = speed != "eager"

        def make():
            name = "miniature" if self.tiny else "infusenet.safetensors"
            return self.run("LoadInfuseNet", infusenet=name, weight_dtype="default", compile=compiled)[0]

        return self._once(("infusenet", compiled), make)

    def vae(self, speed):
        """The VAE; another one with a compiled decoder."""

        def plain():
            if self.tiny:
                none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
                return self.run("LoadBackbone", backbone="mini-schnell", **none, weight_dtype="default")[2]
            made = self.run("VAELoader", vae_name="ae.safetensors")[0]
            self._drawn(made.patcher)
            return made

        vae = self._once(("vae",), plain)
        return vae if speed == "eager" else self._once(("vae", "compiled"), lambda: self.compiled.compiled_vae(vae))


def picture(networks, pack, way):
    """What makes one picture of a way, sampled and decoded; its inputs are ready."""
    import comfy.sample
    import torch

    backbone, steps, refresh, speed = way
    model, vae, net = networks.model(backbone, speed), networks.vae(speed), networks.infusenet(speed)
    width, height = (128, 128) if networks.tiny else (864, 1152)
    flux = networks.model(backbone, "eager" if speed == "compiled" else speed).model.diffusion_model
    wide, pooled = flux.txt_in.in_features, flux.vector_in.in_layer.in_features
    length = 40 if networks.tiny else {"dev": 512, "schnell": 256}[backbone]
    text = [[torch.randn(1, length, wide), {"pooled_output": torch.randn(1, pooled), "guidance": 3.5}]]
    identity = pack.module("infusenet.adapters.infusenet.encoder").Identity(
        torch.ones(1, 512) / 512**0.5, torch.randn(1, 8, wide), np.zeros((1, 112, 112, 3), np.uint8), "random"
    )
    positive = networks.run(
        "Apply", positive=text, negative=text, infusenet=net, identity=identity, vae=vae, strength=1.0,
        start_percent=0.0, end_percent=1.0, gate="step", on_negative=False, refresh=refresh,
    )[0]  # fmt: skip
    latent = torch.zeros(1, 16, height // 8, width // 8)
    noise = comfy.sample.prepare_noise(latent, 1)

    def make(steps=steps):
        samples = comfy.sample.sample(
            model, noise, steps, 1.0, "euler", "simple", positive, text, latent, seed=1, disable_pbar=True
        )
        return networks.run("VAEDecode", vae=vae, samples={"samples": samples})[0], samples

    return make


def measure(networks, pack, chosen, rounds):
    """Milliseconds of each way by round, the seconds of its first picture, and the most memory beside the weights."""
    import torch

    cuda = torch.cuda.is_available() and not networks.tiny
    found = {}
    for way in chosen:
        make = picture(networks, pack, way)
        began = time.perf_counter()
        make(min(way[1], 2))
        found[way] = {"make": make, "ms": [], "first_s": time.perf_counter() - began, "gib": None}
        sys.stderr.write(f"first: {way} {found[way]['first_s']:.1f} s\n")
    for number in range(rounds):
        for one in found.values():
            held = torch.cuda.memory_allocated() if cuda else 0
            if cuda:
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            began = time.perf_counter()
            one["make"]()
            if cuda:
                torch.cuda.synchronize()
                one["gib"] = (torch.cuda.max_memory_allocated() - held) / 2**30
            one["ms"].append(1000 * (time.perf_counter() - began))
        sys.stderr.write(f"round {number + 1} of {rounds}\n")
    return found


def decoding(networks, rounds):
    """Milliseconds of the decoder alone, eager and compiled."""
    import torch

    side = (16, 16) if networks.tiny else (144, 108)
    latents, found = {"samples": torch.randn(1, 16, *side)}, {}  # [height, width] / 8
    for speed in ("eager", "compiled"):
        taken = []
        for _ in range(rounds + 2):
            began = time.perf_counter()
            networks.run("VAEDecode", vae=networks.vae(speed), samples=latents)
            taken.append(1000 * (time.perf_counter() - began))  # the picture is on the CPU by then
        found[speed] = statistics.median(taken[2:])
    return found


def alternating(networks, pack, chosen, runs=50):
    """Held memory in GiB after each of some runs that take turns, and the slowest run against the median of its way."""
    import torch

    makes, held, taken = [picture(networks, pack, way) for way in chosen], [], {}
    for number in range(max(runs, 3 * len(makes))):
        turn = number % len(makes)
        began = time.perf_counter()
        makes[turn]()
        taken.setdefault(turn, []).append(time.perf_counter() - began)
        gc.collect()
        held.append(torch.cuda.memory_allocated() / 2**30 if torch.cuda.is_available() and not networks.tiny else 0)
    slowest = max(max(each[1:]) / statistics.median(each[1:]) for each in taken.values())
    return {"held_gib": held, "slowest_over_median": slowest}


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--runs", type=int, default=50, help="of alternating ways, to see the memory")
    parser.add_argument("--streamed", action="store_true", help="with the host's dynamic VRAM")
    parser.add_argument("--without", nargs="*", default=[], choices=("compiled", "fp8"))
    given = parser.parse_args()
    pack, run = start(given.tiny, given.streamed)
    import comfyui_version
    import torch

    with torch.inference_mode():
        networks = Networks(pack, run, given.tiny, given.streamed)
        chosen = [way for way in ways() if way[3] not in given.without and not (given.streamed and way[0] == "dev")]
        found = measure(networks, pack, chosen, given.rounds)
        first = statistics.median(found[chosen[0]]["ms"])
        rows = [
            {"way": way, "median_ms": (ms := statistics.median(one["ms"])), "x": first / ms, **one, "make": None}
            for way, one in found.items()
        ]
        report = {
            "card": torch.cuda.get_device_name() if torch.cuda.is_available() and not given.tiny else "cpu",
            "comfyui": comfyui_version.__version__,
            "torch": torch.__version__,
            "streamed": given.streamed,
            "ways": rows,
            "decode_ms": decoding(networks, given.rounds) if "compiled" not in given.without else None,
        }
        given.out.mkdir(parents=True, exist_ok=True)
        save = lambda: (given.out / "host.json").write_text(json.dumps(report, indent=1))  # noqa: E731
        save()
        for row in rows:
            print(f"{', '.join(map(str, row['way'])):40s} {row['median_ms']:8.0f} ms  x {row['x']:.2f}")
        print("decode, ms:", report["decode_ms"])
        report["alternating"] = alternating(networks, pack, chosen, given.runs)
        save()
        held = report["alternating"]["held_gib"]
        print(f"held after run 10 and the last: {held[min(9, len(held) - 1)]:.2f}, {held[-1]:.2f} GiB")
        print(f"slowest run over the median of its way: {report['alternating']['slowest_over_median']:.2f}")
        if not given.tiny:
            shutil.rmtree(networks.home, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # the host's threads need no farewell


if __name__ == "__main__":
    main()
