"""The one error of this package."""


class EmbeddedServerError(Exception):
    """A server cannot be started or used; the message is one line that says what, why and what to do."""
