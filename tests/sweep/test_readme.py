"""The README's way from dev to schnell, run as it is written, and its commands for sweeps."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infusenet import cli
from infusenet.backbones import BACKBONES

TEXT = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
PATHS = {"path/to/FLUX.1-dev": "mini-dev", "path/to/FLUX.1-schnell": "mini-schnell"}


def lines(sign: str) -> list[str]:
    """One side of the README's only diff."""
    (diff,) = re.findall(r"```diff\n(.*?)```", TEXT, re.DOTALL)
    return [line[2:] for line in diff.splitlines() if line.startswith(sign)]


def settings(line: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", line)}


def test_two_lines_change_and_no_other() -> None:
    assert (len(lines("-")), len(lines("+")), len(lines(" "))) == (2, 2, 0)
    for sign, name in (("-", "flux-dev"), ("+", "flux-schnell")):
        spec = BACKBONES[name]
        assert settings(lines(sign)[1]) == {
            "num_inference_steps": spec.num_inference_steps,
            "guidance_scale": spec.guidance_scale,
        }
    dev, schnell = BACKBONES["flux-dev"], BACKBONES["flux-schnell"]
    assert (dev.use_dynamic_shifting, schnell.use_dynamic_shifting, schnell.shift) == (True, False, 1.0)
    assert f"({dev.max_sequence_length}\nand {schnell.max_sequence_length} tokens)" in TEXT


@pytest.mark.slow
@pytest.mark.exact
def test_the_diff_runs_as_it_is_written() -> None:
    import torch

    from infusenet import IdentityEncoder, load_pipeline, miniature
    from infusenet.miniature.people import drawn_reference

    encoder = IdentityEncoder.from_files(miniature.IMAGE_PROJ, miniature.ARCFACE, miniature.FACE_PACK)
    names: dict[str, Any] = {"prompt": "a portrait of a person", "identity": encoder.encode([drawn_reference(0)])}
    names["load_pipeline"] = lambda backbone, infusenet: load_pipeline(PATHS[backbone], miniature.INFUSENET)
    shifts = []
    for sign, name in (("-", "mini-dev"), ("+", "mini-schnell")):
        for line in lines(sign):
            torch.manual_seed(3)  # the README's lines draw noise of their own
            exec(line, names)
        torch.manual_seed(3)
        by_default = load_pipeline(name)(names["prompt"], identity=names["identity"]).images[0]
        assert np.array_equal(np.asarray(names["image"]), np.asarray(by_default))
        config = names["pipe"].scheduler.config
        shifts.append((config.use_dynamic_shifting, config.shift))
    assert shifts[0][0] is True
    assert shifts[1] == (False, 1.0)


def test_its_commands_are_understood() -> None:
    parser = cli.parser()
    commands = re.findall(r"^(?:accelerate launch -m )?infusenet (sweep (?:.*\\\n)*.*)$", TEXT, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        arguments = parser.parse_args(shlex.split(command.replace("\\\n", " ")))
        assert arguments.spec in ("all", "main-table", "fastface")
