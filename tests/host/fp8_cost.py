"""What a host's products in 8 bits cost, on the miniature: likeness and sharpness, paired. No test: it measures.

    COMFYUI_PATH=~/comfy/ComfyUI-0.33 python tests/host/fp8_cost.py [--people 30] [--backbone mini-schnell]

fp8_e4m3fn_fast against the default, through Load FLUX Backbone and the host's sampler, with the people and the prompts
of `infusenet sweep speed` and the same noise. The host is told that the CPU multiplies in 8 bits; torch does so there.
Likeness is judged by the recognizer that chose nothing. Means of the differences, with 95 % intervals over people.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import torch

_HERE = Path(__file__).parent
_NONE = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
_ONE = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error"}
_APPLIED = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "gate": "step", "on_negative": False}


def speed_cost():
    """The script beside this one, which starts hosts."""
    spec = importlib.util.spec_from_file_location("infusenet_host_speed_cost", _HERE / "speed_cost.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pictures(run, pack, backbone, stored, people, prompts):
    """[person, prompt, H, W, 3] from 0 to 1."""
    import comfy.sample

    model, clip, vae, steps, guidance = run("LoadBackbone", backbone=backbone, **_NONE, weight_dtype=stored)
    infusenet = run("LoadInfuseNet", infusenet="miniature", weight_dtype="default")[0]
    names = dict.fromkeys(["image_proj", "arcface", "face_pack"], "miniature")
    encoder = run("LoadIdentityEncoder", **names, device="cpu")[0]
    found, latent = [], torch.zeros(1, 16, 16, 16)
    for number, person in enumerate(people):
        image = torch.from_numpy(person)[None].float() / 255
        identity = run("EncodeIdentity", encoder=encoder, image=image, **_ONE)[0]
        for which, prompt in enumerate(prompts):
            text = clip.encode_from_tokens_scheduled(clip.tokenize(prompt), add_dict={"guidance": guidance})
            given = {"positive": text, "negative": text, "infusenet": infusenet, "identity": identity, "vae": vae}
            positive = run("Apply", **given, **_APPLIED)[0]
            seed = 100 * number + which
            noise = comfy.sample.prepare_noise(latent, seed)
            drawn = comfy.sample.sample(
                model, noise, steps, 1.0, "euler", "simple", positive, text, latent, seed=seed, disable_pbar=True
            )
            found.append(vae.decode(drawn)[0].clamp(0, 1))
        sys.stderr.write(f"{stored}: {number + 1} of {len(people)}\n")
    return torch.stack(found).unflatten(0, (len(people), len(prompts)))


def likeness(judge, drawn, people):
    """[person, prompt]: cosines to the person's own picture; NaN where no face is found."""
    own = [judge.embed_picture(person) for person in people]

    def of(picture, person):
        rgb = (picture.numpy() * 255).round().astype(np.uint8)
        faces = judge.detect(rgb)
        return float(judge.embed([judge.crop(rgb, faces[0].kps)])[0] @ own[person]) if faces else float("nan")

    return np.array([[of(picture, person) for picture in row] for person, row in enumerate(drawn)])


def interval(values):
    """Mean over people and its 95 % interval, of [person, prompt]."""
    from scipy.stats import t

    each = np.nanmean(values, axis=1)
    half = t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5
    return f"{each.mean():+.3f} [{each.mean() - half:+.3f}, {each.mean() + half:+.3f}]"


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--backbone", default="mini-schnell", choices=("mini-schnell", "mini-dev"))
    given = parser.parse_args()
    pack, run = speed_cost().start(True, more=["--supports-fp8-compute"])
    people = [pack.module("infusenet.miniature.people").drawn_reference(number) for number in range(given.people)]
    judge = pack.module("infusenet.miniature").judging_recognizer()
    sweep = pack.module("infusenet.sweep.toml").read_toml(_HERE.parents[1] / "infusenet/sweep/specs/speed.toml")
    prompts = list(sweep["prompts"].values())
    sharpness = pack.module("infusenet.metrics.quality").sharpness
    with torch.inference_mode():
        drawn = {
            stored: pictures(run, pack, given.backbone, stored, people, prompts)
            for stored in ("default", "fp8_e4m3fn_fast")
        }
    plain, fast = (likeness(judge, some, people) for some in drawn.values())
    sharp = [sharpness(some.flatten(0, 1).movedim(-1, 1)).reshape(fast.shape).numpy() for some in drawn.values()]
    print(f"{given.backbone}, {given.people} people x {len(prompts)} prompts, judged by {judge.name}")
    print(f"likeness as shipped {np.nanmean(plain):.3f}, difference {interval(fast - plain)}")
    print(f"faces not found: {np.isnan(plain).sum()} as shipped, {np.isnan(fast).sum()} in 8 bits")
    print(f"sharpness, log of the ratio {interval(np.log(sharp[1] / sharp[0]))}")
    print(f"gray levels apart {255 * float((drawn['default'] - drawn['fp8_e4m3fn_fast']).abs().mean()):.1f}")
    sys.stdout.flush()
    os._exit(0)  # the host's threads need no farewell


if __name__ == "__main__":
    main()
