"""The one way in: admin, REST, commands and beat call these functions and nothing below them.

Each checks whether the act is allowed, writes down the operation and the audit event in one transaction, and then
has the work done: here and now where it takes milliseconds, by a worker where it takes longer.
"""

from provisioning.services.additional import Issued, close_credential, close_credentials, issue_credential
from provisioning.services.approvals import (
    AwaitingApproval,
    expire_requests,
    get_purge_request,
    reject_purge,
)
from provisioning.services.changes import apply_plan, update_tenant
from provisioning.services.common import Connection, Outcome, Provisioned, connection_of, get_tenant
from provisioning.services.lifecycle import (
    approve_purge,
    delete_tenant,
    purge_tenant,
    resume_tenant,
    suspend_tenant,
    undelete_tenant,
)
from provisioning.services.migrator import close_migrator, open_migrator
from provisioning.services.provision import provision_tenant, retry_provision
from provisioning.services.rotation import logins_to_close, retire_logins, rotate_by_policy, rotate_credentials

__all__ = [
    "AwaitingApproval",
    "Connection",
    "Issued",
    "Outcome",
    "Provisioned",
    "apply_plan",
    "approve_purge",
    "close_credential",
    "close_credentials",
    "close_migrator",
    "connection_of",
    "delete_tenant",
    "expire_requests",
    "get_purge_request",
    "get_tenant",
    "issue_credential",
    "logins_to_close",
    "open_migrator",
    "provision_tenant",
    "purge_tenant",
    "reject_purge",
    "resume_tenant",
    "retire_logins",
    "retry_provision",
    "rotate_by_policy",
    "rotate_credentials",
    "suspend_tenant",
    "undelete_tenant",
    "update_tenant",
]
