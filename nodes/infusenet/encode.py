"""Reading a person off photos, and where a face shall be."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ...infusenet.faces.align import face_pose
from ..checks import checked
from ..convert import crops_to_image, image_to_pictures, pictures_to_image
from ..shared import show
from ..sockets import EncoderSocket, IdentitySocket, schema


class EncodeIdentity(io.ComfyNode):
    """Photos of a person become identity tokens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "EncodeIdentity",
            "Encode Identity",
            description="Finds, aligns and reads the face in each photo. The faces output shows what was read. "
            "Nothing about the person is written to disk.",
            search_aliases=["face embedding", "arcface", "id embedding", "face swap", "faceid", "pulid", "instantid"],
            inputs=[
                EncoderSocket.Input("encoder", tooltip="From Load Identity Encoder."),
                io.Image.Input("image", tooltip="One photo of the person, or a batch of several."),
                io.Combo.Input(
                    "batch",
                    options=["fuse", "one per image"],
                    default="fuse",
                    tooltip="What several photos show.\n"
                    "fuse: one person, whose identity is the mean of all photos.\n"
                    "one per image: one identity per photo, for a batch of latents.",
                ),
                io.Combo.Input(
                    "face",
                    options=["largest", "index"],
                    default="largest",
                    tooltip="Which face to use if a photo shows several: the largest, or the one at face_index.",
                ),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=99,
                    tooltip="With face = index: which face, counted from the left, starting at 0.",
                ),
                io.Combo.Input(
                    "on_no_face",
                    options=["error", "skip"],
                    default="error",
                    tooltip="What to do with a photo without a usable face.\n"
                    "error: stop and name the photo.\n"
                    "skip: leave it out.",
                ),
            ],
            outputs=[
                IdentitySocket.Output("identity", display_name="identity", tooltip="For Apply InfuseNet Identity."),
                io.Image.Output("faces", display_name="faces", tooltip="The aligned faces that were read, 112x112."),
                io.Int.Output("count", display_name="count", tooltip="How many photos were used."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(cls, encoder, image, batch, face, face_index, on_no_face) -> io.NodeOutput:
        """One call into the library."""
        pictures = image_to_pictures(image)
        identity = encoder.encode(
            pictures,
            fuse=batch == "fuse",
            face="largest" if face == "largest" else face_index,
            on_no_face=on_no_face,
        )
        notices, used = list(identity.notices), len(identity.faces)
        if face == "largest" and face_index:
            notices.append(
                f"face_index {face_index} has no effect while face is 'largest'. Set face to 'index' to use it."
            )
        if batch != "fuse" and used < len(pictures):
            notices.append(
                f"{len(pictures)} photos gave {used} identities, and those after a skipped photo move up. Sample a "
                f"batch of {used} (the count output)."
            )
        if notices:
            show(cls, "\n".join(notices))
        identity = replace(identity, notices=tuple(f"Encode Identity: {notice}" for notice in notices))
        return io.NodeOutput(identity, crops_to_image(identity.faces), used)


class FacePose(io.ComfyNode):
    """A photo's five landmarks, drawn as InfuseNet's control picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "FacePose",
            "Face Pose Image",
            description="Draws the five landmarks of a photo's largest face on black, for pose_image of Apply "
            "InfuseNet Identity. As in the original pipeline, the photo is fitted to width and height before the face "
            "is detected.",
            search_aliases=["face keypoints", "landmarks", "draw kps"],
            inputs=[
                EncoderSocket.Input("encoder", tooltip="From Load Identity Encoder. Its face detector is used."),
                io.Image.Input("image", tooltip="A photo with a face where you want it in the picture."),
                io.Int.Input(
                    "width",
                    default=864,
                    min=16,
                    max=16384,
                    step=16,
                    tooltip="Width of the picture you will make, in pixels. Use the latent's.",
                ),
                io.Int.Input(
                    "height",
                    default=1152,
                    min=16,
                    max=16384,
                    step=16,
                    tooltip="Height of the picture you will make, in pixels. Use the latent's.",
                ),
            ],
            outputs=[io.Image.Output("out_image", display_name="image", tooltip="Landmarks on black.")],
        )

    @classmethod
    @checked
    def execute(cls, encoder, image, width, height) -> io.NodeOutput:
        """One call into the library for each photo."""
        poses = [face_pose(picture, encoder, width, height) for picture in image_to_pictures(image)]
        return io.NodeOutput(pictures_to_image(poses))
