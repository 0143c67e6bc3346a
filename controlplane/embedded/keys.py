"""The application's two keys, for machines where nobody has set any."""

import base64
import secrets


def new_keys() -> dict[str, str]:
    """Fresh values of SECRET_KEY and FIELD_ENCRYPTION_KEYS (one Fernet key: 32 random bytes in base64)."""
    return {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }


def is_given(name: str, env: dict[str, str]) -> bool:
    """Whether the environment sets `name`, directly or by the file that NAME_FILE names."""
    return bool(env.get(name) or env.get(f"{name}_FILE"))
