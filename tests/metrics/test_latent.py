"""Distance in latent space, against a codec that can be worked out by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from infusenet.metrics.latent import latent_distance


class Codec(nn.Module):
    """Latents are the picture in -1..1, three times, plus a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))
        self.config = SimpleNamespace(shift_factor=0.25)

    def encode(self, pictures: Tensor) -> SimpleNamespace:
        latents = pictures * self.weight + 0.25
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))


def test_known_values() -> None:
    white, black, grey = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)
    assert latent_distance(white, white, Codec()).item() == 0
    assert latent_distance(white, black, Codec()).item() == pytest.approx(2)  # -1 against 1
    assert latent_distance(white, grey, Codec()).item() == pytest.approx(2**0.5)  # 0 against 1
    assert latent_distance(grey, grey, Codec()).isnan().all()


def test_one_value_a_picture_whatever_the_order() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, 3, 8, 8, generator=generator) for _ in range(2))
    both = latent_distance(a, b, Codec())
    assert both.shape == (3,)
    assert both.dtype == torch.float32
    assert not both.requires_grad
    torch.testing.assert_close(both, latent_distance(b, a, Codec()))
    torch.testing.assert_close(both[1:2], latent_distance(a[1:2], b[1:2], Codec()))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="same shape"):
        latent_distance(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8), Codec())
