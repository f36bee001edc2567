"""Many odd inputs, drawn by hypothesis, and one oracle: a right result or one clear line. See `oracle.py`.

    INFUSENET_ATTACK=300 pytest tests/attack    300 cases a surface, other ones at every call

Without it each surface gets the same few. A run goes on after a fault, and ends with a list of all kinds of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.strategies import SearchStrategy

from .oracle import Place, Tally, judge

_CACHES = tempfile.TemporaryDirectory(prefix="attack-")  # of libraries: nothing is left in the checkout or at home
os.environ.update(MPLCONFIGDIR=_CACHES.name, TORCHINDUCTOR_CACHE_DIR=_CACHES.name)
set_hypothesis_home_dir(_CACHES.name)

CASES = int(os.environ.get("INFUSENET_ATTACK", "0"))
FEW = 25
_MOST_KEPT = 4  # loaded sets of weights

Case = Callable[[Place, Any], Callable[[], None]]
"""Makes what a case needs in its place, and gives what is then to be done and judged."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.attack)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    ended = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    for report in ended:
        for name, counts in report.user_properties:
            if name == "attack":
                terminalreporter.write_line(f"attack: {report.nodeid.rpartition('::')[2]}: {counts}")


@pytest.fixture(scope="session", autouse=True)
def fonts() -> None:
    """matplotlib lists the machine's fonts with a program of its own, once: that is not what is watched."""
    import_module("matplotlib.font_manager")


@pytest.fixture
def attack(
    record_property: Callable[[str, object], None], pytestconfig: pytest.Config
) -> Callable[[SearchStrategy[Any], Case], None]:
    """`attack(strategy, case)`: judge a case of all that is drawn, and fail with all faults; with -x the first."""
    first = pytestconfig.getoption("maxfail") == 1

    def run(strategy: SearchStrategy[Any], case: Case, *, share: float = 1.0) -> None:
        tally = Tally()

        @settings(
            max_examples=max(1, round((CASES or FEW) * share)),
            derandomize=not CASES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one(drawn: Any) -> None:
            if first and tally.faults:
                return
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                place = Place(Path(folder).resolve())
                tally.add(drawn, lambda: judge(place, case(place, drawn)))

        one()
        record_property("attack", str(tally))
        if tally.faults:
            pytest.fail("\n".join([str(tally), *tally.faults.values()]), pytrace=False)

    return run


@pytest.fixture(scope="session")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of a drawn person."""
    from infusenet.files import save_picture
    from infusenet.miniature.people import drawn_reference

    return save_picture(drawn_reference(0), tmp_path_factory.mktemp("face") / "face.png")


@pytest.fixture
def loads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command loads the same weights once; what cannot be loaded is tried every time."""
    from infusenet.cli import picture

    kept: dict[str, Any] = {}

    def once(load: Callable[..., Any]) -> Callable[..., Any]:
        def loaded(*arguments: Any, adapter: Any = None, **options: Any) -> Any:
            key = f"{load.__name__} {arguments!r} {options!r}"
            if key not in kept:
                made = load(*arguments, **options, **({} if adapter is None else {"adapter": adapter}))
                kept[key] = made
                for old in list(kept)[:-_MOST_KEPT]:
                    del kept[old]
            return kept[key]

        return loaded

    for name in ("load_adapter", "load_pipeline"):
        monkeypatch.setattr(picture, name, once(getattr(picture, name)))
