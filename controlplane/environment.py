"""Reading the environment. Whatever is wrong with it raises ImproperlyConfigured with one line, never the value."""

from __future__ import annotations

import builtins
import ipaddress
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

FALSE_WORDS = ("false", "off", "no", "n", "0", "")


def secret(name: str, default: str | None = None) -> str:
    """The environment's NAME, or the contents of the file that NAME_FILE names (which comes first).

    Raises ImproperlyConfigured when it is missing, empty or unreadable.
    """
    if path := os.environ.get(f"{name}_FILE"):
        try:
            value: str | None = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ImproperlyConfigured(f"{name}_FILE names {path}, which cannot be read: {reason}.") from error
        if not value:
            raise ImproperlyConfigured(f"{name}_FILE names {path}, which is empty.")
    else:
        value = os.environ.get(name) or default
    if value is None:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE in the environment (`make run` does it for you).")
    return value


def database(name: str) -> dict[str, Any]:
    """Django's description of the database that the secret NAME, a URL, names. Raises as `secret` does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of environ, about other schemes; they are refused by a check
            config: dict[str, Any] = environ.Env.db_url_config(secret(name))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not a URL: postgres://USER:PASSWORD@HOST:PORT/DATABASE") from error
    return config


class Environment(environ.Env):
    """django-environ, but strict: a number that is none and a truth value that is none are refused by name."""

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        """The value of `var`; raises ImproperlyConfigured when it does not fit its type."""
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var} in the environment is not a number.") from error

    def bool(self, var: str, *args: Any, **kwargs: Any) -> builtins.bool:
        """The truth value of `var`; raises ImproperlyConfigured for words that are neither true nor false."""
        text = os.environ.get(var, "").strip().lower()
        if text not in (*self.BOOLEAN_TRUE_STRINGS, *FALSE_WORDS):
            raise ImproperlyConfigured(f"{var} in the environment is neither true nor false.")
        if var in os.environ and not text:
            return bool(kwargs.get("default", args[0] if args else False))  # `X=` in a file means: not set
        return bool(super().bool(var, *args, **kwargs))

    def choice(self, var: str, choices: Sequence[str], default: str) -> str:
        """The word `var`, one of `choices`; raises ImproperlyConfigured for another."""
        word = str(self.str(var, default=default))
        if word not in choices:
            raise ImproperlyConfigured(f"{var} in the environment is not one of {', '.join(choices)}.")
        return word

    def networks(
        self, var: str, default: Sequence[str]
    ) -> builtins.list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """The networks that `var` lists, separated by commas; raises ImproperlyConfigured for what is none."""
        try:
            texts = [text.strip() for text in self.list(var, default=list(default))]
            return [ipaddress.ip_network(text) for text in texts if text]
        except ValueError as error:
            raise ImproperlyConfigured(f"{var} in the environment is not a list of networks (10.0.0.0/8,…).") from error
