"""One tenant at a point in time: a cluster's WAL archive and base backups (pgBackRest), and a scratch instance that is
recovered from them to a moment, read, and removed."""
