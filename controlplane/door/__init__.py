"""Who gets into the admin: lock-out, second factor, sessions, re-authentication."""
