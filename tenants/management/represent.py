"""Rows as the JSON documents of commands; the names are those of the REST interface. Never a secret."""

from __future__ import annotations

from typing import Any

from tenants.models import ApiKey, Cluster, Operation, OperationStep, Pooler, Tenant


def tenant(row: Tenant) -> dict[str, Any]:
    """A tenant, without what only its own page shows."""
    return {
        "id": str(row.pk),
        "name": row.name,
        "slug": row.slug,
        "state": row.state,
        "state_reason": row.state_reason,
        "schema_name": row.schema_name,
        "cluster": row.cluster.server.name,
        "plan": row.plan.slug,
        "isolation_tier": row.plan.isolation_tier,
        "template": row.template,
        "template_version": row.template_version,
        "labels": row.labels,
        "limits": row.limits,
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "deleted_at": row.deleted_at,
        "purge_after": row.purge_after,
    }


def operation(row: Operation, *, steps: bool = False) -> dict[str, Any]:
    """An operation, with its steps on request."""
    document = {
        "id": str(row.pk),
        "kind": row.kind,
        "state": row.state,
        "progress": row.progress,
        "tenant": {"id": str(row.tenant.pk), "slug": row.tenant.slug} if row.tenant else None,
        "cluster": row.cluster.name if row.cluster else None,
        "reason": row.reason,
        "result": row.result,
        "error": row.error,
        "attempt": row.attempt,
        "worker": row.worker,
        "actor": {"kind": row.actor_kind, "id": row.actor_id, "label": row.actor_label},
        "channel": row.channel,
        "request_id": row.request_id,
        "retry_of": str(row.retry_of_id) if row.retry_of_id else None,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "seconds": row.seconds,
    }
    if steps:
        document["steps"] = [step(each) for each in row.steps.all()]
    return document


def step(row: OperationStep) -> dict[str, Any]:
    """One step of an operation."""
    ended = row.ended_at
    return {
        "name": row.name,
        "state": row.state,
        "attempt": row.attempt,
        "started_at": row.started_at,
        "ended_at": ended,
        "seconds": (ended - row.started_at).total_seconds() if ended else None,
        "error": row.error,
    }


def cluster(row: Cluster) -> dict[str, Any]:
    """A cluster and what was last read of it."""
    dsn = {"host": row.host, "port": row.port, "dbname": row.dbname, "username": row.username}
    if row.is_default or row.host_cluster:
        own = row.dsn()
        dsn = {"host": own.host, "port": own.port, "dbname": own.dbname, "username": own.user}
    return {
        "name": row.name,
        "description": row.description,
        "state": row.state,
        "is_default": row.is_default,
        "dedicated": row.dedicated,
        "dedicated_to": row.dedicated_to.slug if row.dedicated_to else None,
        "host_cluster": row.host_cluster.name if row.host_cluster else None,
        **dsn,
        "sslmode": row.sslmode,
        "public_host": row.public_host,
        "public_port": row.public_port,
        "pool_target": row.pool_target,
        "max_parallel": row.max_parallel,
        "log_path": row.log_path,
        "server_version": row.server_version,
        "extensions": {name: facts.get("version") for name, facts in row.extensions.items()},
        "isolation_level": row.isolation_level,
        "warnings": [text for text in (row.isolation_warning, row.patch_warning) if text],
        "checked_at": row.checked_at,
        "last_error": row.last_error,
    }


def pooler(row: Pooler) -> dict[str, Any]:
    """A pooler and what was last read of it."""
    server_host, server_port = row.server_address()
    return {
        "cluster": row.cluster.name,
        "host": row.host,
        "port": row.port,
        "username": row.username,
        "server_host": server_host,
        "server_port": server_port,
        "config_path": row.config_path,
        "log_path": row.log_path,
        "state": row.state,
        "version": row.version,
        "direct_wanted": row.direct_wanted,
        "direct_found": row.direct_found,
        "warnings": row.warnings(),
        "facts": row.facts,
        "checked_at": row.checked_at,
        "applied_at": row.applied_at,
        "last_error": row.last_error,
    }


def api_key(row: ApiKey) -> dict[str, Any]:
    """An API key, without the key."""
    return {
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "tenant": row.tenant.slug if row.tenant else None,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }
