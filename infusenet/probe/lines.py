"""The lines that a trace's curve is judged by, and where it is above them: pure functions on a trace."""

from collections.abc import Sequence

from ..measures.lines import Line, bar_of, judging_lines, published_name
from .trace import Trace


def known_lines(trace: Trace) -> tuple[Line, ...]:
    """The lines that a trace's likeness is judged by, as far as they are known."""
    return judging_lines(trace.strangers, trace.blank, "face" if trace.rule is None else trace.rule.subject)


def lines_of(trace: Trace) -> tuple[Line, ...]:
    """All lines that a trace knows of, those that a likeness is judged by first."""
    lines = [*known_lines(trace)]
    if trace.published_line is not None:
        lines.append(Line("published", published_name(trace.recognizer), trace.published_line))
    if trace.ceiling is not None:
        lines.append(Line("genuine", f"same {trace.wording.model}, other pictures", trace.ceiling))
    return tuple(lines)


def first_above(trace: Trace) -> int | None:
    """The first step that is seen above every known line by two deviations; None where there is none, or no line."""
    bar = bar_of(trace.strangers, trace.blank)
    if bar is None:
        return None
    looked = [*trace.records, *([trace.final] if trace.final is not None else [])]
    means = ((record.step, trace.mean(record)) for record in looked)
    return next((step for step, mean in means if mean is not None and mean > bar), None)


def above_in_words(trace: Trace) -> str | None:
    """From which step on the curve is above the lines; None where no line is known or nothing was seen."""
    known = [line for line in known_lines(trace) if line.std is not None]
    if not known or not any(mean is not None for mean in trace.means):
        return None
    alone = trace.wording.others if known[0].kind == "impostor" else "the blank line"
    lines = "both lines" if len(known) > 1 else alone
    step = first_above(trace)
    return f"never above {lines}" if step is None else f"above {lines} from step {step}"


def shared(traces: Sequence[Trace]) -> bool:
    """Whether traces are judged by the same lines."""
    return len({(trace.strangers, trace.blank) for trace in traces}) < 2
