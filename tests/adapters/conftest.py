"""The fixtures of tests/faces, here too."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("faces_fixtures", Path(__file__).parents[1] / "faces" / "conftest.py")
assert _spec is not None and _spec.loader is not None
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)
globals().update({name: value for name, value in vars(_shared).items() if "fixture" in type(value).__name__.lower()})
