"""What was measured over time, for charts and lists: series by span, who is largest, how fast it grows."""

from monitoring.history.creation import CRITICAL_SECONDS, WARNING_SECONDS, Creations, creations
from monitoring.history.growth import GROWTH_DAYS, Growth, fastest_growing, growth_of
from monitoring.history.series import SPANS, Line, Series, Span, series, span_of
from monitoring.history.top import Top, top

__all__ = [
    "CRITICAL_SECONDS",
    "GROWTH_DAYS",
    "SPANS",
    "WARNING_SECONDS",
    "Creations",
    "Growth",
    "Line",
    "Series",
    "Span",
    "Top",
    "creations",
    "fastest_growing",
    "growth_of",
    "series",
    "span_of",
    "top",
]
