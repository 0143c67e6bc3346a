"""The lifecycle acts on a tenant's page: when each is possible, who may do it, and what it says beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils import timezone

from provisioning import services
from provisioning.admin.facts import Live
from provisioning.admin.tenant_forms import (
    CredentialForm,
    DeleteForm,
    MigratorForm,
    PurgeForm,
    RevealForm,
    RotateForm,
)
from provisioning.credentials import reveal_credentials
from provisioning.services import Outcome, Provisioned
from tenants.admin.forms import ReasonForm
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import Tenant

State = Tenant.State
Lines = list[str]


@dataclass(frozen=True)
class Act:
    """One thing that can be done to a tenant."""

    name: str
    label: str
    icon: str
    permission: str
    states: tuple[str, ...]
    form: type[forms.Form]
    perform: Callable[..., Outcome]
    explain: Callable[[Tenant, Live | None], Lines]
    done: str
    variant: str = "default"
    # Whether the person must have shown their password within the last five minutes.
    confirm: bool = False

    @property
    def danger(self) -> bool:
        """Whether it takes something away."""
        return self.variant == "danger"

    def possible(self, request: HttpRequest, tenant: Tenant) -> bool:
        """Whether the tenant's state and the person's permissions allow it."""
        return tenant.state in self.states and request.user.has_perm(self.permission)


def _until(tenant: Tenant) -> str:
    return f"{tenant.purge_after:%Y-%m-%d %H:%M} UTC" if tenant.purge_after else "–"


def _sessions(found: Live | None) -> str:
    if found is None:
        return "Open sessions are ended."
    return f"{found.sessions} open session{'s' * (found.sessions != 1)} of its logins are ended."


def _explain_suspend(tenant: Tenant, found: Live | None) -> Lines:
    return [
        "Both logins are closed.",
        _sessions(found),
        "Data, roles and credentials stay; resume brings access back.",
    ]


def _explain_resume(tenant: Tenant, _: Live | None) -> Lines:
    return ["The logins that were issued are opened again, with the passwords they had."]


def _explain_delete(tenant: Tenant, found: Live | None) -> Lines:
    if tenant.state == State.FAILED:
        return ["Provisioning failed and left nothing on the cluster.", "It is purged at once; its slug is free again."]
    days = tenant.plan.grace_days
    end = timezone.now() + timedelta(days=days)
    return [
        "Both logins are closed.",
        _sessions(found),
        f"The schema and all its data are kept for the grace period ({days} days by its plan); undelete brings "
        "everything back, with the same credentials.",
        f"After that it is purged for good; with the plan's period that is on {end:%Y-%m-%d}.",
    ]


def _explain_undelete(tenant: Tenant, _: Live | None) -> Lines:
    return [
        f"The tenant is {tenant.restore_state or 'active'} again, as before its deletion, with the same credentials.",
        f"Its purge on {_until(tenant)} is called off.",
    ]


def _explain_purge(tenant: Tenant, found: Live | None) -> Lines:
    tables = f"its {found.tables} tables" if found else "all its tables"
    early = tenant.purge_after is not None and tenant.purge_after > timezone.now()
    return [
        f"The schema {tenant.schema_name} with {tables} and all data is dropped. Nothing of it can be brought back.",
        "Its roles are dropped, and the slug becomes free.",
        *([f"Its grace period lasts until {_until(tenant)}: purging now cuts it short."] if early else []),
        "A worker does it, in batches; its history in the audit log stays.",
    ]


def _explain_rotate(tenant: Tenant, _: Live | None) -> Lines:
    return [
        "The other of the two logins is opened with a new password, which is shown once, on the next page.",
        f"The present login works for another {tenant.plan.rotation_overlap_minutes} minutes by its plan, and then "
        f"until it is no longer used, for {tenant.plan.rotation_deadline_days} days at most. Its sessions are ended.",
        "With an overlap of your own it is closed exactly then; in an emergency at once.",
    ]


def _explain_migrator(tenant: Tenant, _: Live | None) -> Lines:
    return [
        "A login that acts as the owner of the schema is made; its password is shown once, on the next page.",
        "The guard gives new tables row-level security and refuses what would open the schema to others.",
        "It is taken away when its time is over, and with the tenant's suspension.",
    ]


def _explain_close_migrator(tenant: Tenant, _: Live | None) -> Lines:
    return ["Its sessions are ended, the login is dropped, and the schema's protection is looked at again."]


def _open_migrator(**options: Any) -> Outcome:
    opened = services.open_migrator(**options)
    return Provisioned(opened.window.tenant, None, opened.connection)


def _close_migrator(*, tenant_id: Any, reason: str, **caller: Any) -> Outcome:
    window = services.close_migrator(tenant_id=tenant_id, **caller)
    if window is None:
        raise Conflict("No migrator of this tenant is open.", code="no_migrator")
    return Outcome(services.get_tenant(tenant_id), None)


def _explain_reveal(tenant: Tenant, _: Live | None) -> Lines:
    return ["The present login's password is shown on the next page. The audit log keeps who saw it, and why."]


def _explain_credential(tenant: Tenant, _: Live | None) -> Lines:
    return [
        "Another login is made, of at most 5 connections; its password is shown once, on the next page.",
        "When its time is over, or the tenant is suspended or deleted, its sessions are ended and it is dropped.",
    ]


def _reveal(*, tenant_id: Any, **options: Any) -> Outcome:
    connection = reveal_credentials(tenant_id=tenant_id, **options)
    return Provisioned(services.get_tenant(tenant_id), None, connection)


def _issue(*, tenant_id: Any, **options: Any) -> Outcome:
    issued = services.issue_credential(tenant_id=tenant_id, **options)
    return Provisioned(services.get_tenant(tenant_id), None, issued.connection)


def _delete(*, tenant_id: Any, confirm_slug: str, **options: Any) -> Outcome:
    if confirm_slug != services.get_tenant(tenant_id).slug:
        raise InvalidInput("This is not the tenant's slug.", field="confirm_slug")
    return services.delete_tenant(tenant_id=tenant_id, **options)


def _purge(**options: Any) -> Outcome:
    return services.purge_tenant(**options, force=True)


ACTS: tuple[Act, ...] = (
    Act(
        "suspend", "Suspend", "pause_circle", "tenants.suspend_tenant", (State.ACTIVE,), ReasonForm,
        services.suspend_tenant, _explain_suspend, "is suspended: its logins are closed and no session is left.",
    ),
    Act(
        "resume", "Resume", "play_circle", "tenants.resume_tenant", (State.SUSPENDED,), ReasonForm,
        services.resume_tenant, _explain_resume, "is active again.", "primary",
    ),
    Act(
        "rotate", "Rotate credentials", "key", "tenants.rotate_tenant", (State.ACTIVE,), RotateForm,
        services.rotate_credentials, _explain_rotate, "has new credentials.", confirm=True,
    ),
    Act(
        "migrator", "Open migrator", "construction", "provisioning.open_migrator", (State.ACTIVE,), MigratorForm,
        _open_migrator, _explain_migrator, "has a migrator.", confirm=True,
    ),
    Act(
        "close-migrator", "Close migrator", "handyman", "provisioning.open_migrator", (State.ACTIVE,), ReasonForm,
        _close_migrator, _explain_close_migrator, "has no migrator any more.",
    ),
    Act(
        "reveal", "Show credentials", "visibility", "tenants.reveal_credentials", (State.ACTIVE, State.SUSPENDED),
        RevealForm, _reveal, _explain_reveal, "", confirm=True,
    ),
    Act(
        "lend", "Add a login", "person_add", "provisioning.issue_credential", (State.ACTIVE,), CredentialForm,
        _issue, _explain_credential, "", confirm=True,
    ),
    Act(
        "undelete", "Undelete", "restore_from_trash", "tenants.undelete_tenant", (State.DELETED,), ReasonForm,
        services.undelete_tenant, _explain_undelete, "is back, with the credentials it had.", "primary",
    ),
    Act(
        "remove", "Delete", "delete", "tenants.delete_tenant", (State.ACTIVE, State.SUSPENDED, State.FAILED),
        DeleteForm, _delete, _explain_delete, "is deleted.", "danger", confirm=True,
    ),
    Act(
        "purge", "Purge", "delete_forever", "tenants.purge_tenant", (State.DELETED,), PurgeForm,
        _purge, _explain_purge, "is being purged.", "danger", confirm=True,
    ),
)  # fmt: skip

EDITABLE_STATES = (State.ACTIVE, State.SUSPENDED, State.DELETED, State.FAILED)


def possible_acts(request: HttpRequest, tenant: Tenant) -> Iterable[Act]:
    """The acts to offer on a tenant's page."""
    return [act for act in ACTS if act.possible(request, tenant)]
