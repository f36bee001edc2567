"""What a ComfyUI server tells one client while it works."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any


class Listener:
    """Collects the messages for a client id; `on_message` is called with each, from a thread."""

    def __init__(self, address: str, client: str, on_message: Callable[[str, Any], None] | None = None) -> None:
        self.client, self.messages = client, []
        self._address, self._on_message = address, on_message
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        assert self._ready.wait(30), "the server does not talk"
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    def wait_for(self, found: Callable[[list[tuple[str, Any]]], Any], seconds: float = 30) -> Any:
        """What `found` makes of the messages as soon as that is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if result := found(list(self.messages)):
                return result
            time.sleep(0.02)
        raise AssertionError(f"not told within {seconds} s; last: {self.messages[-3:]}")

    def _run(self) -> None:
        self._task = self._loop.create_task(self._listen())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        import aiohttp

        address = f"{self._address}/ws?clientId={self.client}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                told = json.loads(message.data)
                self._ready.set()
                self.messages.append((told["type"], told["data"]))
                if self._on_message is not None:
                    self._on_message(told["type"], told["data"])
