"""What a long-lived server keeps: its memory, threads and open files over many prompts.

    COMFYUI_PATH=~/comfy/ComfyUI python tests/host/served.py [PROMPTS] [--core] [--forget] [--trim]

A server of its own runs the templates that need no file but the miniature's, in random order with other seeds, 300
prompts if no number is given. Told are the slope of its memory after the first 50, and threads and open files after the
first of each template and at the end. The slope is least squares with a level of its own for each template, since what
stands in memory depends on the one that ran last; its 95 % interval is told too. Linux.

--core runs a graph of the host's own nodes alone, to be compared with; --forget has the host forget its history after
each prompt, which it keeps of 10,000; --trim has glibc give back what is free before memory is read: without it the
slope is the allocator's rather than ours.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from server import REPOSITORY, Server

WARM = 50  # prompts before memory is followed
SEEDS = ("noise_seed", "seed")
CORE = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "infusenet_reference.png"}},
    "2": {
        "class_type": "ImageScale",
        "inputs": {"image": ["1", 0], "upscale_method": "lanczos", "width": 0, "height": 0, "crop": "disabled"},
    },
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "core"}},
}


def templates() -> dict[str, Any]:
    """The shipped graphs that run without any file of a user's."""
    shipped = sorted((REPOSITORY / "example_workflows" / "api").glob("*.json"))
    graphs = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in shipped}
    names = [name for name, graph in graphs.items() if "safetensors" not in json.dumps(graph)]
    return {name: graphs[name] for name in names}


def varied(graph: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The graph with other seeds; of the host's own nodes alone, with another size."""
    graph = copy.deepcopy(graph)
    for node in graph.values():
        inputs = node["inputs"]
        inputs.update({key: chance.randrange(2**32) for key in SEEDS if key in inputs})
        if node["class_type"] == "ImageScale":
            inputs.update(width=chance.randrange(96, 512), height=chance.randrange(96, 512))
    return graph


def state(process: int) -> tuple[float, int, int]:
    """Memory in MB (what is resident but not mapped from files, which the system drops as it likes), threads, files."""
    home = Path(f"/proc/{process}")
    held = re.search(r"RssAnon:\s+(\d+) kB", (home / "status").read_text())
    assert held is not None
    return float(held[1]) * 1024 / 1e6, *(len(os.listdir(home / name)) for name in ("task", "fd"))


def serve(
    server: Any, graphs: dict[str, Any], prompts: int, *, forget: bool, trim: bool
) -> tuple[list[str], list[tuple[float, int, int]]]:
    """Which graph ran, and the server's state after each; every graph is run once before the order is random."""
    chance, states, began = random.Random(13), [], time.monotonic()
    names = [*graphs, *chance.choices(list(graphs), k=max(0, prompts - len(graphs)))]
    for number, name in enumerate(names, start=1):
        said, _ = server.run(varied(graphs[name], chance))
        if said != "success":
            raise SystemExit(f"prompt {number}, {name}: {said}")
        if forget:
            server.post("/history", {"clear": True})
        if trim:
            server.get("/tests/trim")
        states.append(state(server.process.pid))
        if number % 25 == 0:
            print("{:4d} prompts, {:5.0f} s: {:.1f} MB, {} threads, {} files".format(
                number, time.monotonic() - began, *states[-1]), flush=True)  # fmt: skip
    return names, states


def slope_of(names: list[str], memory: np.ndarray) -> tuple[float, float]:
    """MB a prompt, and half of its 95 % interval: least squares with a level for each graph."""
    levels = [[float(name == each) for each in sorted(set(names))] for name in names]
    design = np.column_stack([np.arange(len(names)), levels])
    found = np.linalg.lstsq(design, memory, rcond=None)[0]
    free = len(names) - design.shape[1]
    variance = float(((memory - design @ found) ** 2).sum()) / free
    return float(found[0]), 1.96 * float(np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))


def main() -> None:
    """Serve, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", nargs="?", type=int, default=300)
    parser.add_argument("--core", action="store_true", help="the host's own nodes alone")
    parser.add_argument("--forget", action="store_true", help="clear the host's history after each prompt")
    parser.add_argument("--trim", action="store_true", help="have the allocator give back what is free")
    given = parser.parse_args()
    graphs = {"core": CORE} if given.core else templates()
    with tempfile.TemporaryDirectory() as temporary:
        held = Path(__file__).with_name("held.py")
        server = Server(Path(os.environ["COMFYUI_PATH"]).expanduser(), Path(temporary) / "host", held)
        try:
            names, states = serve(server, graphs, given.prompts, forget=given.forget, trim=given.trim)
            time.sleep(1)
            _, threads, files = state(server.process.pid)
        finally:
            server.stop()
    memory = np.array([one[0] for one in states])
    start = min(WARM, len(memory) // 2)
    (slope, half), spread = slope_of(names[start:], memory[start:]), np.ptp(memory[start:])
    first = states[len(graphs) - 1]
    print(f"{', '.join(graphs)}: {len(states)} prompts")
    print(f"memory: {slope:+.4f} ± {half:.4f} MB a prompt after the first {start} ({memory[start]:.1f} to "
          f"{memory[-1]:.1f} MB, within {spread:.1f})")  # fmt: skip
    print(f"threads: {first[1]} after the first of each, {threads} at the end; files: {first[2]}, {files}")


if __name__ == "__main__":
    main()
