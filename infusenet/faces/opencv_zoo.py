"""OpenCV Zoo's YuNet (finds faces) and SFace (compares them), run by ONNX Runtime behind InsightFace's own methods.

Not by `cv2.FaceDetectorYN` and `cv2.FaceRecognizerSF`: OpenCV 5's new engine refuses the published SFace, its classic
one refuses YuNet at other sizes than 640, neither runs on a GPU, and neither says what it runs on. The tests compare
the two: the contracts are OpenCV's own.
- **YuNet**: input [1, 3, H, W], BGR 0..255, H and W multiples of 32; at each stride 8, 16, 32 one anchor a cell:
  class and object scores (after the sigmoid; a face's score is the root of their product), box (centre in strides from
  the cell's corner, logarithm of the size), landmarks (strides from the cell's corner).
- **SFace**: input [N, 3, 112, 112], RGB 0..255, the normalisation is inside; output [N, 128].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..files import Picture
from .packages import import_cv2, import_onnx, import_onnxruntime
from .runtime import session_options

Floats = NDArray[np.float32]

_STRIDES = (8, 16, 32)
_OVERLAP = 0.3  # of two boxes, above which they are one face: FaceDetectorYN's default
_MOST = 5000  # candidates looked at: the same


class _Found(NamedTuple):
    boxes: Floats  # [n, 5]: left, top, right, bottom, score
    points: Floats  # [n, 5, 2]


class YuNet:
    """A YuNet detector with the methods of InsightFace's SCRFD.

    Args:
        session: ONNX Runtime's, with a free height and width.
    """

    taskname = "detection"
    use_kps = True

    def __init__(self, session: Any) -> None:
        self.session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")]

    def detect(self, bgr: Picture, input_size: tuple[int, int], det_thresh: float) -> _Found:
        """The faces in a picture that is fitted into `input_size` (width, height; multiples of 32), black beside it.

        Args:
            bgr: uint8 [H, W, 3].
            input_size: pixels.
            det_thresh: least score, 0..1.

        Returns:
            Boxes with scores [n, 5] and landmarks [n, 5, 2] in the picture's pixels, the surest first.
        """
        cv2 = import_cv2()
        width, height = input_size
        scale = min(width / bgr.shape[1], height / bgr.shape[0])
        fitted = (max(1, int(bgr.shape[1] * scale)), max(1, int(bgr.shape[0] * scale)))
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: fitted[1], : fitted[0]] = cv2.resize(bgr, fitted)
        blob = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)
        outputs = self.session.run(self._outputs, {self._input: blob})
        found = [_read(outputs[4 * n : 4 * n + 4], stride, width // stride) for n, stride in enumerate(_STRIDES)]
        boxes = np.concatenate([part.boxes for part in found])
        points = np.concatenate([part.points for part in found])
        sure = np.flatnonzero(boxes[:, 4] >= det_thresh)
        if not len(sure):
            return _Found(np.zeros((0, 5), np.float32), np.zeros((0, 5, 2), np.float32))
        corner, far = boxes[sure, :2], boxes[sure, 2:4]
        rectangles = np.concatenate([corner, far - corner], axis=1).tolist()
        kept = cv2.dnn.NMSBoxes(rectangles, boxes[sure, 4].tolist(), det_thresh, _OVERLAP, top_k=_MOST)
        chosen = sure[np.asarray(kept, np.intp).reshape(-1)]
        back = np.array([bgr.shape[1] / fitted[0], bgr.shape[0] / fitted[1]], np.float32)
        scaled = np.concatenate([boxes[chosen, :4] * np.tile(back, 2), boxes[chosen, 4:]], axis=1)
        return _Found(scaled, points[chosen] * back)


def _read(outputs: list[Floats], stride: int, columns: int) -> _Found:
    """One stride's boxes and landmarks in pixels of the network's input."""
    classes, objects, boxes, points = (array[0].astype(np.float32) for array in outputs)
    cells = np.arange(len(boxes))
    corners = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)  # [cells, 2]: x, y
    score = np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1))  # [cells, 1]
    centre, half = corners + boxes[:, :2], np.exp(boxes[:, 2:]) / 2
    edges = np.concatenate([centre - half, centre + half], axis=1) * stride
    landmarks = (points.reshape(-1, 5, 2) + corners[:, None]) * stride
    return _Found(np.concatenate([edges, score], axis=1), landmarks)


class SFace:
    """An SFace recognizer with the methods of InsightFace's ArcFace.

    Args:
        session: ONNX Runtime's, with a free batch.
    """

    taskname = "recognition"

    def __init__(self, session: Any) -> None:
        self.session = session
        self._input = session.get_inputs()[0]
        self.input_size = (int(self._input.shape[3]), int(self._input.shape[2]))
        self.output_shape = session.get_outputs()[0].shape

    def get_feat(self, crops: list[Picture]) -> Floats:
        """Embeddings, not normalised: BGR uint8 crops [112, 112, 3] -> [n, 128]."""
        rgb = np.stack(crops)[..., ::-1].transpose(0, 3, 1, 2)  # [n, 3, 112, 112]
        feats: Floats = self.session.run(None, {self._input.name: np.ascontiguousarray(rgb, np.float32)})[0]
        return feats


def open_file(path: Path, task: str, providers: list[Any]) -> YuNet | SFace | None:
    """A YuNet or SFace file: float32, int8 or int8 block-quantised.

    The published files state a fixed size or batch; the block-quantised SFace lists 29 weights as inputs that nothing
    reads; the block-quantised YuNet gives single scales a block size, which ONNX Runtime refuses. All is set right in
    memory, and weights stored as integers become float32.

    Args:
        path: the file.
        task: "detection" or "recognition".
        providers: ONNX Runtime's, best first.

    Returns:
        The network, or None where the file holds neither.

    Raises:
        WeightsError: a YuNet of another year, or a form that this ONNX Runtime cannot run; names the file to take.
        Exception: ONNX's own where the file is damaged.
    """
    onnx = import_onnx()
    model = onnx.load(str(path))
    graph = model.graph
    names = {output.name for output in graph.output}
    finds = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES} <= names
    if not finds and {"loc", "conf", "iou"} <= names:
        raise WeightsError(
            f"{path} is a YuNet from 2022 or earlier, which cannot be used. Use OpenCV Zoo's "
            "face_detection_yunet_2023mar.onnx."
        )
    stored = {tensor.name for tensor in graph.initializer}
    read = {name for node in graph.node for name in node.input}
    true = [value for value in graph.input if value.name in read and value.name not in stored]
    dims = true[0].type.tensor_type.shape.dim if len(true) == 1 else []
    compares = len(names) == 1 and len(dims) == 4 and dims[2].dim_value == dims[3].dim_value > 0
    if not (finds or compares) or len(dims) != 4:
        return None
    del graph.input[:]
    graph.input.append(true[0])
    del graph.value_info[:]  # shapes noted for the fixed size
    for axis in (2, 3) if finds else (0,):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "NCHW"[axis]
    for output in graph.output:
        output.type.tensor_type.shape.dim[1 if finds else 0].dim_param = f"{output.name}_rows"
    _unfold(graph)
    runtime = import_onnxruntime()
    try:
        session = runtime.InferenceSession(model.SerializeToString(), session_options(quiet=True), providers=providers)
    except Exception as error:  # ONNX Runtime's own classes
        plain = "face_detection_yunet_2023mar.onnx" if finds else "face_recognition_sface_2021dec.onnx"
        reason = str(error).strip().split("\n", 1)[0][:200]
        raise WeightsError(
            f"ONNX Runtime {runtime.__version__} cannot run {path} ({reason}). Use OpenCV Zoo's float32 file "
            f"{plain}, or a newer onnxruntime."
        ) from error
    return YuNet(session) if finds else SFace(session)


def _unfold(graph: Any) -> None:
    """Replace each stored integer weight and the node that scales it by the float32 weight that they mean."""
    helper = import_onnx().numpy_helper
    stored = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or not all(name in stored for name in node.input if name):
            kept.append(node)
            continue
        whole, scale, *zero = (helper.to_array(stored[name]) for name in node.input if name)
        settings = {attribute.name: attribute.i for attribute in node.attribute}
        axis, block = settings.get("axis", 1), settings.get("block_size", 0)
        shift = zero[0].astype(np.float32) if zero else np.zeros_like(scale)
        scale, shift = (_spread(part.astype(np.float32), whole.shape, axis, block) for part in (scale, shift))
        weight = (whole.astype(np.float32) - shift) * scale
        graph.initializer.append(helper.from_array(weight.astype(np.float32), node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)


def _spread(part: Floats, shape: tuple[int, ...], axis: int, block: int) -> Floats:
    """Scales or zero points as they count for each weight: one for all, one a row along an axis, or one a block."""
    if part.size == 1:
        return part.reshape(())
    if block and part.ndim == len(shape):
        return np.take(np.repeat(part, block, axis=axis), np.arange(shape[axis]), axis=axis)
    return part.reshape([-1 if index == axis % len(shape) else 1 for index in range(len(shape))])
