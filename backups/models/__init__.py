"""What is to be backed up, when and where to; what was, and how much of it is proven."""

from backups.models.archives import ClusterArchive, Recovery
from backups.models.backups import Backup, BackupCopy, BackupStatus
from backups.models.policies import BackupPolicy, PolicyOverride
from backups.models.restores import KeptSchema, RestoreDrill
from backups.models.storages import Storage

__all__ = [
    "Backup",
    "BackupCopy",
    "BackupPolicy",
    "BackupStatus",
    "ClusterArchive",
    "KeptSchema",
    "PolicyOverride",
    "Recovery",
    "RestoreDrill",
    "Storage",
]
