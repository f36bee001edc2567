"""One picture from faces and a prompt: what `infusenet generate` and `infusenet demo` call."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .adapters import Adapter, Branches, check_branches, get_adapter
from .adapters.files import Files as Files
from .adapters.files import files_for as files_for
from .adapters.files import is_miniature as is_miniature
from .adapters.infusenet.adapter import InfuseNetAdapter
from .backbones import BackboneSpec
from .errors import SettingsError
from .guidance.notation import NONE, parse_attention, parse_decoupled
from .speed import EVERY_STEP, EXACT, parse_refresh, parse_schedule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .probe import ProbeRecorder, Trace

    Picture = NDArray[np.uint8]


MOST_STEPS, MOST_PIXELS, MOST_FACTOR = 10_000, 16_384, 1_000.0
"""Beyond these nobody means a number of steps, a side of a picture, a guidance, true CFG or strength."""


@dataclass(frozen=True)
class GenerateRequest:
    """What one picture is asked for. None means the backbone's own value."""

    prompt: str
    negative: str | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    seed: int = 0
    size: tuple[int, int] | None = None
    true_cfg: float = 2.0
    branches: Branches = "positive"  # of true CFG: on which the adapter acts
    refresh: str = str(EVERY_STEP)  # when the adapter is computed anew, see `speed.parse_refresh`
    schedule: str = str(EXACT)  # what becomes of the steps' noise levels, see `speed.parse_schedule`
    decoupled: str = NONE  # guidance that takes text and identity apart, see `guidance.notation.parse_decoupled`
    attention: str = NONE  # what becomes of the attention to the identity, see `guidance.notation.parse_attention`

    def __post_init__(self) -> None:
        """Raise SettingsError where a value cannot be meant."""
        if not self.prompt.strip():
            raise SettingsError('The prompt is empty. Describe the picture, for example "a portrait of a person".')
        for text in (self.prompt, self.negative or ""):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise SettingsError(f"Expected a prompt in UTF-8 text, got other bytes: {text[:40]!r}.") from None
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"Expected at least 1 step, got {self.steps}. Try 4 for schnell or 28 for dev.")
        if self.steps is not None and self.steps > MOST_STEPS:
            raise SettingsError(f"Expected at most {MOST_STEPS:,} steps, got {self.steps:,}. Try 4 or 28.")
        if self.size is not None and not (min(self.size) >= 16 and max(self.size) <= MOST_PIXELS):
            sides = "{}x{}".format(*self.size)
            raise SettingsError(f"Expected a size from 16x16 to {MOST_PIXELS}x{MOST_PIXELS}, got {sides}.")
        for name in ("start", "end"):
            share = getattr(self, name)
            if not 0 <= share <= 1:  # NaN fails too
                raise SettingsError(f"Expected {name} to be a share of the run from 0 to 1, got {share}.")
        for name in ("guidance", "true_cfg", "strength"):
            value = getattr(self, name)
            if value is not None and not abs(value) <= MOST_FACTOR:  # NaN fails too
                raise SettingsError(
                    f"Expected {name} to be from -{MOST_FACTOR:g} to {MOST_FACTOR:g}, got {value}. The picture "
                    "would be black or noise."
                )
        if not self.strength >= 0:
            raise SettingsError(
                f"Expected a strength of at least 0, got {self.strength}. Try 1, the value InfuseNet was trained with."
            )
        check_branches(self.branches)
        parse_refresh(self.refresh)
        parse_schedule(self.schedule)
        parse_decoupled(self.decoupled)
        parse_attention(self.attention)
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"Expected a seed between 0 and 2^63 - 1, got {self.seed}.")


Settings = GenerateRequest  # its older name, until 0.2


@dataclass(frozen=True)
class Result:
    """A finished picture RGB uint8 [H, W, 3], what it was made with, and the trace where a probe listened."""

    picture: Picture
    made_with: dict[str, Any]
    trace: Trace | None = None
    warnings: tuple[str, ...] = ()  # which of the settings did nothing, in sentences

    def metadata(self, files: Files, photos: int) -> dict[str, Any]:
        """What the picture tells about itself: with what and from what it was made. No embedding, no user's folder."""
        from . import __version__

        parameters = {**self.made_with, "models": files.names(), "photos": photos}
        if self.warnings:
            parameters["warnings"] = list(self.warnings)
        return {"Software": f"infusenet {__version__}", "parameters": parameters}


def load_adapter(files: Files, device: str = "auto", dtype: str | None = None) -> Adapter:
    """What conditions in a set-up: it reads the pictures, and is bound to the pipeline."""
    return get_adapter(files.adapter).load(files.parts, files.face_pack, device, _torch_dtype(dtype))


