"""IP-Adapter files read without diffusers: the recorded tokens, the published layouts, what is refused."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from infusenet.adapters.ip_adapter.layouts import layout_of, read_ip_adapter
from infusenet.errors import WeightsError

FILE = "ip_adapter_faceid_plusv2.safetensors"


def faceid(context=24, layers=2, width=32, lora=False, tokens=4, embedding=16):
    """A FaceID file's tensors, by their published names."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    state = {
        "image_proj.proj.0.weight": random(2 * embedding, embedding),
        "image_proj.proj.0.bias": random(2 * embedding),
        "image_proj.proj.2.weight": random(tokens * context, 2 * embedding),
        "image_proj.proj.2.bias": random(tokens * context),
        "image_proj.norm.weight": torch.ones(context),
        "image_proj.norm.bias": torch.zeros(context),
    }
    for number in range(layers):
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * number + 1}.{part}.weight"] = random(width, context)
    if lora:
        for number in range(2 * layers):
            for part in ("to_q", "to_k", "to_v", "to_out"):
                across = context if number % 2 and part in ("to_k", "to_v") else width
                state[f"ip_adapter.{number}.{part}_lora.down.weight"] = random(3, across)
                state[f"ip_adapter.{number}.{part}_lora.up.weight"] = random(width, 3)
    return state


@pytest.mark.parametrize("case", ["dcg_ddim", "baseline_ddim"])
def test_the_recorded_tokens(fastface, case):
    """FaceID plus v2 with its shortcut: of a face and of nobody."""
    golden = fastface(f"pipeline/{case}")
    adapter = read_ip_adapter(fastface.model(FILE))
    assert adapter.layout.title == "FaceID plus v2" and (adapter.embedding, adapter.look) == (32, 16)
    with torch.no_grad():
        tokens = adapter.projection(golden["ip/image_embeds"].flatten(1), golden["ip/clip_embeds"][:, 0])
    golden.check("ip/tokens", tokens, 1e-5)


def test_layers_are_in_the_order_of_their_numbers(fastface):
    """As numbers, not as text: 11 comes after 9."""
    adapter, state = read_ip_adapter(fastface.model(FILE)), load_file(fastface.model(FILE))
    assert len(adapter.layers) == 11 and adapter.text_width == 24 and not adapter.lora
    for place, (keys, values) in enumerate(adapter.layers):
        assert torch.equal(keys, state[f"ip_adapter.{2 * place + 1}.to_k_ip.weight"])
        assert torch.equal(values, state[f"ip_adapter.{2 * place + 1}.to_v_ip.weight"])


def nested(state):
    """As the published pickles hold them."""
    return {
        part: {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
        for part in ("image_proj", "ip_adapter")
    }


def test_a_pickle_and_a_safetensors_file_are_the_same_adapter(tmp_path):
    state = faceid(lora=True)
    torch.save(nested(state), tmp_path / "a.bin")
    save_file(state, tmp_path / "a.safetensors")
    embedding = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    one, other = (read_ip_adapter(tmp_path / name) for name in ("a.bin", "a.safetensors"))
    with torch.no_grad():
        assert torch.equal(one.projection(embedding), other.projection(embedding))
        assert one.projection(embedding).shape == (2, 4, 24)
    assert len(one.lora) == len(other.lora) == 16
    down, up = one.lora[3, "to_k"]
    assert torch.equal(down, state["ip_adapter.3.to_k_lora.down.weight"])
    assert torch.equal(up, state["ip_adapter.3.to_k_lora.up.weight"])


def test_the_projection_is_linear_gelu_linear_then_norm_of_each_token(tmp_path):
    state = faceid()
    save_file(state, tmp_path / "a.safetensors")
    embedding = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    hidden = torch.nn.functional.gelu(embedding @ state["image_proj.proj.0.weight"].T + state["image_proj.proj.0.bias"])
    tokens = (hidden @ state["image_proj.proj.2.weight"].T + state["image_proj.proj.2.bias"]).view(1, 4, 24)
    want = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    with torch.no_grad():
        torch.testing.assert_close(read_ip_adapter(tmp_path / "a.safetensors").projection(embedding), want)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"image_proj.proj.weight": torch.ones(8, 4), "ip_adapter.1.to_k_ip.weight": torch.ones(2, 2)}, "for pictures"),
        ({"image_proj.latents": torch.ones(1, 4, 8), "ip_adapter.1.to_k_ip.weight": torch.ones(2, 2)}, "plus, which"),
        ({"image_proj.proj.3.weight": torch.ones(8), "ip_adapter.1.to_k_ip.weight": torch.ones(2, 2)}, "full face"),
        ({"double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight": torch.ones(2, 2)}, "for FLUX"),
        ({"text_model.embeddings.weight": torch.ones(2, 2)}, "CLIP text encoder"),
        ({key: value for key, value in faceid().items() if "ip_adapter." not in key}, "seems to be|no layers"),
        (
            {key: value for key, value in faceid().items() if key != "ip_adapter.1.to_v_ip.weight"},
            "the tensor .* is missing",
        ),
        ({key: value for key, value in faceid().items() if key != "image_proj.proj.2.bias"}, "missing"),
        ({**faceid(), "image_proj.proj.0.bias": torch.full([32], torch.nan)}, "NaN or infinity"),
    ],
)
def test_wrong_files_are_named_with_what_fits(tmp_path, state, words):
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "file.safetensors")
    with pytest.raises(WeightsError, match=words):
        read_ip_adapter(tmp_path / "file.safetensors")


def test_another_backbones_file_is_named_with_what_fits(tmp_path):
    save_file(faceid(context=768, layers=16), tmp_path / "sd15.safetensors")
    adapter = read_ip_adapter(tmp_path / "sd15.safetensors")
    assert layout_of(tmp_path / "sd15.safetensors").title == "FaceID"
    with pytest.raises(WeightsError, match="for Stable Diffusion 1.5 with 16 layers, but the MODEL is SDXL with 70"):
        adapter.check_fit([32] * 70, 2048)
    with pytest.raises(WeightsError, match="made for this MODEL"):
        adapter.check_fit([64] * 16, 768)
    adapter.check_fit([32] * 16, 768)
