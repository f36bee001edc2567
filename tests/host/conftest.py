"""Tests against a real ComfyUI, on the CPU, in the process of the tests themselves.

    COMFYUI_PATH=~/comfy/ComfyUI python -m pytest tests/host

Run once for each host, with a Python that has the host's requirements and this pack's. Without COMFYUI_PATH the host
is the folder above custom_nodes/, else the first ~/comfy/ComfyUI*; where there is none, the tests are skipped. The pack
is loaded by file spec under a name of its own, as the host does.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PACK = "infusenet_pack"


def find_host() -> Path | None:
    """The ComfyUI to test in."""
    candidates = [Path(os.environ["COMFYUI_PATH"]).expanduser()] if os.environ.get("COMFYUI_PATH") else []
    candidates += [parent.parent for parent in REPOSITORY.parents if parent.name == "custom_nodes"]
    candidates += sorted((Path.home() / "comfy").glob("ComfyUI*"))
    return next((path.resolve() for path in candidates if (path / "comfy" / "samplers.py").is_file()), None)


HOST = find_host()
NEEDED = ("torchvision", "torchaudio", "torchsde", "aiohttp", "av")  # of the host's requirements, the unusual ones


def why_not(items: list[pytest.Item]) -> str | None:
    """Why no host can be tested here, if so."""
    if HOST is None:
        return "no ComfyUI: set COMFYUI_PATH to a checkout"
    needed = ("aiohttp", "av", "comfyui_frontend_package", "einops", "insightface", "torchaudio", "torchsde")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"this Python lacks what {HOST} requires ({', '.join(missing)}): run pytest tests/host with the host's own"
        )
    if not os.environ.get("COMFYUI_PATH") and any(HERE not in item.path.parents for item in items):
        return f"a host is tested in a process of its own: COMFYUI_PATH={HOST} python -m pytest tests/host"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The host's own warnings are not ours; where no host can be tested, one skipped test says so for all."""
    ours = [item for item in items if HERE in item.path.parents]
    reason = why_not(items) if ours else None
    for item in ours:
        item.add_marker(pytest.mark.filterwarnings("ignore"))
    if reason:
        ours[0].own_markers[:] = [pytest.mark.skip(reason=f"tests/host, {len(ours)} tests: {reason}").mark]
        items[:] = [item for item in items if item not in ours[1:]]
        config.hook.pytest_deselected(items=ours[1:])


def _start_host(host: Path) -> None:
    """Make the host's modules importable, on the CPU. Our folder `nodes` must not shadow the host's nodes.py."""
    ours = {str(REPOSITORY), "", os.getcwd()}
    sys.path[:] = [str(host), *(path for path in sys.path if path not in ours)]
    sys.argv = ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.model_management
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))


def load_pack() -> ModuleType:
    """The pack's root module, loaded as the host loads it."""
    spec = importlib.util.spec_from_file_location(
        PACK, REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sibling() -> Any:
    """`sibling("server")`: a module or package of this folder, which is no package itself; or of the folder `home`."""

    def load(name: str, home: Path = HERE) -> ModuleType:
        full = f"infusenet_host_{name}"
        if full not in sys.modules:
            folder = home / name
            inside = [str(folder)] if folder.is_dir() else None
            file = folder / "__init__.py" if inside else folder.with_suffix(".py")
            spec = importlib.util.spec_from_file_location(full, file, submodule_search_locations=inside)
            assert spec is not None and spec.loader is not None
            sys.modules[full] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[full])
        return sys.modules[full]

    return load


@pytest.fixture(scope="session")
def host() -> Path:
    """The ComfyUI checkout, its modules importable."""
    assert HOST is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _start_host(HOST)
    return HOST


@pytest.fixture(scope="session")
def pack(host: Path) -> SimpleNamespace:
    """The pack: `.nodes` by id without prefix, `.module(name)` any of its modules."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = load_pack()
        extension = asyncio.run(root.comfy_entrypoint())
        with pytest.MonkeyPatch.context() as patch:  # the host's input folder is left as it is
            patch.setattr(f"{PACK}.nodes.share_references", lambda: None)
            classes = asyncio.run(extension.get_node_list())
    by_id = {cls.GET_SCHEMA().node_id: cls for cls in classes}
    return SimpleNamespace(
        root=root,
        extension=extension,
        by_id=by_id,
        nodes={name.removeprefix("InfuseNet_"): cls for name, cls in by_id.items()},
        module=lambda name: importlib.import_module(f"{PACK}.{name}"),
    )


@pytest.fixture(scope="session")
def run(pack: SimpleNamespace) -> Any:
    """`run("Sigmas", model=..., ...)`: a node's outputs."""
    return lambda name, **inputs: pack.nodes[name].execute(**inputs).args


@pytest.fixture
def folders(host: Path) -> Iterator[Any]:
    """`folders("infinite_you", path)` lends a folder to the host for one test."""
    import folder_paths

    before = {key: (list(paths), set(ext)) for key, (paths, ext) in folder_paths.folder_names_and_paths.items()}
    yield lambda name, path: folder_paths.add_model_folder_path(name, str(path), is_default=True)
    folder_paths.folder_names_and_paths.clear()
    folder_paths.folder_names_and_paths.update(before)
    folder_paths.filename_list_cache.clear()


