"""Nodes for the tests of the probe, loaded by the test server as a custom node: samplers that fail or wait."""

import time

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from server import PromptServer


def euler(model, x, sigmas, extra_args=None, callback=None, disable=None, behaviour="works"):
    """Euler's sampler; after three steps it fails, or waits until Cancel has been pressed; or it is slow."""
    for i in range(len(sigmas) - 1):
        if behaviour == "slow":
            time.sleep(0.5)
        if i == 3 and behaviour == "fails":
            raise ArithmeticError("the custom sampler has failed")
        if i == 3 and behaviour == "waits":  # the host's own progress messages are too many for it to send each
            PromptServer.instance.send_sync("tests.waiting", {})
        end = time.monotonic() + 60
        while i == 3 and behaviour == "waits" and time.monotonic() < end:
            if comfy.model_management.processing_interrupted():
                break
            time.sleep(0.01)
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
        x = denoised + (x - denoised) / sigmas[i] * sigmas[i + 1]
    return x


class OddSampler:
    """A SAMPLER that behaves as it is told."""

    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"behaviour": (["works", "fails", "waits", "slow"],)}}

    def make(self, behaviour):
        return (comfy.samplers.KSAMPLER(euler, {"behaviour": behaviour}),)


class Cells:
    """A node that samples three times, as the cells of a plot: its second output holds all."""

    RETURN_TYPES = ("IMAGE", "LATENT")
    FUNCTION = "sample"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "positive": ("CONDITIONING",),
                "latent_image": ("LATENT",),
                "seed": ("INT", {"default": 0}),
            }
        }

    def sample(self, model, positive, latent_image, seed):
        latents, cells = latent_image["samples"], []
        for number in range(3):
            noise = comfy.sample.prepare_noise(latents, seed + number)
            given = (model, noise, 3, 1.0, "euler", "simple", positive, positive, latents)
            cells.append(comfy.sample.sample(*given, seed=seed + number))
        return torch.zeros(1, 8, 8, 3), {"samples": torch.cat(cells)}


class Half:
    """A recognizer that sees half of what another does: another network, for the record."""

    name = "half.onnx (cpu)"

    def __init__(self, recognizer):
        self._recognizer = recognizer

    def __getattr__(self, name):
        return getattr(self._recognizer, name)

    def embed(self, crops):
        rows = self._recognizer.embed(crops)
        return rows[:, : rows.shape[1] // 2]


class OddRecognizer:
    """Another recognizer."""

    RETURN_TYPES = ("INFUSENET_RECOGNIZER",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"recognizer": ("INFUSENET_RECOGNIZER",)}}

    def make(self, recognizer):
        return (Half(recognizer),)


NODE_CLASS_MAPPINGS = {"OddSampler": OddSampler, "Cells": Cells, "OddRecognizer": OddRecognizer}
