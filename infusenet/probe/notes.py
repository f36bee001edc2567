"""What a trace says of its references and of the networks at work."""

from collections.abc import Sequence

from ..measures import Measure, ReferenceData, ReferenceInfo
from .records import RunInfo, same_network


def of_all(references: Sequence[ReferenceData], subject: str) -> ReferenceInfo:
    """One note on the references of all pictures."""
    if len(references) == 1:
        return references[0].info
    infos = [reference.info for reference in references]
    each = "one person per picture" if subject == "face" else "one reference per picture"
    return ReferenceInfo(
        sum(info.pictures for info in infos),
        f"{each}: {infos[0].source or 'references'}",
        sum(info.turned for info in infos),
    )


def circular(measure: Measure, info: RunInfo) -> list[str]:
    """A warning when the network that conditions is the one that measures."""
    conditioning = info.conditioning_recognizer
    if conditioning is None or not same_network(conditioning, measure.name):
        return []
    network = "recognizer" if measure.rule.subject == "face" else "network"
    return [
        f"The same {network} is used for conditioning and for measuring ({measure.name}), so the similarity looks "
        f"better than it is. Measure with another {network}."
    ]
