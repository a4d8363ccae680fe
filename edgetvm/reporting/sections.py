"""The report as a whole: evidence in, its sections in order out."""

from edgetvm.measurement import utc_now
from edgetvm.reporting.build_sections import layers, reproduction, tuning
from edgetvm.reporting.document import Report
from edgetvm.reporting.evidence import Evidence
from edgetvm.reporting.measured_sections import device_states, latencies, samples, summary
from edgetvm.reporting.published_sections import accuracy, published

_SECTIONS = (
    summary,
    accuracy,
    latencies,
    samples,
    tuning,
    layers,
    published,
    device_states,
    reproduction,
)


def make_report(evidence: Evidence) -> Report:
    """Put the report on `evidence` together."""
    return Report(
        title="Small networks, tuned and measured",
        made_at=utc_now(),
        sections=tuple(section(evidence) for section in _SECTIONS),
    )
