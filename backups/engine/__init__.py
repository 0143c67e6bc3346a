"""Takes a tenant's schema into a storage, checks what is there, and brings it back under another name.

It knows connections, storages and keys, and no Django models. `capture`, `read_manifest`, `verify`, `restore` and
`changed_since` are its doors; docs/backup-format.md describes what it writes.
"""
