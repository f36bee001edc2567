"""What templates share: loaders, person, prompt, sampling, probe, and sentences of their notes."""

from __future__ import annotations

from typing import Any

from .graph import Graph, Link

REFERENCE, REFERENCE_2 = "infusenet_reference.png", "infusenet_reference_2.png"
SEED = 7

FILES: dict[str, dict[str, Any]] = {
    "flux-schnell": {"diffusion_model": "flux1-schnell.safetensors"},
    "flux-dev": {"diffusion_model": "flux1-dev.safetensors"},
}
COMMON_FILES = {
    "text_encoder_1": "clip_l.safetensors",
    "text_encoder_2": "t5xxl_fp16.safetensors",
    "vae": "ae.safetensors",
}
INFUSENET_FILE = "infusenet_sim_bf16.safetensors"
ENCODER_FILES = {
    "image_proj": "sim_stage1/image_proj_model.bin",
    "arcface": "recognition_arcface_ir_se50.pth",
    "face_pack": "models/antelopev2",
}


SWITCH = (
    "dev or schnell: change `backbone` (and `diffusion_model`) in *Backbone*. Steps, guidance, text length and "
    "schedule follow by themselves."
)
REAL = (
    "Files: FLUX in `models/diffusion_models`, `clip_l` and `t5xxl` in `models/text_encoders`, `ae` in `models/vae`; "
    "`infusenet_sim_bf16.safetensors`, `sim_stage1/image_proj_model.bin` and `recognition_arcface_ir_se50.pth` in "
    "`models/infinite_you`; `antelopev2` in `models/insightface/models`. Nothing is downloaded by itself. Each "
    "loader's help tells the page, size and licence of its files.\n\n"
    "Licences: InfiniteYou's weights are CC BY-NC 4.0, InsightFace's packs are for non-commercial research, "
    "FLUX.1 [dev] is non-commercial, FLUX.1 [schnell] is Apache-2.0. *Reference*: a photo of someone who agrees."
)
WORDS = (
    "The miniature knows few words. A style: `a photo of`, `a pencil sketch of`, `a watercolor painting of`, "
    "`pixel art of`. A mood: `smiling`, `sad`, `surprised`. Clothes: `wearing a blue suit and glasses`. "
    "A place: `at the beach`, `in a forest`, `in a city at night`, `in the snow`, `in a library`."
)


def backbone(graph: Graph, name: str) -> None:
    """The loaders; files for the real backbones, nothing but names for the miniatures."""
    mini = name.startswith("mini")
    none = dict.fromkeys(["diffusion_model", *COMMON_FILES], "none")
    graph.add(
        "Backbone",
        "InfuseNet_LoadBackbone",
        "Models",
        backbone=name,
        **(none if mini else {**FILES[name], **COMMON_FILES}),
        weight_dtype="default",
    )
    infusenet = "miniature" if mini else INFUSENET_FILE
    graph.add("InfuseNet", "InfuseNet_LoadInfuseNet", "Models", infusenet=infusenet, weight_dtype="default")
    encoder = dict.fromkeys(ENCODER_FILES, "miniature") if mini else ENCODER_FILES
    graph.add("Identity encoder", "InfuseNet_LoadIdentityEncoder", "Models", **encoder, device="auto")


def person(graph: Graph, suffix: str = "", picture: str = REFERENCE) -> Link:
    """A photo and the identity read off it."""
    image = graph.add(f"Reference{suffix}", "LoadImage", f"Person{suffix}", image=picture)
    identity = graph.add(
        f"Identity{suffix}",
        "InfuseNet_EncodeIdentity",
        f"Person{suffix}",
        encoder=("Identity encoder", 0),
        image=(image, 0),
        batch="fuse",
        face="largest",
        face_index=0,
        on_no_face="error",
    )
    graph.add(f"What was read{suffix}", "PreviewImage", f"Person{suffix}", images=(identity, 1))
    return (identity, 0)


def prompt(graph: Graph, text: str) -> Link:
    """The prompt, with the backbone's own guidance."""
    graph.add("Prompt", "CLIPTextEncode", "Prompt and identity", clip=("Backbone", 1), text=text)
    graph.add("Guidance", "FluxGuidance", "Prompt and identity", conditioning=("Prompt", 0), guidance=("Backbone", 4))
    return ("Guidance", 0)


def apply(graph: Graph, positive: Link, identity: Link, suffix: str = "", **more: Any) -> str:
    """Apply InfuseNet Identity with its default settings."""
    settings = {
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "gate": "step",
        "on_negative": False,
    }
    return graph.add(
        f"Apply{suffix}",
        "InfuseNet_Apply",
        "Prompt and identity",
        positive=positive,
        infusenet=("InfuseNet", 0),
        identity=identity,
        vae=("Backbone", 2),
        **settings,
        **more,
    )


def sample(
    graph: Graph,
    positive: Link,
    width: int,
    height: int,
    prefix: str,
    model: Link = ("Backbone", 0),
    batch: int = 1,
) -> None:
    """The exact schedule, euler, and the picture."""
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=width, height=height, batch_size=batch)
    graph.add(
        "Schedule", "InfuseNet_Sigmas", "Sampling", model=("Backbone", 0), latent=("Size", 0), steps=0, denoise=1.0
    )
    graph.add("Noise", "RandomNoise", "Sampling", noise_seed=SEED)
    graph.add("Sampler", "KSamplerSelect", "Sampling", sampler_name="euler")
    graph.add("Guider", "BasicGuider", "Sampling", model=model, conditioning=positive)
    graph.add(
        "Sampling",
        "SamplerCustomAdvanced",
        "Sampling",
        noise=("Noise", 0),
        guider=("Guider", 0),
        sampler=("Sampler", 0),
        sigmas=("Schedule", 0),
        latent_image=("Size", 0),
    )
    picture(graph, prefix)


def picture(graph: Graph, prefix: str) -> None:
    """Decode and save."""
    graph.add("Decode", "VAEDecode", "Picture", samples=("Sampling", 0), vae=("Backbone", 2))
    graph.add("Picture", "SaveImage", "Picture", images=("Decode", 0), filename_prefix=prefix)


def probe(graph: Graph, reference: str, when: str) -> Link:
    """A probe on the backbone."""
    graph.add("Recognizer", "InfuseNet_LoadFaceRecognizer", "Models", face_pack="miniature", device="auto")
    graph.add(
        "Probe",
        "InfuseNet_IdentityProbe",
        "Probe",
        model=("Backbone", 0),
        recognizer=("Recognizer", 0),
        reference=(reference, 0),
        when=when,
        every=1,
        vae=("Backbone", 2),
        references="one person",
        skip_below=0,
    )
    return ("Probe", 0)


def report(graph: Graph) -> None:
    """The report on the sampler, its pictures, and the best step decoded."""
    graph.add("Report", "InfuseNet_DriftReport", "Report", trace=("Probe", 1), samples=("Sampling", 0), run=0)
    graph.add("Chart", "PreviewImage", "Report", images=("Report", 0))
    graph.add("Faces", "PreviewImage", "Report", images=("Report", 1))
    graph.add("Decode best", "VAEDecode", "Report", samples=("Report", 2), vae=("Backbone", 2))
    graph.add("Best step", "PreviewImage", "Report", images=("Decode best", 0))
