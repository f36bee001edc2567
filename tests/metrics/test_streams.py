"""Stream norms on a recorded model, against the same values worked out from inside the attention itself."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.transformers import transformer_flux
from torch import Tensor

from infusenet.metrics.streams import StreamNorms, norm_ratio, token_norm

TEXT, IMAGE = 5, 12


@pytest.fixture(scope="module")
def transformer(goldens: Any) -> Any:
    model = FluxTransformer2DModel.from_pretrained(goldens.model("dev_5x9"))
    return model.eval()


@pytest.fixture(scope="module")
def given(transformer: Any) -> dict[str, Any]:
    """Arguments of one call, with residuals for some blocks."""
    generator, config = torch.Generator().manual_seed(0), transformer.config

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    width = config.num_attention_heads * config.attention_head_dim
    return {
        "hidden_states": noise(2, IMAGE, config.in_channels),
        "encoder_hidden_states": noise(2, TEXT, config.joint_attention_dim),
        "pooled_projections": noise(2, config.pooled_projection_dim),
        "timestep": torch.tensor([0.5, 0.5]),
        "guidance": torch.tensor([3.5, 3.5]),
        "img_ids": torch.zeros(IMAGE, 3),
        "txt_ids": torch.zeros(TEXT, 3),
        "controlnet_block_samples": [noise(2, IMAGE, width) for _ in range(2)],
        "controlnet_single_block_samples": [noise(2, IMAGE, width) for _ in range(4)],
        "return_dict": False,
    }


def hooks_of(model: Any) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


def test_token_norms_by_hand() -> None:
    stream = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])
    assert token_norm(stream).tolist() == pytest.approx([12.5**0.5])
    assert norm_ratio(stream, stream.repeat(1, 3, 1)).tolist() == pytest.approx([1.0])  # length does not count
    assert norm_ratio(2 * stream, stream).tolist() == pytest.approx([2.0])
    assert norm_ratio(stream, 0 * stream).isnan().all()


@pytest.mark.exact
@torch.no_grad()
def test_nothing_changes_and_nothing_stays(transformer: Any, given: dict[str, Any]) -> None:
    before = hooks_of(transformer)
    plain = transformer(**given)[0]
    with StreamNorms(transformer) as norms:
        heard = transformer(**given)[0]
        with pytest.raises(RuntimeError):
            transformer(**{**given, "hidden_states": torch.zeros(2, IMAGE, 3)})
    assert torch.equal(plain, heard)
    assert hooks_of(transformer) == before
    transformer(**given)
    assert len(norms.records) == 1  # neither the broken call nor the one afterwards


@torch.no_grad()
def test_against_the_attention_itself(transformer: Any, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    attend: Callable[..., Tensor] = transformer_flux.dispatch_attention_fn

    def listening(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(attend(*args, **kwargs))  # [B, text + image, heads, dim]
        return seen[-1]

    monkeypatch.setattr(transformer_flux, "dispatch_attention_fn", listening)
    with StreamNorms(transformer) as norms:
        transformer(**given)
    (record,) = norms.records
    want = []
    for out in seen:
        lengths = out.double().flatten(2).norm(dim=2)
        text, image = (part.square().mean(1).sqrt() for part in (lengths[:, :TEXT], lengths[:, TEXT:]))
        want.append(float((text / image).mean()))
    assert [*record.double, *record.single] == pytest.approx(want, rel=1e-5)
    assert (len(record.double), len(record.single)) == (5, 9)


@torch.no_grad()
def test_residuals_are_measured_against_what_they_are_added_to(transformer: Any, given: dict[str, Any]) -> None:
    made: dict[str, list[Tensor]] = {"transformer_blocks": [], "single_transformer_blocks": []}
    handles = [
        block.register_forward_hook(lambda _, __, out, name=name: made[name].append(out[1]))
        for name in made
        for block in getattr(transformer, name)
    ]
    with StreamNorms(transformer) as norms:
        transformer(**given)
        transformer(**{**given, "controlnet_block_samples": None, "controlnet_single_block_samples": None})
    for handle in handles:
        handle.remove()
    record, without = norms.records
    assert (without.residual_double, without.residual_single) == (None, None)

    def ratio(residual: Tensor, hidden: Tensor) -> float:
        return float((residual.flatten(1).norm(dim=1) / hidden.flatten(1).norm(dim=1)).mean())

    doubles = [0, 0, 0, 1, 1]  # 5 blocks and 2 residuals: every ceil(5 / 2) blocks the next
    singles = [0, 0, 0, 1, 1, 1, 2, 2, 2]  # 9 and 4: every 3
    hidden = zip(doubles, made["transformer_blocks"], strict=False)
    assert record.residual_double == pytest.approx([ratio(given["controlnet_block_samples"][i], h) for i, h in hidden])
    hidden = zip(singles, made["single_transformer_blocks"], strict=False)
    wanted = [ratio(given["controlnet_single_block_samples"][i], h) for i, h in hidden]
    assert record.residual_single == pytest.approx(wanted)
