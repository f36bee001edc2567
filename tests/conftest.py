"""Shared fixtures: the goldens, recorded from the original implementation with small random weights.

INFUSENET_GOLDENS names another folder of the same layout; its cases are then run instead of the ones kept here.
INFUSENET_FASTFACE does so for FastFace's.
A test that takes `goldens` gets the folder; one that takes `golden_case` runs once for every case in it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch comes, as the command does: gentle to busy cores
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # what it says when first imported is no warning of ours
FOLDER = Path(os.environ.get("INFUSENET_GOLDENS") or Path(__file__).parent / "goldens" / "data")
FASTFACE = Path(os.environ.get("INFUSENET_FASTFACE") or Path(__file__).parent / "goldens" / "fastface")


def deviation(got: Any, want: Any) -> float:
    """Largest |got - want|, measured in the reference's RMS; absolute where the reference is all zero."""
    if want.numel() == 0:
        return 0.0
    worst = float((got.double() - want.double()).abs().max())
    rms = float(want.double().square().mean().sqrt())
    return worst / rms if rms else worst


class Golden(Mapping[str, Any]):
    """One recorded file: `golden["step/velocity"]` is a tensor, `golden.meta["case"]` how it was made."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self.path = path
        self.name = path.stem
        with safe_open(str(path), framework="pt") as file:
            self.meta: dict[str, Any] = json.loads((file.metadata() or {}).get("meta", "{}"))
            # Copies, on 64-byte boundaries. A view of the file lies anywhere, and on some CPUs (AMD's) a float32 matrix
            # product of few rows depends on where: code that copies its inputs would differ from code that does not.
            self._tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - not a dict

    def __getitem__(self, key: str) -> Any:
        return self._tensors[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def check(self, key: str, got: Any, tolerance: float = 1e-4) -> float:
        """Fail unless `got` equals the recorded tensor in shape and within `tolerance`; returns the deviation."""
        import torch

        want = self[key]
        got = torch.as_tensor(got).detach().cpu()
        where = f"{self.name} {key}"
        assert got.shape == want.shape, f"{where}: shape {tuple(got.shape)}, recorded {tuple(want.shape)}"
        assert bool(torch.isfinite(got.double()).all()), f"{where}: holds values that are not finite"
        found = deviation(got, want)
        assert found <= tolerance, f"{where}: off by {found:.3g} of the RMS, allowed {tolerance:.3g}"
        return found


class Goldens:
    """The folder of recorded files. `goldens("frontend/arcface")` opens one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Golden:
        return Golden(self.folder / f"{name.removesuffix('.safetensors')}.safetensors")

    def model(self, name: str) -> Path:
        """Path of a small model's folder or file, as in `goldens.model("dev_5x9")`."""
        return self.folder / "models" / name

    def table(self, name: str) -> Any:
        """A recorded table: "schedules", "windows" or "block_mapping"."""
        return json.loads((self.folder / "tables" / f"{name}.json").read_text(encoding="utf-8"))

    def case_names(self) -> list[str]:
        """Names of all recorded pipeline calls."""
        return sorted(path.stem for path in (self.folder / "cases").glob("*.safetensors"))


@pytest.fixture(scope="session")
def goldens() -> Goldens:
    """The recorded reference files."""
    return Goldens(FOLDER)


@pytest.fixture(scope="session")
def fastface() -> Goldens:
    """What was recorded from the original FastFace: `fastface("attention/am2_down")`."""
    return Goldens(FASTFACE)


def manipulation_of(case: Mapping[str, Any]) -> Any:
    """What a recorded case of FastFace does to attention, in our settings; None where there is nothing."""
    from infusenet.guidance.manipulation import ScalePower, SoftMask

    settings = case.get("am")
    if settings is None:
        return None
    shared = {
        "blend": 0.7 if settings.get("apply_adain") else None,
        "tokens": settings["target_tokens"],
        "steps": settings["target_tsteps"],
    }
    kinds = settings["am_transforms"]
    if kinds == ["pow", "scale"]:
        return ScalePower(**shared)
    if kinds == ["pow"]:
        return ScalePower(up=1, down=1, **shared)
    scheduled = settings["apply_schedule"]
    values = {} if scheduled else {"sharpness": 12.5, "quantile": 0.6, "up": 1.45, "down": 1.55}
    if kinds[0] == "softmask":
        values["quantile"] = None
    inverted = settings["inverse_neg_transforms"]
    return SoftMask(inverted=inverted, across="batch", round_quantile=True, **values, **shared)


@pytest.fixture(scope="session")
def manipulation() -> Callable[[Mapping[str, Any]], Any]:
    """`manipulation(golden.meta["case"])`."""
    return manipulation_of


@pytest.fixture
def golden_case(request: pytest.FixtureRequest, goldens: Goldens) -> Golden:
    """One recorded pipeline call; a test that takes it runs once for each."""
    return goldens(f"cases/{request.param}")


@pytest.fixture(scope="session")
def deviation_of() -> Callable[[Any, Any], float]:
    """The measure that `Golden.check` uses, for tensors that are not in a golden."""
    return deviation


LACKING = [name for name in ("diffusers", "transformers", "insightface", "pandas", "pydantic") if not find_spec(name)]


class Lacking(pytest.Module):
    """A file of tests that cannot be imported here."""

    def collect(self) -> Any:
        """One word instead of failures."""
        pytest.skip(f"{', '.join(LACKING)} missing: pip install -e .[standalone,test]", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> Any:
    """The library's tests need its packages; a host's tests say for themselves what they need."""
    if LACKING and Path(__file__).parent / "host" not in module_path.parents:
        return Lacking.from_parent(parent, path=module_path)
    return None


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Nothing but skipped files is no failure."""
    if LACKING and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: of several processes none waits at the end for the one that came to it last."""
    items.sort(key=lambda item: item.path.name != "test_runner.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for folder in ("guidance", "attention", "pipeline"):  # a test that takes `guidance_case` runs once for each
        if f"{folder}_case" in metafunc.fixturenames:
            names = sorted(path.stem for path in (FASTFACE / folder).glob("*.safetensors"))
            cases = [name for name in names if name != "weights" and not name.startswith("inputs_")]
            metafunc.parametrize(f"{folder}_case", cases)
    if "golden_case" in metafunc.fixturenames:
        metafunc.parametrize("golden_case", Goldens(FOLDER).case_names(), indirect=True)


# Lists every attempt to resolve or reach an address, from the interpreter's own audit events.
_WATCHED = """
import json, sys
tried = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        tried.append([event, repr(arguments)])
sys.addaudithook(watch)
from infusenet.cli import main
code = main(sys.argv[1:])
print("TRIED", json.dumps(tried))
sys.exit(code)
"""


@pytest.fixture(scope="session")
def command() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`command("demo", "--out", path)`: the infusenet command in a process of its own, which must try no network."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        given = [sys.executable, "-c", _WATCHED, *map(str, arguments)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "INFUSENET_"))}
        place = Path(__file__).parents[1]
        done = subprocess.run(given, capture_output=True, text=True, timeout=600, cwd=place, env=environment)
        if "TRIED" in done.stdout:
            done.stdout, _, tried = done.stdout.rpartition("TRIED ")
            assert json.loads(tried) == []
        return done

    return run
