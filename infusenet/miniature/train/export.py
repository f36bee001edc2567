"""From trained parts to the folders that users load: diffusers layout, bf16, shared parts once; ONNX for the faces."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import JUDGING_RECOGNIZER, WEIGHTS, networks

DETECTOR_SIZES = "128"  # read from the file's metadata: drawn faces fill a small picture
OPSET = 13


class DetectorExport(nn.Module):
    """SCRFD's contract: nine outputs, score, box, points at strides 8, 16, 32; two anchors a cell listed together."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = self.net(x)
        scores = [s[0].permute(1, 2, 0).reshape(-1, 1).sigmoid() for s, _, _ in levels]
        boxes = [b[0].permute(2, 3, 0, 1).reshape(-1, 4) for _, b, _ in levels]
        points = [p[0].permute(2, 3, 0, 1).reshape(-1, 10) for _, _, p in levels]
        return [*scores, *boxes, *points]


def _onnx(model: nn.Module, example: Tensor, path: Path, **names: Any) -> None:
    model = copy.deepcopy(model).float().eval().cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecation notices
        torch.onnx.export(model, (example,), str(path), opset_version=OPSET, dynamo=False, **names)


def export_face_pack(detector: nn.Module, recognizer: nn.Module, folder: Path) -> None:
    """Write `det_mini.onnx` and `rec_mini.onnx`, which insightface opens as it opens antelopev2."""
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    outputs = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in networks.STRIDES]
    detection = folder / "det_mini.onnx"
    _onnx(
        DetectorExport(detector),
        torch.zeros(1, 3, networks.SIZE, networks.SIZE),
        detection,
        input_names=["input.1"],
        output_names=outputs,
        dynamic_axes={"input.1": {2: "?", 3: "?"}, **{name: {0: "cells"} for name in outputs}},
    )
    graph = onnx.load(str(detection))
    graph.metadata_props.append(onnx.StringStringEntryProto(key="det_sizes", value=DETECTOR_SIZES))
    onnx.save(graph, str(detection))
    export_recognizer(recognizer, folder / "rec_mini.onnx")


def export_recognizer(recognizer: nn.Module, path: Path, *, halved: bool = False) -> None:
    """Write a recognizer by ArcFace's contract; `halved`: weights lie in the file as float16, and count as float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _onnx(
        recognizer,
        torch.zeros(1, 3, 112, 112),
        path,
        input_names=["input.1"],
        output_names=["embedding"],
        dynamic_axes={"input.1": {0: "N"}, "embedding": {0: "N"}},
    )
    if halved:
        _halve(path)


def _halve(path: Path) -> None:
    """Store an ONNX file's float32 weights as float16, each behind a cast that the runtime does once, when opening."""
    import onnx

    model = onnx.load(str(path))
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        name, stored = tensor.name, f"{tensor.name}.half"
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, stored))
        cast = onnx.helper.make_node("Cast", [stored], [name], name=f"Cast.{name}", to=onnx.TensorProto.FLOAT)
        casts.append(cast)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as bf16, contiguous, on the CPU."""
    return {k: (v.bfloat16() if v.is_floating_point() else v).contiguous().cpu() for k, v in state.items()}


def save_module(model: Any, folder: Path) -> None:
    """Save a diffusers or transformers module in bf16."""
    copy.deepcopy(model).cpu().bfloat16().save_pretrained(folder)


def model_index(tokenizer: str = "CLIPTokenizer", tokenizer_2: str = "T5TokenizerFast") -> dict[str, Any]:
    """The `model_index.json` of a FLUX pipeline folder."""
    import diffusers

    return {
        "_class_name": "FluxPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", tokenizer],
        "tokenizer_2": ["transformers", tokenizer_2],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def export(parts: dict[str, Any], folder: Path) -> int:
    """Write the whole miniature.

    Args:
        parts: dev, schnell, infusenet, resampler, vae, clip, t5, arcface, recognizer, judging, detector, judge.
        folder: where `weights/` lies.

    Returns:
        Bytes written.
    """
    from safetensors.torch import save_file

    from ..tokens import build_tokenizers

    dev, schnell = folder / "mini-dev", folder / "mini-schnell"
    for path, name in ((dev, "dev"), (schnell, "schnell")):
        path.mkdir(parents=True, exist_ok=True)
        save_module(parts[name], path / "transformer")
        networks.schedulers()[path.name].save_pretrained(path / "scheduler")
        (path / "model_index.json").write_text(json.dumps(model_index(), indent=2) + "\n")
    save_module(parts["vae"], dev / "vae")
    save_module(parts["clip"], dev / "text_encoder")
    save_module(parts["t5"], dev / "text_encoder_2")
    build_tokenizers(dev)
    save_module(parts["infusenet"], folder / "InfuseNetModel")
    save_file(half(parts["resampler"].state_dict()), folder / "image_proj_model.safetensors")
    save_file(half(parts["arcface"].state_dict()), folder / "arcface_ir_se.safetensors")
    save_file(half(parts["judge"].state_dict()), folder / "judge.safetensors")
    export_face_pack(parts["detector"], parts["recognizer"], folder / "face_pack")
    export_recognizer(parts["judging"], folder / JUDGING_RECOGNIZER.relative_to(WEIGHTS), halved=True)
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
