"""Importing templates: compile, prove, and keep as a new immutable version."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from django.db import transaction
from psycopg import sql

from provisioning.django_apps import DjangoApps
from provisioning.models import Template, TemplateVersion
from tenants import audit
from tenants.actors import Actor, Source
from tenants.exceptions import ClusterError, InvalidInput, TemplateRefused
from tenants.models import Cluster
from tenants.postgres import Dsn, connect
from tenants.schemas import compiler

TEMPLATE_NAME = re.compile(r"[a-z](?:[a-z0-9_-]{0,61}[a-z0-9])?\Z")


def check_template_name(name: object) -> str:
    """Return `name` if a template can be called so. Raises InvalidInput."""
    if not isinstance(name, str) or not TEMPLATE_NAME.match(name):
        raise InvalidInput(
            "A template's name has 1 to 63 characters of a-z, 0-9, '_' and '-', beginning with a letter.", field="name"
        )
    return name


def import_template(
    *,
    name: str,
    origin: compiler.Source,
    description: str = "",
    default: bool = False,
    with_data: bool = True,
    cluster: Cluster | None = None,
    actor: Actor,
    source: Source,
) -> tuple[TemplateVersion, bool]:
    """Compile `origin` on a cluster (the default one) and keep it as the template's next version.

    Returns the version and whether it is new: the same content again gives the version that is there. Raises
    InvalidInput, TemplateRefused naming file, line, statement and reason; nothing half-imported stays.
    """
    check_template_name(name)
    cluster = cluster or Cluster.objects.get(is_default=True)
    compiled = compiler.compile_template(origin, dsn=cluster.dsn(), reader=cluster.dsn("backup"), with_data=with_data)
    _create_extensions(cluster.dsn(), compiled.extensions)
    return _keep(name, compiled, origin, description, default, actor, source)


def _create_extensions(dsn: Dsn, needed: list[compiler.ExtensionNeed]) -> None:
    """Make the extensions a template needs where our login may. Raises TemplateRefused naming what must be done."""
    for extension in needed:
        statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}").format(
            sql.Identifier(extension.name), sql.Identifier(extension.schema)
        )
        try:
            with connect(dsn, autocommit=True) as connection:
                connection.execute(statement)
        except ClusterError as error:
            raise TemplateRefused(
                reason=f"it needs the extension {extension.name}: {error.message}",
                hint=f"As superuser in {dsn.dbname}: {statement.as_string(None)};",
            ) from error


def _keep(
    name: str,
    compiled: compiler.CompiledTemplate,
    origin: compiler.Source,
    description: str,
    default: bool,
    actor: Actor,
    source: Source,
) -> tuple[TemplateVersion, bool]:
    with transaction.atomic():
        template = Template.objects.get_or_create(name=name)[0]
        template = Template.objects.select_for_update().get(pk=template.pk)
        _describe(template, description or compiled.description, default)
        latest = template.latest()
        if latest is not None and _content(latest.script, latest.marker) == _content(compiled.script, compiled.marker):
            return latest, False
        version = TemplateVersion.objects.create(
            template=template,
            number=(latest.number if latest else 0) + 1,
            source=_describe_origin(origin)[:300],
            script=compiled.script,
            marker=compiled.marker,
            fingerprints={str(compiled.server_version_num // 10000): compiled.fingerprint},
            size=compiled.size,
            extensions=[asdict(extension) for extension in compiled.extensions],
            timeseries=[asdict(spec) for spec in compiled.timeseries],
            notes=compiled.notes,
            compiled_on=compiled.server_version_num,
        )
        audit.record("template.import", actor=actor, source=source, target=version, after=_facts(version))
    return version, True


def _describe_origin(origin: compiler.Source) -> str:
    if isinstance(origin, DjangoApps):
        return f"DjangoApps: {', '.join(origin.apps)}"
    return f"{type(origin).__name__}: {next(iter(asdict(origin).values()))}"


def _describe(template: Template, description: str, default: bool) -> None:
    if description:
        template.description = description[:300]
    if default and not template.is_default:
        Template.objects.filter(is_default=True).update(is_default=False)
        template.is_default = True
    template.save()


def _content(script: str, marker: str) -> str:
    return script.replace(marker, "@")


def _facts(version: TemplateVersion) -> dict[str, Any]:
    return {**version.as_reference(), "size": version.size, "fingerprints": version.fingerprints}
