"""What each saving gains in ComfyUI at true size, with random weights, as ratios in one process. No test: it measures.

    COMFYUI_PATH=~/comfy/ComfyUI-0.33 python tests/host/speed_cost.py --out FOLDER [--tiny]

Through what a user has: UNETLoader (fp8_e4m3fn_fast for 8-bit products), TorchCompileModel, Load InfuseNet Adapter
(compile, weight_dtype), Apply InfuseNet Identity (refresh), the host's sampler and VAE. No host switch compiles a
VAE: its decoder is compiled by torch here. The ways take turns; sampling and decoding are timed, text encoding is not.
--tiny runs the miniature on the CPU, to try the script. Needs about 90 GiB on the GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
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


def start(tiny):
    """The host with our pack in it, in the process of this script."""
    held = sibling("conftest")
    sys.path[:] = [str(held.HOST), *(path for path in sys.path if path not in (str(held.REPOSITORY), "", str(HERE)))]
    sys.argv = ["main.py", *(["--cpu"] if tiny else ["--highvram"])]
    import comfy.options

    comfy.options.enable_args_parsing()
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


def write_files(pack):
    """Published layouts, without data; the weights are drawn where they lie."""
    import folder_paths

    files, home = sibling("true_files"), Path(tempfile.mkdtemp())
    for backbone in ("dev", "schnell"):
        files.header_only(
            home / "unet" / f"flux1-{backbone}.safetensors", files.flux_shapes(pack, backbone == "dev")[1]
        )
    files.header_only(home / "vae" / "ae.safetensors", files.vae_shapes())
    config = files.PUBLISHED | {"num_layers": 4, "num_single_layers": 10, "guidance_embeds": True}
    shapes = pack.module("infusenet.flux.networks").expected_tensors(config, controlnet=True)
    files.header_only(home / "infinite_you" / "infusenet.safetensors", shapes)
    for kind, name in (("diffusion_models", "unet"), ("vae", "vae"), ("infinite_you", "infinite_you")):
        folder_paths.add_model_folder_path(kind, str(home / name), is_default=True)
    return home


def draw(module):
    """Random weights of a usual size: zeros would multiply faster."""
    import torch

    for weight in module.parameters():
        values = torch.empty_like(weight, dtype=torch.bfloat16).normal_(std=0.02) if weight.ndim > 1 else None
        if values is not None:
            weight.data.copy_(values)


class Networks:
    """FLUX once a precision, InfuseNet once a speed, shared by the ways."""

    def __init__(self, pack, run, tiny):
        self.run, self.tiny, self.kept = run, tiny, {}
        if not tiny:
            self.home = write_files(pack)

    def _once(self, key, make):
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def _drawn(self, patcher):
        import comfy.model_management

        if not self.tiny:
            comfy.model_management.load_models_gpu([patcher])
            draw(patcher.model)

    def model(self, backbone, speed):
        """The MODEL, with TorchCompileModel behind it where that is asked for."""
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
        compiled = lambda: self.run("TorchCompileModel", model=model, backend="inductor")[0]  # noqa: E731
        return self._once(("compiled", backbone, stored), compiled)

    def infusenet(self, speed):
        """InfuseNet, its blocks compiled where that is asked for."""

        def make():
            name = "miniature" if self.tiny else "infusenet.safetensors"
            stored = "fp8_e4m3fn" if speed == "fp8" and not self.tiny else "default"
            made = self.run("LoadInfuseNet", infusenet=name, weight_dtype=stored, compile=speed != "eager")[0]
            self._drawn(made.control_model_wrapped)
            return made

        return self._once(("infusenet", speed), make)

    def vae(self, speed):
        """The VAE; another one with a compiled decoder."""
        import torch

        def plain():
            if self.tiny:
                none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
                return self.run("LoadBackbone", backbone="mini-schnell", **none, weight_dtype="default")[2]
            made = self.run("VAELoader", vae_name="ae.safetensors")[0]
            self._drawn(made.patcher)
            return made

        vae = self._once(("vae",), plain)
        if speed == "eager":
            return vae

        def compiled():
            other = copy.copy(vae)
            other.first_stage_model = copy.copy(vae.first_stage_model)
            other.first_stage_model._modules = dict(vae.first_stage_model._modules)
            other.first_stage_model.decoder = torch.compile(vae.first_stage_model.decoder, dynamic=False)
            return other

        return self._once(("vae", "compiled"), compiled)


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
    latents, found = {"samples": torch.randn(1, 16, *side)}, {}
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
    parser.add_argument("--without", nargs="*", default=[], choices=("compiled", "fp8"))
    given = parser.parse_args()
    pack, run = start(given.tiny)
    import comfyui_version
    import torch

    with torch.inference_mode():
        networks = Networks(pack, run, given.tiny)
        chosen = [way for way in ways() if way[3] not in given.without]
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
