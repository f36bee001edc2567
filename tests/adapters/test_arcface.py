"""The conditioning recognizer: its input against the recording, its network against the key layout read by hand."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from infusenet.adapters.infusenet.arcface import IRSE, crops_to_input, embed_crops
from infusenet.errors import WeightsError
from infusenet.faces.align import norm_crop


def random_state(network: IRSE, seed: int = 0) -> dict[str, Tensor]:
    """Weights with which no part of the network is idle."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in network.state_dict().items():
        if value.dtype == torch.int64:
            state[key] = torch.tensor(7)
        elif key.endswith(("running_var", ".4.weight", ".0.weight")) and value.dim() == 1:
            state[key] = torch.rand(value.shape, generator=generator) + 0.5
        else:
            spread = value[0].numel() ** -0.5 if value.dim() > 1 else 0.2
            state[key] = torch.randn(value.shape, generator=generator) * spread
    return state


def by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """IR-SE50 written out from its key layout: 3, 4, 14 and 3 blocks, each stage starting with a stride of 2."""

    def norm(x: Tensor, key: str) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{key}.{name}"] for name in names), training=False)

    x = F.prelu(
        norm(F.conv2d(x, state["input_layer.0.weight"], padding=1), "input_layer.1"), state["input_layer.2.weight"]
    )
    for n in range(24):
        stride = 2 if n in (0, 3, 7, 21) else 1
        if n in (3, 7, 21):
            short = norm(
                F.conv2d(x, state[f"body.{n}.shortcut_layer.0.weight"], stride=stride), f"body.{n}.shortcut_layer.1"
            )
        else:
            short = x[:, :, ::stride, ::stride]
        key = f"body.{n}.res_layer"
        y = F.conv2d(norm(x, f"{key}.0"), state[f"{key}.1.weight"], padding=1)
        y = F.conv2d(F.prelu(y, state[f"{key}.2.weight"]), state[f"{key}.3.weight"], stride=stride, padding=1)
        y = norm(y, f"{key}.4")
        gate = F.conv2d(
            F.relu(F.conv2d(F.adaptive_avg_pool2d(y, 1), state[f"{key}.5.fc1.weight"])), state[f"{key}.5.fc2.weight"]
        )
        x = y * gate.sigmoid() + short
    x = norm(x, "output_layer.0").flatten(1)
    x = norm(F.linear(x, state["output_layer.3.weight"], state["output_layer.3.bias"]), "output_layer.4")
    return x / x.pow(2).sum(1, keepdim=True).sqrt()


def test_the_input_is_bgr_as_recorded(goldens: Any) -> None:
    golden = goldens("frontend/arcface")
    golden.check("frontal/model_input", crops_to_input(golden["frontal/crop_bgr_u8"].numpy()[None]), 1e-6)
    color = golden["colour/input_rgb"].numpy().astype(np.uint8)
    crop = np.broadcast_to(color[::-1], (1, 112, 112, 3))
    golden.check("colour/model_input_center_pixel", crops_to_input(crop)[0, :, 56, 56], 1e-6)


@pytest.mark.parametrize("call", ["wrapper_call_black", "wrapper_call_kps"])
def test_the_whole_calls_input_is_that_of_its_photo(goldens: Any, call: str) -> None:
    golden, landmarks = goldens(f"frontend/{call}"), goldens("frontend/arcface")["frontal/landmarks"].numpy()
    rgb = golden["in/id_image_rgb_u8"].numpy()
    made = crops_to_input(norm_crop(np.ascontiguousarray(rgb[..., ::-1]), landmarks)[None])
    off = (made - golden["arcface/input"]).abs() * 127.5
    assert off.max() <= 3.001
    assert (off > 0.01).float().mean() <= 0.1


@pytest.mark.parametrize("widths", [(16, 24, 32, 32), (16, 16, 48, 64)])
def test_the_network_is_ir_se50s(widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    state = random_state(IRSE(widths, embedding=40))
    network = IRSE.from_state(state)
    x = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(network(x), by_hand(state, x), atol=1e-5)
        assert torch.allclose(F.normalize(network.features(x), dim=1), network(x))


def test_published_layout() -> None:
    with torch.device("meta"):
        state = IRSE().state_dict()
    assert len(state) == 397
    assert sum(v.numel() for k, v in state.items() if "running" not in k and "num_batches" not in k) == 43_797_696
    shortcuts = {int(key.split(".")[1]) for key in state if "shortcut_layer" in key}
    assert shortcuts == {3, 7, 21}
    assert state["body.21.res_layer.5.fc1.weight"].shape == (32, 512, 1, 1)
    assert state["output_layer.3.weight"].shape == (512, 25088)


def test_sizes_are_read_off_the_state() -> None:
    narrow = IRSE(widths=(16, 24, 32, 32), embedding=96)
    again = IRSE.from_state(narrow.state_dict())
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in narrow.state_dict().items()}
    assert again.embedding_dim == 96
    assert not again.training


def test_another_networks_state_is_told_by_what_it_lacks() -> None:
    with pytest.raises(WeightsError, match=r"the tensor output_layer\.3\.weight is missing"):
        IRSE.from_state({"latents": torch.zeros(1, 8, 96), "proj_in.weight": torch.zeros(96, 512)})


def test_half_precision_files_are_run_in_float32() -> None:
    state = {
        k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in IRSE((16, 16, 16, 16)).state_dict().items()
    }
    network = IRSE.from_state(state)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    embedding = embed_crops(network, crops)
    assert embedding.dtype == torch.float32
    assert torch.allclose(embedding.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(embed_crops(network, crops[1:2]), embedding[1:2], atol=1e-5)
    assert not embedding.requires_grad
