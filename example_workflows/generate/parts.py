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


CONSENT = "Use a photo of someone who has agreed to it."
YOURS = (
    f"As shipped, it runs on the miniature, on any machine. For FLUX choose your files in *Models*, and a face pack in "
    f"*Recognizer* that is not the one that carries the identity. {CONSENT}"
)
LICENCES = (
    "InfiniteYou's weights are CC BY-NC 4.0, FLUX.1 dev is non-commercial, FLUX.1 schnell is Apache-2.0, InsightFace's "
    f"packs are for non-commercial research. {CONSENT}"
)
FILES_NOTE = "Each loader's help page in *Models* says where to get its files and where to put them."
SMILING = "a photo of a smiling person at the beach"


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
        compile=False,
    )
    infusenet = "miniature" if mini else INFUSENET_FILE
    graph.add(
        "InfuseNet", "InfuseNet_LoadInfuseNet", "Models", infusenet=infusenet, weight_dtype="default", compile=False
    )
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
    """Apply InfuseNet Identity, with its default settings where no other is given."""
    settings = {
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "gate": "step",
        "on_negative": False,
        "refresh": "every step",
        "attention": "none",
        "attention_scale": 1.55,
    }
    return graph.add(
        f"Apply{suffix}",
        "InfuseNet_Apply",
        "Prompt and identity",
        positive=positive,
        infusenet=("InfuseNet", 0),
        identity=identity,
        vae=("Backbone", 2),
        **{**settings, **more},
    )


def sample(
    graph: Graph,
    positive: Link,
    width: int,
    height: int,
    prefix: str,
    model: Link = ("Backbone", 0),
    batch: int = 1,
    **levels: Link,
) -> None:
    """Pure noise, the exact schedule, euler, and the picture; `levels` are links to inputs of FLUX Sigmas."""
    graph.add("Size", "EmptySD3LatentImage", "Sampling", width=width, height=height, batch_size=batch)
    denoise(graph, positive, ("Size", 0), prefix, model, **levels)


def denoise(
    graph: Graph,
    positive: Link,
    latent: Link,
    prefix: str,
    model: Link = ("Backbone", 0),
    share: float = 1.0,
    **levels: Link,
) -> None:
    """The exact schedule or its last `share`, euler, and the picture; `levels` as in `sample`."""
    settings = {"steps": 0, "denoise": share, "keep": 0, "last_steps": 0, **levels}
    graph.add("Schedule", "InfuseNet_Sigmas", "Sampling", model=("Backbone", 0), latent=latent, **settings)
    graph.add("Noise", "RandomNoise", "Sampling", noise_seed=SEED)
    graph.add("Sampler", "KSamplerSelect", "Sampling", sampler_name="euler")
    run(graph, "Sampling", "Guider", positive, latent, model)
    picture(graph, prefix)


def run(
    graph: Graph, name: str, guider: str, positive: Link, latent: Link, model: Link, section: str = "Sampling"
) -> None:
    """A guider and a sampler on the graph's one noise, sampler and schedule."""
    graph.add(guider, "BasicGuider", section, model=model, conditioning=positive)
    graph.add(
        name,
        "SamplerCustomAdvanced",
        section,
        noise=("Noise", 0),
        guider=(guider, 0),
        sampler=("Sampler", 0),
        sigmas=("Schedule", 0),
        latent_image=latent,
    )


def picture(graph: Graph, prefix: str) -> None:
    """Decode and save."""
    graph.add("Decode", "VAEDecode", "Sampling", samples=("Sampling", 0), vae=("Backbone", 2))
    graph.add("Picture", "SaveImage", "Picture", images=("Decode", 0), filename_prefix=prefix)


def probe(graph: Graph, reference: str, when: str) -> Link:
    """A probe on the backbone."""
    recognizer(graph)
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


def face(graph: Graph, image: Link, side: int, section: str, expand: int) -> Link:
    """A soft mask of the face that is found in a picture, `expand` pixels around eyes, nose and mouth."""
    pose = {"encoder": ("Identity encoder", 0), "image": image, "width": side, "height": side}
    graph.add("Face pose image", "InfuseNet_FacePose", section, **pose)
    for channel in ("red", "green"):  # eyes and the corners of the mouth have one or both
        graph.add(f"Points, {channel}", "ImageToMask", section, image=("Face pose image", 0), channel=channel)
    both = {"destination": ("Points, red", 0), "source": ("Points, green", 0), "x": 0, "y": 0, "operation": "add"}
    graph.add("Points", "MaskComposite", section, **both)
    graph.add("Around it", "GrowMask", section, mask=("Points", 0), expand=expand, tapered_corners=True)
    graph.add("As picture", "MaskToImage", section, mask=("Around it", 0))
    graph.add("Softened", "ImageBlur", section, image=("As picture", 0), blur_radius=20, sigma=8.0)
    graph.add("Face", "ImageToMask", section, image=("Softened", 0), channel="red")
    return ("Face", 0)


def recognizer(graph: Graph) -> None:
    """What measures: the miniature's own."""
    graph.add("Recognizer", "InfuseNet_LoadFaceRecognizer", "Models", face_pack="miniature", device="auto")


def score(graph: Graph, images: Link, name: str = "Scores", section: str = "Report") -> Link:
    """The likeness of each of a batch of pictures, and their sheet."""
    graph.add(
        name,
        "InfuseNet_Score",
        section,
        images=images,
        recognizer=("Recognizer", 0),
        reference=("Reference", 0),
        show="pictures",
        references="one person",
    )
    graph.add("Sheet", "PreviewImage", section, images=(name, 7))
    return (name, 0)


def report(graph: Graph) -> None:
    """The report on the sampler, its pictures, and the best step decoded."""
    graph.add("Report", "InfuseNet_DriftReport", "Report", trace=("Probe", 1), samples=("Sampling", 0), run=0, step=0)
    graph.add("Chart", "PreviewImage", "Report", images=("Report", 0))
    graph.add("Faces", "PreviewImage", "Seen by the probe", images=("Report", 1))
    graph.add("Decode best", "VAEDecode", "Seen by the probe", samples=("Report", 2), vae=("Backbone", 2))
    graph.add("Best step", "PreviewImage", "Seen by the probe", images=("Decode best", 0))
