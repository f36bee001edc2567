"""The Resampler against the recorded tokens, layer by layer, and against torch's own attention."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from infusenet.adapters.infusenet.resampler import Resampler
from infusenet.errors import WeightsError


def test_tokens_equal_the_recorded(goldens: Any) -> None:
    golden = goldens("frontend/resampler_small")
    resampler = Resampler.from_file(goldens.model("resampler_small.safetensors")).float()
    seen: dict[str, Tensor] = {}
    for number, layer in enumerate(resampler.layers):
        for part, name in zip(layer, ("attn", "ff")):
            part.register_forward_hook(
                lambda module, args, out, key=f"layer{number}/{name}": seen.__setitem__(key, out)
            )
    with torch.no_grad():
        golden.check("out/tokens", resampler(golden["in/id_embedding"]), 1e-4)
    for key in golden:
        if key.startswith("layer"):
            golden.check(key, seen[key], 1e-4)


def test_its_sizes_are_those_recorded(goldens: Any) -> None:
    config = goldens("frontend/resampler_small").meta["config"]
    resampler = Resampler.from_file(goldens.model("resampler_small.safetensors"))
    attention = resampler.layers[0][0]
    assert attention.heads == config["heads"]
    assert attention.to_q.out_features // attention.heads == config["dim_head"]
    assert resampler.latents.shape == (1, config["num_queries"], config["dim"])
    assert (resampler.embedding_dim, resampler.output_dim) == (config["embedding_dim"], config["output_dim"])
    assert len(resampler.layers) == config["depth"]


@pytest.mark.parametrize("call", ["wrapper_call_black", "wrapper_call_kps"])
def test_the_embedding_is_cast_before_it_is_projected(goldens: Any, call: str) -> None:
    golden = goldens(f"frontend/{call}")
    assert torch.equal(golden["resampler/input_bf16"], golden["arcface/embedding"][:, None].to(torch.bfloat16))


@pytest.mark.parametrize(("dim", "heads", "dim_head"), [(1280, 20, 64), (96, 3, 32), (48, 3, 16), (160, 5, 32)])
def test_the_head_size_is_derived(dim: int, heads: int, dim_head: int) -> None:
    with torch.device("meta"):
        original = Resampler(dim=dim, depth=1, heads=heads, dim_head=dim_head, output_dim=64)
        read = Resampler.sized_like(original.state_dict())
    assert read.layers[0][0].heads == heads


def test_another_head_size_can_be_given() -> None:
    state = Resampler(dim=128, depth=1, heads=4, dim_head=32, output_dim=64).state_dict()
    assert Resampler.from_state(state).layers[0][0].heads == 2
    assert Resampler.from_state(state, dim_head=32).layers[0][0].heads == 4
    with pytest.raises(WeightsError, match="not a multiple of its heads' 48"):
        Resampler.from_state(state, dim_head=48)


def test_attention_is_torchs_own() -> None:
    torch.manual_seed(0)
    attention = Resampler(dim=64, depth=1, heads=4, dim_head=16).layers[0][0]
    x, latents = torch.randn(2, 1, 64), torch.randn(2, 8, 64)
    normed, queries = F.layer_norm(x, (64,)), F.layer_norm(latents, (64,))
    key, value = attention.to_kv(torch.cat([normed, queries], 1)).chunk(2, -1)
    split = [t.view(2, -1, 4, 16).transpose(1, 2) for t in (attention.to_q(queries), key, value)]
    want = attention.to_out(F.scaled_dot_product_attention(*split).transpose(1, 2).reshape(2, 8, 64))
    assert torch.allclose(attention(x, latents), want, atol=1e-5)


def test_bfloat16_stays_near(goldens: Any) -> None:
    golden = goldens("frontend/resampler_small")
    resampler = Resampler.from_file(goldens.model("resampler_small.safetensors"))
    assert resampler.latents.dtype == torch.bfloat16
    with torch.no_grad():
        tokens = resampler(golden["in/id_embedding"].to(torch.bfloat16))
    assert tokens.dtype == torch.bfloat16
    want = golden["out/tokens"]
    assert (tokens.float() - want).norm() / want.norm() < 2e-2


def test_published_size() -> None:
    with torch.device("meta"):
        resampler = Resampler()
    assert sum(parameter.numel() for parameter in resampler.parameters()) == 84_595_968
