-- Run by a superuser, once on each start; every statement can be repeated.
-- section: roles
-- The login works without superuser: it makes roles and databases, sees statistics and ends sessions.
ALTER ROLE controlplane LOGIN CREATEROLE CREATEDB NOSUPERUSER NOREPLICATION;
ALTER ROLE cp_tenants NOLOGIN;
GRANT pg_monitor, pg_signal_backend TO controlplane;
GRANT cp_tenants TO controlplane WITH ADMIN OPTION;
-- The only limit of a tenant's role that is a superuser's to set.
GRANT SET ON PARAMETER temp_file_limit TO controlplane;
-- A tenant's hundreds of DDL statements would push tenants' own out of the statistics, and cost a quarter more.
ALTER ROLE controlplane SET pg_stat_statements.track_utility = off;
-- section: cluster
-- The control plane itself lets the tenants of a database in (cp.open_database).
REVOKE ALL ON DATABASE controlplane FROM PUBLIC;
-- A tenant's login has no business in the maintenance databases.
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
REVOKE ALL ON DATABASE template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO controlplane;
-- section: database
CREATE SCHEMA IF NOT EXISTS extensions AUTHORIZATION controlplane;
GRANT USAGE ON SCHEMA extensions TO cp_tenants;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA extensions;
-- section: template1
-- Databases made later inherit this.
REVOKE ALL ON SCHEMA public FROM PUBLIC
-- section: functions
-- tenants/prepare.sql is run before this, here and in template1.
GRANT USAGE ON SCHEMA cp TO controlplane;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cp TO controlplane;
-- Migrations may have to alter the audit log's tables; the control plane's own bootstrap protects them again at once.
SELECT cp.release_audit_log('controlplane');
