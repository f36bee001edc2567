"""The house: every file imports from its own floor or from lower ones, and no files import each other in a circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [  # from the ground up; a folder is a floor, or a part of one
    ["errors"],
    ["files", "backbones", "weights"],
    ["sampling", "flux", "faces", "guidance", "speed"],
    ["metrics", "miniature"],
    ["measures", "axes"],
    ["adapters", "probe"],
    ["charts", "loading"],
    ["pages", "generate"],
    ["compare", "sweep", "demo", "miniature.train", "miniature.evaluation", "miniature.replay", "speed.bench"],
    ["tune"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted((ROOT / "infusenet").rglob("*.py"))}


def imports(module: str) -> set[str]:
    """Files that a file imports, anywhere in it; what is imported for type checks alone does not count."""
    path, found = MODULES[module], set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    base = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "infusenet" for alias in node.names), (
                f"{path}: import is absolute"
            )
        if not isinstance(node, ast.ImportFrom) or node in typing_only:
            continue
        assert node.level or (node.module or "").split(".")[0] != "infusenet", f"{path}: import is absolute"
        if node.level:
            home = ".".join(
                [*base[: len(base) - node.level + 1], *((node.module or "").split(".") if node.module else [])]
            )
            for alias in node.names:
                target = f"{home}.{alias.name}" if f"{home}.{alias.name}" in MODULES else home
                assert target in MODULES, f"{path}: imports {target}, which is not there"
                found.add(target)
    return found - {module}


GRAPH = {module: imports(module) for module in MODULES}


def level(module: str) -> int | None:
    """A file's floor: by its folder, the longest name that is known."""
    parts = module.split(".")[1:]
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((LEVEL[name] for name in names if name in LEVEL), None)


def test_every_file_has_a_floor():
    assert [module for module in MODULES if level(module) is None] == ["infusenet", "infusenet.__main__"]


@pytest.mark.parametrize("module", [module for module in MODULES if level(module) is not None])
def test_imports_go_down(module):
    up = [target for target in GRAPH[module] if level(target) is not None and level(target) > level(module)]
    assert up == []


def test_there_is_no_circle():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in GRAPH[module] - {"infusenet"}:  # the version alone is asked of the root
                visit(target, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_the_root_is_small():
    assert sorted(path.stem for path in (ROOT / "infusenet").glob("*.py")) == sorted(
        ["__init__", "__main__", "axes", "backbones", "errors", "files", "generate", "loading", "sampling"]
    )
