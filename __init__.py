"""ComfyUI-InfuseNet: identity-preserved FLUX in four steps, as nodes. The library behind them is `infusenet/`."""

WEB_DIRECTORY = "./nodes/web"


async def comfy_entrypoint():
    """Called by ComfyUI once its own modules are up; nothing of the host is imported before."""
    import logging

    try:
        from .nodes import InfuseNetExtension

        return InfuseNetExtension()
    except Exception:
        # the host logs the message alone, which does not tell where it came from
        logging.getLogger(__name__).exception("ComfyUI-InfuseNet could not be loaded")
        raise
