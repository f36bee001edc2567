"""IP-Adapter FaceID files in small."""

import torch

EMBEDDING, TOKENS = 512, 4


def faceid(layers, text, seed=0, lora=False):
    """The tensors of a FaceID file, by their published names, with random values.

    Args:
        layers: width of each cross-attention.
        text: width of the text.
        seed: of the values.
        lora: whether a LoRA of rank 3 is in it.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    state = {
        "image_proj.proj.0.weight": random(32, EMBEDDING),
        "image_proj.proj.0.bias": random(32),
        "image_proj.proj.2.weight": random(TOKENS * text, 32),
        "image_proj.proj.2.bias": random(TOKENS * text),
        "image_proj.norm.weight": torch.ones(text),
        "image_proj.norm.bias": torch.zeros(text),
    }
    for number, width in enumerate(layers):
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * number + 1}.{part}.weight"] = random(width, text)
        for kind in (0, 1) if lora else ():
            for part in ("to_q", "to_k", "to_v", "to_out"):
                across = text if kind and part in ("to_k", "to_v") else width
                state[f"ip_adapter.{2 * number + kind}.{part}_lora.down.weight"] = random(3, across)
                state[f"ip_adapter.{2 * number + kind}.{part}_lora.up.weight"] = random(width, 3)
    return state
