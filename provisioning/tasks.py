"""Celery's ways in: each wakes a service and nothing more."""

from __future__ import annotations

from celery import shared_task

from provisioning import isolation, maintenance, pool


@shared_task(name="provisioning.fill_pools")
def fill_pools() -> int:
    """Build one missing slot and ask again: tenants that wait for a worker come in between."""
    built = pool.fill_pools(limit=1)
    if built:
        fill_pools.apply_async(retry=False)
    return built


@shared_task(name="provisioning.reap_slots")
def reap_slots() -> int:
    """Take away retired slots and what dead builders left."""
    return pool.reap_slots()


@shared_task(name="provisioning.retire_logins")
def retire_logins() -> int:
    """Note when old logins were last used, and close those whose time is over."""
    return maintenance.retire_logins()


@shared_task(name="provisioning.rotate_due")
def rotate_due() -> int:
    """Rotate logins that are older than their plans allow."""
    return maintenance.rotate_due()


@shared_task(name="provisioning.close_credentials")
def close_credentials() -> int:
    """Close additional logins whose time is over."""
    return maintenance.close_credentials()


@shared_task(name="provisioning.close_migrators")
def close_migrators() -> int:
    """Close migrators whose window is over."""
    return maintenance.close_migrators()


@shared_task(name="provisioning.purge_due")
def purge_due() -> int:
    """Purge tenants whose grace period has ended."""
    return maintenance.purge_due()


@shared_task(name="provisioning.drop_scratch")
def drop_scratch() -> int:
    """Drop what imports that were killed left behind."""
    return maintenance.drop_scratch()


@shared_task(name="provisioning.maintain_timeseries")
def maintain_timeseries() -> int:
    """Make time-series partitions ahead, and drop those past their retention."""
    return maintenance.maintain_timeseries()


@shared_task(name="provisioning.check_isolation")
def check_isolation() -> int:
    """Prove that tenants are kept apart, on every cluster."""
    return isolation.check_all()


@shared_task(name="provisioning.probe_new_tenants")
def probe_new_tenants() -> int:
    """Try with the logins of tenants that were never tried."""
    return isolation.probe_new_tenants()
