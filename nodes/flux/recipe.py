"""Load Recipe: what `infusenet tune` has found, as the settings of other nodes."""

from __future__ import annotations

from comfy_api.latest import io

from ...infusenet.errors import SettingsError
from ...infusenet.speed import EXACT, TwoRate, parse_schedule
from ...infusenet.tune.recipe import Recipe
from .. import paths
from ..checks import checked, listed
from ..shared import show, stamp
from ..sockets import NONE, schema
from .sizes import variant_of_model

FAMILY = "flux"  # of the models that the other nodes take


def read_recipe(name: str, text: str) -> Recipe:
    """The recipe of a file, or of a text where no file is chosen.

    Args:
        name: an entry of `paths.recipes`, or "none".
        text: a recipe's JSON.

    Raises:
        SettingsError: there is neither, or it is no recipe.
    """
    if name != NONE:
        return Recipe.load(paths.find_recipe(name))
    if not text.strip():
        raise SettingsError(
            "Choose a recipe: copy the recipe.json from infusenet tune into ComfyUI's input folder and refresh the "
            "page (R), or paste its content into text."
        )
    return Recipe.from_json(text)


def in_words(recipe: Recipe) -> str:
    """What a recipe sets and what was found of it, in a few lines; what nobody has noted is left out."""
    steps = f"{recipe.steps} step{'s' * (recipe.steps != 1)}"
    steps += f" ({recipe.schedule})" if recipe.schedule != str(EXACT) else ""
    lines = [f"{recipe.variant}, {steps}, strength {recipe.strength:g}, InfuseNet {recipe.refresh}."]
    seconds, held_out = (recipe.found.get(name) for name in ("seconds", "held_out"))
    if isinstance(seconds, dict) and all(_is_number(seconds.get(name)) for name in ("way", "reference")):
        times = f"{seconds['reference'] / max(seconds['way'], 1e-9):.1f}"
        lines.append(
            f"{times} times as fast as {recipe.found.get('reference')!s:.100}, on {seconds.get('machine')!s:.100}."
        )
    if isinstance(held_out, dict) and isinstance(held_out.get("verdict"), str):
        lines.append(f"On held-out people it {held_out['verdict']:.40}.")
    return "\n".join(lines)


def two_rates(recipe: Recipe) -> tuple[int, int]:
    """FLUX Sigmas' keep and last_steps; 0 and 0 for the exact schedule.

    Raises:
        SettingsError: its schedule is of another kind.
    """
    schedule = parse_schedule(recipe.schedule)
    if isinstance(schedule, TwoRate):
        return schedule.keep, schedule.last
    if schedule == EXACT:
        return 0, 0
    raise SettingsError(f"No node sets the schedule {recipe.schedule:.60}. Tune again with --schedules exact 2+4.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


class LoadRecipe(io.ComfyNode):
    """The settings that a search has found to be fastest at a wanted quality."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's sockets."""
        return schema(
            "LoadRecipe",
            "Load Recipe",
            description="Outputs the steps, strength and refresh that the command infusenet tune found to be fastest "
            "at the quality you asked for, on your own people. Connect them to FLUX Sigmas and Apply InfuseNet "
            "Identity. A recipe made for another kind of model is refused.",
            search_aliases=["recipe", "tune", "speed", "fast settings"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The FLUX model that will be sampled. A recipe for dev cannot be used with schnell.",
                ),
                io.Combo.Input(
                    "recipe",
                    options=[NONE, *paths.recipes()],
                    default=NONE,
                    tooltip="A recipe file from ComfyUI's input or output folder. Its name must contain the word "
                    "recipe.",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="",
                    tooltip="The pasted content of a recipe file. Used if recipe is none.",
                ),
            ],
            outputs=[
                io.Int.Output("steps", display_name="steps", tooltip="For FLUX Sigmas."),
                io.Int.Output("keep", display_name="keep", tooltip="For FLUX Sigmas."),
                io.Int.Output("last_steps", display_name="last_steps", tooltip="For FLUX Sigmas."),
                io.Float.Output("strength", display_name="strength", tooltip="For Apply InfuseNet Identity."),
                io.String.Output("refresh", display_name="refresh", tooltip="For Apply InfuseNet Identity."),
                io.String.Output("about", display_name="about", tooltip="What the search found, in words."),
            ],
        )

    @classmethod
    def validate_inputs(cls, recipe=None) -> bool | str:
        """Whether the file is there."""
        return listed(cls, recipe=recipe)

    @classmethod
    def fingerprint_inputs(cls, recipe=NONE, **_: object) -> tuple[int, int]:
        """Changes when the file is replaced."""
        try:
            return stamp(paths.find_recipe(recipe))
        except SettingsError:
            return 0, 0

    @classmethod
    @checked
    def execute(cls, model, recipe, text) -> io.NodeOutput:
        """Read it, and see whether it is for this model."""
        found = read_recipe(recipe, text)
        found.check(FAMILY, variant_of_model(model.model))
        about = in_words(found)
        show(cls, about)
        return io.NodeOutput(found.steps, *two_rates(found), float(found.strength), found.refresh, about)
