"""What lies in a storage and is in no row here: shown, and left to people.

It may be another control plane's, a backup of a registry that was lost, or what somebody put there.
"""

from __future__ import annotations

import logging
from collections import Counter

from django.db.models import Q
from django.utils import timezone

from backups.models import BackupCopy, Storage
from backups.storage.opening import open_storage

log = logging.getLogger(__name__)
SHOWN = 100
DEPTH = 2  # <tenant>/<backup>


def note_unknown(row: Storage) -> int:
    """List a storage, and write down what of it nobody here knows. Returns how many prefixes. Raises StorageError."""
    begun = timezone.now()
    sizes: Counter[str] = Counter()
    for found in open_storage(row).list(""):
        sizes["/".join(found.key.split("/")[:DEPTH])] += found.size
    # A row is there before the first file and until after the last; what went meanwhile was known.
    copies = BackupCopy.objects.filter(~Q(state=BackupCopy.State.DELETED) | Q(deleted_at__gte=begun), storage=row)
    known = set(copies.values_list("prefix", flat=True))
    unknown = sorted(set(sizes) - known)
    Storage.objects.filter(pk=row.pk).update(
        unknown=[{"prefix": prefix, "bytes": sizes[prefix]} for prefix in unknown[:SHOWN]],
        unknown_count=len(unknown), listed_at=begun,
    )  # fmt: skip
    if len(unknown) != row.unknown_count:
        log.warning("backup.storage_unknown", extra={"storage": row.name, "prefixes": len(unknown)})
    return len(unknown)
