-- name: server
-- Where the server is on its machine, and whether and how it archives its WAL.
SELECT pg_catalog.current_setting('data_directory'), pg_catalog.current_setting('unix_socket_directories'),
       pg_catalog.current_setting('port')::integer, pg_catalog.current_setting('archive_mode'),
       pg_catalog.current_setting('archive_command'), pg_catalog.current_setting('archive_library', true),
       pg_catalog.current_setting('wal_level'),
       pg_catalog.current_setting('full_page_writes') = 'on';

-- name: rights
-- What pgBackRest's login needs in the database that it connects to, where no superuser shall run it.
GRANT pg_monitor TO cp_archive;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean), pg_catalog.pg_backup_stop(boolean),
  pg_catalog.pg_switch_wal(), pg_catalog.pg_create_restore_point(text), pg_catalog.pg_current_xact_id(),
  pg_catalog.pg_walfile_name(pg_lsn), pg_catalog.pg_stat_get_archiver() TO cp_archive;
GRANT SELECT ON pg_catalog.pg_stat_archiver TO cp_archive;
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'cp_operator') THEN
    GRANT cp_operator TO cp_archive;
  END IF;
END $$;

-- name: login
SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = 'cp_archive';

-- name: identity
SELECT system_identifier FROM pg_catalog.pg_control_system();

-- name: schema_there
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s);

-- name: commit_something
-- A commit of our own, at which a recovery to any earlier moment can stop.
SELECT pg_catalog.pg_current_xact_id();

-- name: wal_file
SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal());

-- name: archived
-- Whether the archiver has come up to a segment, and when it last archived one.
SELECT last_archived_wal !~ '[.]' AND last_archived_wal >= %(wal)s, last_archived_time
FROM pg_catalog.pg_stat_archiver;
