-- name: state
-- Whether the server writes a JSON log.
SELECT current_setting('logging_collector') = 'on', current_setting('log_destination') LIKE '%jsonlog%';

-- name: files
-- tenants/prepare.sql: its files, the one that is written last.
SELECT name, size, head FROM cp.log_files();

-- name: attempts
-- tenants/prepare.sql: what a part of one tells of attempts. The first row says how far was read.
SELECT next_byte, at, kind, login, target, statement, address, pid, application
FROM cp.log_attempts(%(file)s, %(start)s, %(bytes)s);

-- name: parse
-- tenants/prepare.sql: the same of a part that was read here.
SELECT next_byte, at, kind, login, target, statement, address, pid, application
FROM cp.log_parse(%(raw)s, %(at_end)s);