@pytest.fixture(scope="session")
def mini(run: Any) -> Any:
    """`mini("mini-dev")`: the miniature's (model, clip, vae, steps, guidance)."""
    none = dict.fromkeys(["diffusion_model", "text_encoder_1", "text_encoder_2", "vae"], "none")
    return lambda name: run("LoadBackbone", backbone=name, **none, weight_dtype="default")


@pytest.fixture(scope="session")
def mini_infusenet(run: Any) -> Any:
    """The miniature's InfuseNet."""
    return run("LoadInfuseNet", infusenet="miniature", weight_dtype="default")[0]


@pytest.fixture(scope="session")
def recognizer(run: Any) -> Any:
    """The miniature's measuring recognizer."""
    return run("LoadFaceRecognizer", face_pack="miniature", device="cpu")[0]


@pytest.fixture(scope="session")
def person(pack: SimpleNamespace) -> Any:
    """A drawn person, as an IMAGE [1, 128, 128, 3]."""
    import torch

    faces = pack.module("infusenet.miniature.faces")
    generator = torch.Generator().manual_seed(8_000_321)
    identity = faces.sample_identities(1, generator)
    return faces.render(identity, faces.sample_scenes(1, generator, plain=True)).images.movedim(1, -1).clamp(0, 1)


@pytest.fixture(scope="session")
def identity(run: Any, person: Any) -> Any:
    """What the miniature's encoder reads off the drawn person."""
    import torch

    names = dict.fromkeys(["image_proj", "arcface", "face_pack"], "miniature")
    chosen = {"batch": "fuse", "face": "largest", "face_index": 0, "on_no_face": "error"}
    with torch.inference_mode():
        (encoder,) = run("LoadIdentityEncoder", **names, device="cpu")
        return run("EncodeIdentity", encoder=encoder, image=person, **chosen)[0]


@pytest.fixture(scope="session")
def conditioned(mini: Any) -> Any:
    """`conditioned("mini-dev")`: the CONDITIONING of a plain portrait."""

    def make(name: str = "mini-schnell") -> Any:
        clip = mini(name)[1]
        tokens = clip.tokenize("a portrait of a person")
        return clip.encode_from_tokens_scheduled(tokens, add_dict={"guidance": 3.5})

    return make


@pytest.fixture(scope="session")
def parts(mini, mini_infusenet):
    """A backbone, its text, and identities of random tokens: what they are does not matter here."""
    import torch

    model, clip, vae, _, _ = mini("mini-dev")
    with torch.inference_mode():
        text = clip.encode_from_tokens_scheduled(clip.tokenize("a portrait of a person"))
        empty = clip.encode_from_tokens_scheduled(clip.tokenize("empty"))
    tokens = torch.randn(4, 8, 96, generator=torch.Generator().manual_seed(5))
    return SimpleNamespace(model=model, vae=vae, text=text, empty=empty, tokens=tokens, infusenet=mini_infusenet)


@pytest.fixture
def applied(run, parts):
    """`applied(...)`: Apply with its defaults; the first identity unless `tokens` says otherwise."""

    def call(positive=None, tokens=None, **changed):
        inputs = {
            "positive": parts.text if positive is None else positive,
            "infusenet": parts.infusenet,
            "identity": SimpleNamespace(
                tokens=parts.tokens[:1] if tokens is None else tokens, recognizer=None, notices=()
            ),
            "vae": parts.vae,
            "strength": 1.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "gate": "step",
            "on_negative": False,
        }
        return run("Apply", **{**inputs, **changed})

    return call


@pytest.fixture(autouse=True)
def _as_the_host_runs_nodes() -> Iterator[None]:
    """Nodes run without gradients."""
    import torch

    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def stable_diffusion(host):
    """A tiny Stable Diffusion 1.5 with random weights, a conditioning, and what stands in for its VAE."""
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    sizes = {"model_channels": 32, "context_dim": 16, "num_heads": 4, "in_channels": 4, "out_channels": 4}
    depths = {"transformer_depth": [1, 1], "transformer_depth_output": [1] * 4, "transformer_depth_middle": 1}
    kind = comfy.supported_models.SD15(
        {
            **sizes,
            **depths,
            "image_size": 32,
            "use_spatial_transformer": True,
            "legacy": False,
            "num_res_blocks": [1, 1],
            "channel_mult": [1, 2],
            "num_head_channels": -1,
            "adm_in_channels": None,
            "use_linear_in_transformer": False,
            "use_temporal_attention": False,
        }
    )
    kind.set_inference_dtype(torch.float32, None)
    model, generator = kind.get_model({}, ""), torch.Generator().manual_seed(0)
    for parameter in model.diffusion_model.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    cpu = torch.device("cpu")
    vae = SimpleNamespace(decode=lambda latents: latents[:, :3].movedim(1, -1).sigmoid())
    return (
        comfy.model_patcher.ModelPatcher(model, cpu, cpu),
        [[torch.randn(1, 7, 16, generator=generator), {}]],
        vae,
    )
