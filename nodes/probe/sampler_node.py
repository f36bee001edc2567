"""Which sampler node a run belongs to, and what the prompt tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import chart
from .others import recognizers_before


@dataclass(frozen=True)
class SamplerNode:
    """The node that samples: its id, which of a list it works on, what its prompt says, and which prompt that is."""

    node: str
    index: int
    inputs: dict[str, Any]
    recognizers: tuple[str, ...] = ()  # of other packs' identity methods before it
    prompt: str | None = None
    workflow: str | None = None  # which the prompt was made from

    @classmethod
    def now(cls) -> SamplerNode:
        """The executing node."""
        from comfy_execution.utils import get_executing_context

        context = get_executing_context()
        if context is None:
            return cls("", 0, {})
        prompt = chart.running_prompt(context.prompt_id)
        inputs = prompt.get(context.node_id, {}).get("inputs", {})
        return cls(
            str(context.node_id),
            context.list_index or 0,
            inputs,
            recognizers_before(context.node_id, prompt),
            context.prompt_id,
            chart.running_workflow(context.prompt_id),
        )

    @property
    def offset(self) -> int | None:
        """Steps before this slice's first, where the prompt holds them as a literal."""
        start = self.inputs.get("start_at_step")
        return start if isinstance(start, int) and not isinstance(start, bool) and start > 0 else None
