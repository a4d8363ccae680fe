"""The report as a whole: material in, its sections in order out."""

from edgetvm.measurement import utc_now
from edgetvm.reporting.build_sections import layers, reproduction, tuning
from edgetvm.reporting.document import Report
from edgetvm.reporting.material import Material
from edgetvm.reporting.measured_sections import device_states, latencies, samples, summary
from edgetvm.reporting.published_sections import accuracy, claims, published

_SECTIONS = (
    summary,
    accuracy,
    latencies,
    samples,
    tuning,
    layers,
    claims,
    published,
    device_states,
    reproduction,
)


def make_report(material: Material) -> Report:
    """Put the report on `material` together."""
    return Report(
        title="Small networks, tuned and measured",
        made_at=utc_now(),
        sections=tuple(section(material) for section in _SECTIONS),
    )
