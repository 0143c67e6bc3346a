"""Serializer fields that take a value for what it is: "true" is no boolean, 1.5 and true are no integers."""

from __future__ import annotations

import functools
from typing import Any

from rest_framework import serializers

from tenants.exceptions import InvalidInput


@functools.cache
def _one(serializer: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    """One serializer of a class for the whole process: making one copies all its fields, using it changes none."""
    return serializer()


def represent(serializer: type[serializers.Serializer[Any]], value: Any) -> dict[str, Any]:
    """`value` as `serializer` shows it."""
    return _one(serializer).to_representation(value)


def validate(serializer: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """`data` as `serializer` validates it. Raises ValidationError with all there is against it."""
    return _one(serializer).run_validation(data)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know, by name."""

    def to_internal_value(self, data: Any) -> Any:
        """The valid values. Raises ValidationError with every error there is, unknown fields among them."""
        if not isinstance(data, dict):
            raise serializers.ValidationError("This must be an object.", code="invalid_type")
        unknown = {
            name: [serializers.ErrorDetail("There is no such field.", code="unknown_field")]
            for name in data
            if name not in self.fields or self.fields[name].read_only
        }
        if not unknown:
            return super().to_internal_value(data)
        try:
            super().to_internal_value(data)
        except serializers.ValidationError as error:
            unknown = {**error.detail, **unknown}  # type: ignore[dict-item]
        raise serializers.ValidationError(unknown)


class TextField(serializers.CharField):
    """A string, not trimmed, not made of a number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        """Raises ValidationError for anything but a string."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class CheckedField(TextField):
    """A string that one of the domain's checks accepts; `check` raises InvalidInput."""

    def __init__(self, *, check: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check

    def to_internal_value(self, data: Any) -> str:
        """What `check` makes of it. Raises ValidationError with its message, code and hint."""
        text = super().to_internal_value(data)
        return checked(self.check, text)


def checked(check: Any, value: Any) -> Any:
    """`check(value)`, its InvalidInput as a ValidationError of this field."""
    try:
        return check(value)
    except InvalidInput as error:
        raise serializers.ValidationError(str(error), code=error.code) from error


class WholeNumberField(serializers.IntegerField):
    """A JSON integer."""

    def to_internal_value(self, data: Any) -> int:
        """Raises ValidationError for anything but an integer (true and 1.0 are none)."""
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """A JSON boolean."""

    def to_internal_value(self, data: Any) -> bool:
        """Raises ValidationError for anything but true and false."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data
