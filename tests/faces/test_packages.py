"""Missing and broken packages end in a command to run."""

import builtins
import importlib.metadata
import sys
from types import ModuleType
from typing import Any

import pytest

from infusenet.errors import PackageError
from infusenet.faces import packages


def break_import(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Make `import name` raise."""
    whole = builtins.__import__

    def broken(wanted: str, *args: Any, **kwargs: Any) -> ModuleType:
        if wanted.split(".")[0] == name:
            raise error
        return whole(wanted, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make pip's records hold these alone."""

    def version(name: str) -> str:
        if name in names:
            return "1"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "version", version)


def test_the_command_is_for_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.pip_command("install x") == f"{sys.executable} -m pip install x"
    monkeypatch.setattr(sys, "executable", r"C:\my comfy\python.exe")
    assert packages.pip_command("install x") == r'"C:\my comfy\python.exe" -m pip install x'


@pytest.mark.parametrize(
    ("names", "command"),
    [
        ((), 'install "insightface>=2.0"'),
        (("onnxruntime",), 'install "insightface>=2.0"'),
        (("insightface",), "install onnxruntime"),
        (("insightface", "onnxruntime"), "install --force-reinstall --no-deps onnxruntime insightface"),
        (("insightface", "onnxruntime-gpu"), "install --force-reinstall --no-deps onnxruntime-gpu insightface"),
        (
            ("insightface", "onnxruntime", "onnxruntime-gpu"),
            f"uninstall -y onnxruntime onnxruntime-gpu && {sys.executable} -m pip "
            "install --force-reinstall --no-deps onnxruntime-gpu",
        ),
    ],
)
@pytest.mark.parametrize("error", [ImportError("gone"), AttributeError("no InferenceSession")])
def test_what_is_missing_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], command: str, error: Exception
) -> None:
    break_import(monkeypatch, "insightface", error)
    installed(monkeypatch, *names)
    with pytest.raises(PackageError) as caught:
        packages.import_model_zoo()
    assert f"{packages.pip_command(command)}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_old_insightface_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import insightface

    monkeypatch.setattr(insightface, "__version__", "0.7.3")
    with pytest.raises(PackageError, match=r"0\.7\.3 is too old.*install --upgrade"):
        packages.import_model_zoo()


def test_opencv_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "cv2", ImportError("libGL.so.1"))
    with pytest.raises(PackageError, match=r"libGL\.so\.1.*install opencv-python-headless"):
        packages.import_cv2()


def test_which_runtimes_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    assert packages.installed_runtimes() == ["onnxruntime", "onnxruntime-gpu"]
    installed(monkeypatch, "onnxruntime-gpu")
    assert packages.installed_runtimes() == ["onnxruntime-gpu"]
