"""Turns any schema into a compiled clone script, and proves its clones.

`compile_template` does the whole of it; `render` makes the script for one clone; `fingerprints` tells whether schemas
still are what their template says.
"""

from provisioning.compiler.assemble import render
from provisioning.compiler.compile import compile_template
from provisioning.compiler.fingerprint import catalog_rows, fingerprints
from provisioning.compiler.model import (
    CompiledTemplate,
    DumpFile,
    ExtensionNeed,
    LiveSchema,
    Source,
    SqlDirectory,
)
from provisioning.compiler.scratch import drop_stale_scratch
from provisioning.compiler.verify import measure_fingerprint
from provisioning.timeseries import TimeSeries
from tenants.exceptions import TemplateRefused

__all__ = [
    "CompiledTemplate",
    "DumpFile",
    "ExtensionNeed",
    "LiveSchema",
    "Source",
    "SqlDirectory",
    "TemplateRefused",
    "TimeSeries",
    "catalog_rows",
    "compile_template",
    "drop_stale_scratch",
    "fingerprints",
    "measure_fingerprint",
    "render",
]
