"""InfuseNet's output kept between the steps of a run in the host.

What is kept hangs on the run's own clock, never on the ControlNet: two samplers do not meet, and it is gone however the
run ends. It serves the whole picture only. Nodes that sample in tiles, areas or parts of a batch ask for other shapes
than the sampler's, and for these InfuseNet is computed as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...infusenet.speed import EVERY_STEP, Evaluation, RefreshPolicy, Reuse
from .gate import clock_of

Output = dict[str, tuple[Tensor, ...]]  # residuals of InfuseNet's own blocks, [B, L, width] each


def kept_or_computed(
    owner: Any,
    policy: RefreshPolicy,
    x: Tensor,
    t: Tensor,
    batched_number: int,
    transformer_options: dict[str, Any],
    compute: Callable[[], Output],
) -> Output:
    """InfuseNet's output for one evaluation, by a policy.

    Args:
        owner: whose output it is, one InfuseNet in one chain.
        policy: when to compute.
        x: latents [B, 16, h, w], B = images times batched_number.
        t: noise level [B].
        batched_number: conditionings in the batch.
        transformer_options: the host's.
        compute: gives the output.

    Returns:
        The output. The caller may write into its tensors: it has copies where they are kept.
    """
    clock, conditionings = clock_of(transformer_options), transformer_options.get("uuids")
    if policy == EVERY_STEP or clock is None or not conditionings or _is_a_part(x, clock.shape, batched_number):
        return compute()
    reuse = clock.reuse.setdefault(owner, Reuse(policy))
    output = reuse.of(tuple(conditionings), Evaluation(clock.step, t[0], x), compute)
    return {key: tuple(residual.clone() for residual in residuals) for key, residuals in output.items()}


def _is_a_part(x: Tensor, whole: tuple[int, ...], batched_number: int) -> bool:
    """Whether latents are not all that the sampler works on: a tile, an area, some pictures of a batch."""
    return len(whole) == 0 or tuple(x.shape) != (whole[0] * batched_number, *whole[1:])
