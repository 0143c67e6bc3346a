"""Columns that hold something encrypted."""

from __future__ import annotations

from typing import Any

from django.db import models


class EncryptedField(models.TextField):
    """A text as `tenants.secrets.encrypt` made it, or nothing. To the database it is any text.

    It encrypts nothing by itself; it is how `tenants.reencryption` finds every column that a new key must reach, and
    a test finds what is encrypted and no such column.
    """

    def deconstruct(self) -> Any:
        """As the text field it is to migrations."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs
