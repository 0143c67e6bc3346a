"""Turns any schema into a compiled clone script, and proves its clones.

`compile_template` does the whole of it; `render` makes the script for one clone; `fingerprints` tells whether schemas
still are what their template says.
"""

from tenants.exceptions import TemplateRefused
from tenants.schemas.compiler.assemble import render
from tenants.schemas.compiler.compile import compile_template
from tenants.schemas.compiler.fingerprint import ask_fingerprints, catalog_rows, fingerprints
from tenants.schemas.compiler.model import (
    CompiledTemplate,
    DumpFile,
    ExtensionNeed,
    LiveSchema,
    Source,
    SqlDirectory,
)
from tenants.schemas.compiler.scratch import drop_stale_scratch
from tenants.schemas.compiler.verify import measure_fingerprint
from tenants.schemas.timeseries import TimeSeries

__all__ = [
    "CompiledTemplate",
    "DumpFile",
    "ExtensionNeed",
    "LiveSchema",
    "Source",
    "SqlDirectory",
    "TemplateRefused",
    "TimeSeries",
    "ask_fingerprints",
    "catalog_rows",
    "compile_template",
    "drop_stale_scratch",
    "fingerprints",
    "measure_fingerprint",
    "render",
]
