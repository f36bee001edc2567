"""What several nodes share: loaded networks, kept as long as somebody holds them, and words shown on a node."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import folder_paths

_LOADED: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()


def load_once(load: Callable[[], Any], *key: Hashable) -> Any:
    """What was loaded under this key, if it is still in use; else it is loaded.

    Args:
        load: loads it.
        key: everything that the result depends on; paths are watched for change.
    """
    stamped = tuple((part, *stamp(part)) if isinstance(part, Path) else part for part in key)
    found = _LOADED.get(stamped)
    if found is None:
        found = _LOADED[stamped] = load()
    return found


def reloadable(patcher: Any, load: Callable[..., Any], *arguments: Any) -> None:
    """Tell the host how a model is loaded afresh: for a second device, or where it needs weights that it may edit.

    Args:
        patcher: the host's ModelPatcher.
        load: gives such a patcher again; takes `disable_dynamic` besides, for weights that are not streamed.
        arguments: what it is called with.
    """
    patcher.cached_patcher_init = (load, arguments)


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file or folder; changes when it is replaced."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return stat.st_size, stat.st_mtime_ns


def show(node: Any, text: str) -> None:
    """Show a line of text on the executing node, where there is a server."""
    tell(getattr(getattr(node, "hidden", None), "unique_id", None), text)


def tell(identifier: str | None, text: str) -> None:
    """Show a line of text on the node of this id, where there is a server."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None and identifier is not None:
        server.send_progress_text(text, identifier)


def pack_of(error: BaseException) -> str | None:
    """The folder of another custom node pack in which an error was raised, or through which it came; None without."""
    named = [Path(home) for home in folder_paths.get_folder_paths("custom_nodes")]
    homes = [*named, *(home.resolve() for home in named)]
    ours, found = Path(__file__).resolve().parents[1], None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        for home in homes:
            if file.is_relative_to(home) and not file.resolve().is_relative_to(ours):
                found = file.relative_to(home).parts[0]
    return found
