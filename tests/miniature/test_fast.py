"""The training-time forward passes equal the classes' own."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from infusenet.miniature import networks
from infusenet.miniature.train import fast


def disturbed(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    return model.eval()


def inputs(batch: int = 2) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    return {
        "x": draw(batch, 64, 64),
        "text": draw(batch, networks.TEXT_LENGTH, networks.T5_WIDTH),
        "pooled": draw(batch, networks.CLIP_WIDTH),
        "tokens": draw(batch, 8, networks.T5_WIDTH),
        "control": draw(batch, 64, 64),
        "t": torch.tensor([0.7, 0.3]),
    }


@pytest.mark.parametrize("guidance", [True, False])
@torch.no_grad()
def test_backbone_and_adapter_equal_diffusers(guidance: bool) -> None:
    i = inputs()
    backbone = disturbed(networks.flux_transformer(guidance_embeds=guidance))
    adapter = disturbed(networks.infusenet())
    scale = torch.tensor([3.5, 1.0]) if guidance else None
    ids = fast.image_ids(8)
    double, single = adapter(
        hidden_states=i["x"],
        controlnet_cond=i["control"],
        encoder_hidden_states=i["tokens"],
        pooled_projections=i["pooled"],
        timestep=i["t"],
        img_ids=ids,
        txt_ids=torch.zeros(8, 3),
        guidance=torch.ones(2),
        return_dict=False,
    )
    expected = backbone(
        hidden_states=i["x"],
        encoder_hidden_states=i["text"],
        pooled_projections=i["pooled"],
        timestep=i["t"],
        img_ids=ids,
        txt_ids=torch.zeros(networks.TEXT_LENGTH, 3),
        guidance=scale,
        controlnet_block_samples=double,
        controlnet_single_block_samples=single,
        return_dict=False,
    )[0]
    residuals = fast.infusenet(adapter, i["x"], i["control"], i["tokens"], i["pooled"], i["t"])
    for mine, theirs in zip((*residuals[0], *residuals[1]), (*double, *single), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    got = fast.flux(backbone, i["x"], i["text"], i["pooled"], i["t"], scale, residuals)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_text_encoders_equal_transformers() -> None:
    clip, t5 = networks.text_encoders(200, 180, (0, 1))
    clip, t5 = disturbed(clip), disturbed(t5)
    ids = torch.randint(3, 170, (3, networks.TEXT_LENGTH), generator=torch.Generator().manual_seed(2))
    ids[:, 20:] = 1
    torch.testing.assert_close(fast.t5(t5, ids), t5(ids).last_hidden_state, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fast.clip(clip, ids, 1), clip(ids).pooler_output, atol=1e-5, rtol=1e-4)
