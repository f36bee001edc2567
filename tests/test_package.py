"""The package as a whole: what it promises by name, what importing it costs, and which way its imports point."""

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import infusenet

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "infusenet"
HOST = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "server", "nodes", "execution"}


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imports_of(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every import statement, wherever it stands in the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
    return found


def test_every_promised_name_is_there() -> None:
    assert infusenet.__all__ == sorted(set(infusenet.__all__))
    for name in infusenet.__all__:
        assert getattr(infusenet, name) is not None, name
    assert set(infusenet.__all__) <= set(dir(infusenet))


def test_every_name_with_a_home_is_promised() -> None:
    assert set(infusenet._MODULE_OF) | {"__version__"} == set(infusenet.__all__)
    for name, module in infusenet._MODULE_OF.items():
        assert getattr(importlib.import_module(f"infusenet.{module}"), name) is getattr(infusenet, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(infusenet, "InfuseNetManager")


def test_version_is_the_one_in_pyproject() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    (declared,) = [line for line in lines if line.startswith("version = ")]
    assert declared == f'version = "{infusenet.__version__}"'


def test_version_is_found_when_used_inside_a_node_pack(tmp_path: Path) -> None:
    pack = tmp_path / "a_pack"
    (pack / "infusenet").mkdir(parents=True)
    (pack / "__init__.py").touch()
    (pack / "infusenet" / "__init__.py").write_text((LIBRARY / "__init__.py").read_text(encoding="utf-8"))
    (pack / "pyproject.toml").write_text('[project]\nname = "infusenet"\nversion = "7.8.9"\n', encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import a_pack.infusenet as i; print(i.__version__)"
    assert python(code) == "7.8.9"


def test_import_is_quick_and_light() -> None:
    code = """
import time, sys, json
before = set(sys.modules)
start = time.perf_counter()
import infusenet
seconds = time.perf_counter() - start
print(json.dumps([seconds, sorted({name.partition(".")[0] for name in set(sys.modules) - before})]))
"""
    seconds, modules = min(json.loads(python(code)) for _ in range(3))
    heavy = {"torch", "diffusers", "transformers", "insightface", "onnxruntime", "matplotlib", "cv2", "numpy", "PIL"}
    assert not heavy & set(modules)
    assert seconds < 0.2


def test_library_imports_no_host_and_itself_only_relatively() -> None:
    for path in LIBRARY.rglob("*.py"):
        for level, module in imports_of(path):
            top = module.partition(".")[0]
            assert level or top not in HOST, f"{path.relative_to(ROOT)} imports the host's {module}"
            assert level or top != "infusenet", f"{path.relative_to(ROOT)} imports {module}: make it relative"


def test_requirements_leave_the_hosts_own_libraries_alone() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = {line.split(">")[0].split("=")[0].strip().lower() for line in lines if line and line[0] != "#"}
    assert "insightface" in named
    assert not named & {"torch", "torchvision", "torchaudio", "numpy", "onnxruntime-gpu"}


def test_wheel_holds_everything_the_package_reads_and_no_training(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    copy = tmp_path / "source"
    shutil.copytree(LIBRARY, copy / "infusenet", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run([*command, str(copy)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("infusenet/")}
    files = {
        str(path.relative_to(copy)).replace("\\", "/") for path in (copy / "infusenet").rglob("*") if path.is_file()
    }
    left_out = tuple(f"infusenet/miniature/{part}/" for part in ("train", "evaluation", "replay"))
    assert {name for name in files if not name.startswith(left_out)} == packed
    assert all(any(name.startswith(part) for name in files) for part in left_out)
    assert any(name.startswith("infusenet/miniature/weights/") for name in packed)


def test_readme_and_error_name_the_same_way_to_a_gpu(monkeypatch) -> None:
    from infusenet.faces import packages

    (command,) = [
        line
        for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("pip uninstall")
    ]
    monkeypatch.setattr(packages, "_is_installed", lambda name: True)
    monkeypatch.setattr(packages, "pip_command", lambda *arguments: " ".join(["pip", *arguments]))
    assert command in packages._complaint(AttributeError("broken"))


def test_hooks_before_a_commit_are_the_check_command() -> None:
    hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    check = (ROOT / ".ci" / "check").read_text(encoding="utf-8").splitlines()
    assert hooks == check[check.index('cd "$(dirname "${BASH_SOURCE[0]}")/.."') + 1 :]
