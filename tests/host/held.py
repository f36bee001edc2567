"""What a process holds, in bytes. As a custom node of a test server it answers this at /tests/held.

Resident memory is no measure of it: the allocator gives back what was freed when it likes; with glibc, when it is asked
to, at /tests/trim.
"""

import ctypes
import gc
import tracemalloc

import torch


def held_bytes() -> int:
    """Bytes of all live tensors, and of the arrays and objects made since the first call."""
    if not tracemalloc.is_tracing():
        tracemalloc.start()  # knows numpy's arrays, which the garbage collector does not; torch's tensors are not in it
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    storages = {s.data_ptr(): s.nbytes() for s in (x.untyped_storage() for x in tensors if x.device.type == "cpu")}
    return sum(storages.values()) + tracemalloc.get_traced_memory()[0]


def trim() -> None:
    """Have the allocator give back what was freed."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


async def comfy_entrypoint():
    """An extension without nodes."""
    from aiohttp import web
    from comfy_api.latest import ComfyExtension
    from server import PromptServer

    @PromptServer.instance.routes.get("/tests/held")
    async def answer(_request):
        return web.json_response(held_bytes())

    @PromptServer.instance.routes.get("/tests/trim")
    async def trimmed(_request):
        return web.json_response(trim())

    class Held(ComfyExtension):
        async def get_node_list(self):
            return []

    return Held()
