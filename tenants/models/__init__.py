"""The registry: what exists, who may use it, what is being done and what was done."""

from tenants.models.access import ApiKey, IdempotencyRecord
from tenants.models.audit import (
    AuditCheckpoint,
    AuditEvent,
    AuditFilter,
    AuditReview,
    AuditSeal,
    AuditSealer,
    AuditSink,
    AuditVerification,
)
from tenants.models.clusters import Cluster, ClusterLogin
from tenants.models.isolation import (
    IsolationAttempt,
    IsolationCheck,
    IsolationFinding,
    LogWatch,
    PoolerLogWatch,
    TenantProbe,
)
from tenants.models.operations import Operation, OperationStep
from tenants.models.plans import Plan, Tier
from tenants.models.poolers import Pooler
from tenants.models.reaping import Reaper
from tenants.models.tenants import Domain, Tenant, TenantRole

__all__ = [
    "ApiKey",
    "AuditCheckpoint",
    "AuditEvent",
    "AuditFilter",
    "AuditReview",
    "AuditSeal",
    "AuditSealer",
    "AuditSink",
    "AuditVerification",
    "Cluster",
    "ClusterLogin",
    "Domain",
    "IdempotencyRecord",
    "IsolationAttempt",
    "IsolationCheck",
    "IsolationFinding",
    "LogWatch",
    "Operation",
    "OperationStep",
    "Plan",
    "Pooler",
    "PoolerLogWatch",
    "Reaper",
    "Tenant",
    "TenantProbe",
    "TenantRole",
    "Tier",
]
