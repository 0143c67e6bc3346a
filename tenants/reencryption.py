"""A new encryption key reaches everything that is stored encrypted; the old one may go when nothing needs it.

There is no list of columns to keep: whatever is an `EncryptedField` is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models, transaction

from tenants import audit, secrets
from tenants.actors import Actor, Source
from tenants.exceptions import InvalidInput, SecretUnreadable
from tenants.models.fields import EncryptedField

BATCH = 500
MAX_BATCH = 10_000

Told = Callable[[str, int], None]


@dataclass
class Column:
    """An encrypted column, and how many of its texts are under which key (0 is the newest); empty ones do not count."""

    model: type[models.Model]
    name: str
    under: Counter[int] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """For people: `tenants.TenantRole.secret`."""
        return f"{self.model._meta.label}.{self.name}"

    @property
    def outdated(self) -> int:
        """How many are under a key that is not the newest."""
        return sum(count for number, count in self.under.items() if number)

    def rows(self) -> Any:
        """Those with something in them, by key."""
        return self.model._base_manager.exclude(**{self.name: ""}).order_by("pk")


def columns() -> list[Column]:
    """Every encrypted column of every model there is."""
    return [
        Column(model, column.name)
        for model in apps.get_models()
        for column in model._meta.local_fields
        if isinstance(column, EncryptedField)
    ]


def survey() -> list[Column]:
    """Read all that is encrypted and say which key each text is under. Changes nothing."""
    found = columns()
    for column in found:
        for pk, token in column.rows().values_list("pk", column.name).iterator(chunk_size=BATCH):
            try:
                column.under[secrets.key_number(token)] += 1
            except SecretUnreadable:
                column.unreadable.append(str(pk))
    return found


def removable_keys(found: list[Column]) -> list[str]:
    """The names of the configured keys, but for the newest, that nothing in a survey is under.

    None while something is unreadable: its key may be the one that everybody believes to be of no use.
    """
    if any(column.unreadable for column in found):
        return []
    needed = {number for column in found for number in column.under}
    keys = list(enumerate(settings.FIELD_ENCRYPTION_KEYS))
    return [secrets.key_name(key) for number, key in keys if number and number not in needed]


def rotate_encryption_key(
    *, batch: int = BATCH, tell: Told = lambda *_: None, actor: Actor, source: Source
) -> list[Column]:
    """Write everything that is under an older key again under the newest, then read all of it once more.

    Each batch is a transaction with its audit event, and what is under the newest key is left alone, so whoever
    begins again after a kill goes on where it ended, and two at once do no harm. `tell` hears a column and a number
    of texts as they are done. What cannot be read stays as it is. Returns the last survey.
    """
    if not 1 <= batch <= MAX_BATCH:
        raise InvalidInput(f"A batch has 1 to {MAX_BATCH} texts.", field="batch")
    for column in columns():
        for tokens in _outdated(column, batch):
            done = _rewrite(column, tokens, actor=actor, source=source)
            tell(column.label, done)
    return survey()


def _outdated(column: Column, batch: int) -> Iterator[dict[Any, str]]:
    """Keys and texts of the rows to rewrite, in batches; never more of them in memory."""
    after: Any = None
    while True:
        rows = column.rows() if after is None else column.rows().filter(pk__gt=after)
        page = list(rows.values_list("pk", column.name)[:batch])
        if not page:
            return
        after = page[-1][0]
        if old := {pk: token for pk, token in page if _is_outdated(token)}:
            yield old


def _is_outdated(token: str) -> bool:
    try:
        return secrets.key_number(token) > 0
    except SecretUnreadable:
        return False


def _rewrite(column: Column, tokens: dict[Any, str], *, actor: Actor, source: Source) -> int:
    """Only where the text is still what was read: somebody may be giving that row another one now."""
    newest = secrets.key_name(settings.FIELD_ENCRYPTION_KEYS[0])
    with transaction.atomic():
        rows = column.model._base_manager
        changed = sum(
            rows.filter(pk=pk, **{column.name: token}).update(**{column.name: secrets.encrypt(secrets.decrypt(token))})
            for pk, token in tokens.items()
        )
        audit.record(
            "encryption_key.rotate", actor=actor, source=source,
            after={"column": column.label, "texts": changed, "key": newest},
        )  # fmt: skip
    return changed
