"""Nodes for the tests of the probe, loaded by the test server as a custom node: samplers that fail or wait."""

import time

import comfy.model_management
import comfy.samplers
from server import PromptServer


def euler(model, x, sigmas, extra_args=None, callback=None, disable=None, behaviour="works"):
    """Euler's sampler; when three steps are completed it fails, or waits until Cancel has been pressed."""
    for i in range(len(sigmas) - 1):
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
        return {"required": {"behaviour": (["works", "fails", "waits"],)}}

    def make(self, behaviour):
        return (comfy.samplers.KSAMPLER(euler, {"behaviour": behaviour}),)


NODE_CLASS_MAPPINGS = {"OddSampler": OddSampler}