def load_pipeline(
    files: Files, device: str = "auto", dtype: str | None = None, *, adapter: Adapter | None = None, **options: Any
) -> Any:
    """The pipeline of a set-up, quiet; with an `adapter` of `load_adapter`, else InfuseNet itself is bound.

    `device` is "auto", "cpu", "cuda", "cuda:N" or "mps", `dtype` a floating dtype of torch's by name (by default the
    device's usual one), and `options` are `loading.load_pipeline`'s.
    """
    from .loading import load_pipeline as load
    from .weights.pretrained import torch_device

    options |= {key: path for key, path in files.options.items() if options.get(key) is None}
    options |= {"expected": files.expected, "device": torch_device(device), "dtype": _torch_dtype(dtype)}
    infusenet = None if adapter is not None else files.parts.get("infusenet")
    pipeline = load(files.backbone, infusenet, adapter=adapter, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _torch_dtype(name: str | None) -> Any:
    """torch's own, from its name; None stays None."""
    import torch

    return None if name is None else getattr(torch, name)


def fitted_size(request: GenerateRequest, spec: BackboneSpec) -> tuple[int, int]:
    """The size to sample at, floored to what the backbone can make, as the original does."""
    from .sampling import floor_size

    return floor_size(*(request.size or (spec.width, spec.height)), spec.size_multiple)


def warnings_of(request: GenerateRequest, spec: BackboneSpec) -> tuple[str, ...]:
    """Which settings do nothing on this backbone, or something else than they say, in sentences."""
    from .sampling import no_effect

    steps = request.steps or spec.num_inference_steps
    found = [no_effect(request.strength, request.start, request.end, steps)]
    if request.guidance and not (spec.guidance_embeds or spec.classifier_free) and request.negative is None:
        found.append(f"{spec.title} ignores guidance, so guidance {request.guidance:g} has no effect.")
    usual = GenerateRequest(request.prompt)
    given = {"true CFG": request.true_cfg != usual.true_cfg, "branches": request.branches != usual.branches}
    idle, decoupled = [name for name, set_ in given.items() if set_], parse_decoupled(request.decoupled)
    if decoupled is not None:
        found += decoupled.notices(steps, negative=request.negative is not None, instead_of=idle)
    elif request.negative is None:
        found += [f"There is no negative prompt, so {name} has no effect." for name in idle]
    elif request.true_cfg == 1:
        found.append("The negative prompt has no effect while true CFG is 1. Try 2.")
    asked, fitted = request.size or (spec.width, spec.height), fitted_size(request, spec)
    if asked != fitted:
        words = "The size {}x{} is not a multiple of {} pixels, so the picture is {}x{}."
        found.append(words.format(*asked, spec.size_multiple, *fitted))
    return tuple(filter(None, found))


@contextmanager
def _untold() -> Iterator[None]:
    """What the pipeline would log of settings without effect is in the result's warnings already."""
    from .adapters.infusenet.pipeline import log as told

    level = told.level
    told.setLevel(logging.ERROR)
    try:
        yield
    finally:
        told.setLevel(level)


def generate(
    pipeline: Any,
    condition: Any,
    request: GenerateRequest,
    *,
    adapter: Adapter | None = None,
    pose: Picture | None = None,
    recorder: ProbeRecorder | None = None,
) -> Result:
    """Sample one picture: the one way that the command, the demo and the sweeps make one.

    Args:
        pipeline: a loaded pipeline; its `spec` fills in what `request` leaves open.
        condition: what the adapter read off the person's pictures, such as an `Identity`.
        request: what is asked for.
        adapter: what conditions; InfuseNet by default.
        pose: control image RGB uint8 [H, W, 3] in the picture's size, from `Adapter.control`; none by default.
        recorder: listens to the steps; the picture is the same with and without.

    Returns:
        The picture, with what it was made with, and the trace of a recorder.
    """
    import numpy as np
    import torch

    from .probe.records import info_of

    made_with = _made_with(pipeline.spec, request, pose is not None)
    width, height = made_with["size"]
    exact = made_with["schedule"] == str(EXACT)
    if not exact and pipeline.spec.family != "flux":
        raise SettingsError(f"schedule works with FLUX only. Leave it out with {pipeline.spec.title}.")
    options: dict[str, Any] = {} if exact else {"schedule": request.schedule}
    if request.negative is not None:
        options |= {"negative_prompt": request.negative, "true_cfg_scale": request.true_cfg}
    if (decoupled := parse_decoupled(request.decoupled)) is not None:
        options["decoupled"] = decoupled
        options.pop("true_cfg_scale", None)
    if recorder is not None:
        recorder.start(height=height, width=width, run=info_of(made_with, getattr(condition, "recognizer", None)))
        options |= {
            "callback_on_step_end": recorder.pipeline_callback,
            "callback_on_step_end_tensor_inputs": recorder.tensor_inputs,
        }
    conditioning = adapter or InfuseNetAdapter()
    with conditioning.acting(pipeline, condition, request, pose) as arguments, _untold():
        picture = pipeline(
            prompt=request.prompt,
            width=width,
            height=height,
            num_inference_steps=made_with["steps"],
            guidance_scale=made_with["guidance"],
            generator=torch.Generator("cpu").manual_seed(request.seed),
            **arguments,
            **options,
        ).images[0]
    made_with |= {} if exact else {"evaluations": pipeline.num_timesteps}  # an adaptive one tells them now
    pixels = np.array(picture.convert("RGB"))
    warnings = warnings_of(request, pipeline.spec)
    trace = None
    if recorder is not None:
        trace = recorder.finish(pixels[None])
        trace = replace(trace, warnings=(*trace.warnings, *warnings))
    return Result(pixels, made_with, trace, warnings)


def _made_with(spec: BackboneSpec, request: GenerateRequest, pose: bool) -> dict[str, Any]:
    """What a picture tells of how it was made; what the request leaves open is the backbone's own."""
    return {
        "prompt": request.prompt,
        "negative": request.negative,
        "true_cfg": None if request.negative is None else request.true_cfg,
        "branches": None if request.negative is None else request.branches,
        "pose": pose,
        "backbone": spec.name,
        "steps": request.steps or spec.num_inference_steps,
        "guidance": spec.guidance_scale if request.guidance is None else request.guidance,
        **{name: getattr(request, name) for name in ("strength", "start", "end", "decoupled", "attention")},
        "refresh": str(parse_refresh(request.refresh)),
        "schedule": str(parse_schedule(request.schedule)),
        "seed": request.seed,
        "size": list(fitted_size(request, spec)),
    }
