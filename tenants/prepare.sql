-- What the control plane's login may do to tenants' roles on a cluster, as functions it calls.
--
-- Installed once per database, best by a superuser: then the login needs no right over any role but what these functions
-- do, and is a member of none. (A member of thousands of roles pays for each of them whenever any role changes: at 400
-- tenants an ALTER ROLE took ten times as long.) Where there is no superuser to be had, the login installs them itself
-- and they act with its CREATEROLE.
--
-- Every statement can be repeated. Names are checked, quoted by format(), and must be a tenant's.
CREATE SCHEMA IF NOT EXISTS cp;
REVOKE ALL ON SCHEMA cp FROM PUBLIC;

-- Groups: what all tenants of the server share (each database has one of its own besides, see open_database); what only
-- the owners of their schemas may besides (languages, for the functions in a template); and what the control plane's own logins keep where everybody else loses it.
DO $$
DECLARE wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['cp_tenants', 'cp_owners', 'cp_operator'] LOOP
    IF to_regrole(wanted) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN  -- somebody else was faster
        NULL;
      END;
    END IF;
  END LOOP;
  IF NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = 'cp_tenants'::regrole AND member = 'cp_owners'::regrole) THEN
    GRANT cp_tenants TO cp_owners;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION cp.version() RETURNS int LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS 'SELECT 11';

-- Raises unless these are logins of a tenant's schema.
CREATE OR REPLACE FUNCTION cp.require_tenant(schema_name text, logins text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF schema_name IS NULL OR schema_name !~ '^t_[a-z2-7]{20}$' THEN
    RAISE EXCEPTION '% is not the name of a tenant schema', quote_nullable(schema_name) USING ERRCODE = 'invalid_name';
  END IF;
  IF EXISTS (
    SELECT FROM unnest(logins) AS l (name)
     WHERE l.name IS NULL OR NOT (
       l.name = ANY (ARRAY[schema_name || '_rw_a', schema_name || '_rw_b', schema_name || '_mig'])
       OR l.name ~ ('^' || schema_name || '_r[ow]_[a-z2-7]{6}$'))  -- additional ones
  ) THEN
    RAISE EXCEPTION 'these are not logins of %', schema_name USING ERRCODE = 'invalid_name';
  END IF;
END $$;

-- The group whose members may connect to a database. Each has one of its own, so that no tenant of one database gets into
-- another of the server; all of them are members of cp_tenants, which holds what tenants of all databases share.
CREATE OR REPLACE FUNCTION cp.tenants_group(dbname text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 'cp_tenants_' || left(encode(sha256(convert_to(dbname, 'UTF8')), 'hex'), 12) $$;

-- Opens this database to its own tenants and to no others: makes the group, lets logins in that are here already, and takes
-- CONNECT from the one group for all databases, by which it was given before version 9. Whose a login is, is told by
-- schemas and by cp.verifiers, which tenants cannot write to (settings of roles they can).
CREATE OR REPLACE FUNCTION cp.open_database() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  how text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
  own text := cp.tenants_group(current_database());
  login name;
  may oid[] := (SELECT coalesce(array_agg(a.grantee), '{}') FROM pg_database AS d, aclexplode(d.datacl) AS a
                 WHERE d.datname = current_database() AND a.privilege_type = 'CONNECT');
BEGIN
  IF to_regrole(own) IS NULL THEN
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', own);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN  -- somebody else was faster
      NULL;
    END;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = 'cp_tenants'::regrole AND member = to_regrole(own)) THEN
    EXECUTE format('GRANT cp_tenants TO %I' || how, own);
  END IF;
  FOR login IN
    SELECT r.rolname FROM pg_roles AS r
     WHERE r.rolname ~ '^t_[a-z2-7]{20}_(rw_[ab]|mig|r[ow]_[a-z2-7]{6})$'
       AND (to_regnamespace(left(r.rolname, 22)) IS NOT NULL
            OR EXISTS (SELECT FROM cp.verifiers AS v WHERE left(v.login, 22) = left(r.rolname, 22)))
       AND NOT EXISTS (SELECT FROM pg_auth_members AS m WHERE m.roleid = to_regrole(own) AND m.member = r.oid)
  LOOP
    EXECUTE format('GRANT %I TO %I' || how, own, login);
  END LOOP;
  IF NOT to_regrole(own)::oid = ANY (may) THEN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), own);
  END IF;
  IF 'cp_tenants'::regrole::oid = ANY (may) THEN
    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM cp_tenants', current_database());
  END IF;
END $$;

-- Makes this tenant's own database a guest of the database on whose cluster it is: the group of a host's guests may do
-- nothing, and stands in pg_hba.conf where the server's own door is closed to tenants (tenants/pooling/direct.py).
CREATE OR REPLACE FUNCTION cp.join_host(host text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  how text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
  own text := cp.tenants_group(current_database());
  guests text := replace(cp.tenants_group(host), 'cp_tenants_', 'cp_guests_');
BEGIN
  PERFORM cp.require_tenant(current_database());  -- a database of a tenant's own is called as its schema
  IF to_regrole(guests) IS NULL THEN
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', guests);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN  -- somebody else was faster
      NULL;
    END;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = to_regrole(guests) AND member = to_regrole(own)) THEN
    EXECUTE format('GRANT %I TO %I' || how, guests, own);
  END IF;
END $$;

-- Takes that group away; before a tenant's own database is dropped, and only there.
CREATE OR REPLACE FUNCTION cp.close_database() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE own text := cp.tenants_group(current_database());
BEGIN
  PERFORM cp.require_tenant(current_database());
  IF to_regrole(own) IS NOT NULL THEN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), own);
    EXECUTE format('DROP ROLE %I', own);
  END IF;
END $$;

-- Makes a schema's five roles, none of which can log in. To be a short transaction: granting membership in a group locks
-- that group until the commit.
CREATE OR REPLACE FUNCTION cp.create_roles(schema_name text, search_path text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  how text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
  path text := (SELECT string_agg(quote_ident(p), ', ' ORDER BY o) FROM unnest(search_path) WITH ORDINALITY AS u (p, o));
  suffix text;
  door text := cp.tenants_group(current_database());
BEGIN
  PERFORM cp.require_tenant(schema_name);
  IF to_regrole(door) IS NULL THEN
    PERFORM cp.open_database();
  END IF;
  FOREACH suffix IN ARRAY ARRAY['owner', 'rw', 'ro', 'rw_a', 'rw_b'] LOOP
    IF to_regrole(schema_name || '_' || suffix) IS NULL THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', schema_name || '_' || suffix);
    END IF;
  END LOOP;
  EXECUTE format('GRANT %I TO %I, %I' || how, schema_name || '_rw', schema_name || '_rw_a', schema_name || '_rw_b');
  EXECUTE format('GRANT %I TO %I, %I' || how, door, schema_name || '_rw_a', schema_name || '_rw_b');
  EXECUTE format('GRANT cp_owners TO %I' || how, schema_name || '_owner');
  FOREACH suffix IN ARRAY ARRAY['rw_a', 'rw_b'] LOOP
    EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %s', schema_name || '_' || suffix, current_database(), path);
  END LOOP;
END $$;

-- Lets the session become the schema's owner, and ends that; both within the transaction that does the owner's work. The
-- guard leaves such a session alone anyway, so (PostgreSQL 17 and later) it is not even called until the end of the
-- transaction: a clone script has many hundred statements. Where others have event triggers, all are left on.
CREATE OR REPLACE FUNCTION cp.take_owner(schema_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  how text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
BEGIN
  PERFORM cp.require_tenant(schema_name);
  IF current_setting('event_triggers', true) = 'on' AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
     AND session_user !~ '^t_[a-z2-7]{20}_'
     AND NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtenabled <> 'D' AND evtname NOT IN ('tenant_guard', 'tenant_guard_drop')) THEN
    PERFORM set_config('event_triggers', 'off', true);
  END IF;
  EXECUTE format('GRANT %I TO %I' || how, schema_name || '_owner', session_user);
END $$;

CREATE OR REPLACE FUNCTION cp.release_owner(schema_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owner text := schema_name || '_owner';
  -- Whoever made a role without being superuser administers it for good (PostgreSQL 16 and later), and others may have
  -- their membership from there: then only the right to become the owner is taken back.
  what text := CASE WHEN current_setting('server_version_num')::int >= 160000 AND EXISTS (
    SELECT FROM pg_auth_members WHERE roleid = to_regrole(owner) AND member = quote_ident(session_user)::regrole AND admin_option
  ) THEN 'SET OPTION FOR ' ELSE '' END;
BEGIN
  PERFORM cp.require_tenant(schema_name);
  EXECUTE format('REVOKE ' || what || '%I FROM %I', owner, session_user);
END $$;

-- Gives logins their limits: the number of connections, and settings by name ({"statement_timeout": "30000ms", …}).
CREATE OR REPLACE FUNCTION cp.set_limits(schema_name text, logins text[], connection_limit int, settings jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  login text;
  setting record;
BEGIN
  PERFORM cp.require_tenant(schema_name, logins);
  FOREACH login IN ARRAY logins LOOP
    EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', login, connection_limit);
    FOR setting IN SELECT key, value FROM jsonb_each_text(settings) LOOP
      IF setting.key NOT IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout', 'temp_file_limit') THEN
        RAISE EXCEPTION '% is not a limit', setting.key USING ERRCODE = 'invalid_parameter_value';
      END IF;
      -- Only a superuser, or whom one has granted it to, may set this one; it is left out where we may not.
      IF setting.key <> 'temp_file_limit' OR has_parameter_privilege(current_user, 'temp_file_limit', 'SET') THEN
        EXECUTE format('ALTER ROLE %I SET %I = %L', login, setting.key, setting.value);
      END IF;
    END LOOP;
  END LOOP;
END $$;

-- What was last set as each login's password: a hash of its verifier, by which a change by anybody else is seen.
CREATE TABLE IF NOT EXISTS cp.verifiers (login text PRIMARY KEY, hash bytea NOT NULL);
REVOKE ALL ON cp.verifiers FROM PUBLIC;

-- Logins whose password is not the one that was set: `changed` or `removed`. One row `unreadable` where we may not look.
CREATE OR REPLACE FUNCTION cp.verifier_drift() RETURNS TABLE (login text, state text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT v.login, CASE WHEN a.rolpassword IS NULL THEN 'removed' ELSE 'changed' END
      FROM cp.verifiers AS v JOIN pg_authid AS a ON a.rolname = v.login
     WHERE (a.rolpassword IS NULL AND a.rolcanlogin) OR sha256(convert_to(a.rolpassword, 'UTF8')) <> v.hash;
EXCEPTION WHEN insufficient_privilege THEN
  RETURN QUERY SELECT ''::text, 'unreadable'::text;
END $$;

-- Gives a login a new password, of which only the SCRAM verifier ever comes here. Apart from letting it in, since it is
-- slow: to refuse the empty password, the server goes through all rounds of the hash again.
CREATE OR REPLACE FUNCTION cp.set_password(schema_name text, login text, verifier text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cp.require_tenant(schema_name, ARRAY[login]);
  IF verifier IS NULL OR verifier !~ '^SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$' THEN
    RAISE EXCEPTION 'this is not a SCRAM verifier' USING ERRCODE = 'invalid_password';
  END IF;
  EXECUTE format('ALTER ROLE %I PASSWORD %L', login, verifier);
  INSERT INTO cp.verifiers VALUES (login, sha256(convert_to(verifier, 'UTF8')))
  ON CONFLICT ON CONSTRAINT verifiers_pkey DO UPDATE SET hash = excluded.hash;
END $$;

-- Lets logins in, with the passwords they have.
CREATE OR REPLACE FUNCTION cp.open_logins(schema_name text, logins text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE login text;
BEGIN
  PERFORM cp.require_tenant(schema_name, logins);
  FOREACH login IN ARRAY logins LOOP
    EXECUTE format('ALTER ROLE %I LOGIN', login);
  END LOOP;
END $$;

-- Shuts logins out. Their sessions go on until they are ended.
CREATE OR REPLACE FUNCTION cp.close_logins(schema_name text, logins text[], forget_password boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE login text;
BEGIN
  PERFORM cp.require_tenant(schema_name, logins);
  FOREACH login IN ARRAY logins LOOP
    IF to_regrole(login) IS NOT NULL THEN
      EXECUTE format('ALTER ROLE %I NOLOGIN' || CASE WHEN forget_password THEN ' PASSWORD NULL' ELSE '' END, login);
    END IF;
  END LOOP;
END $$;

-- Drops a schema's roles, after the schema itself; those that are gone already are fine.
CREATE OR REPLACE FUNCTION cp.drop_roles(schema_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owner text := schema_name || '_owner';
  suffix text;
  additional text;
BEGIN
  PERFORM cp.require_tenant(schema_name);
  PERFORM cp.drop_migrator(schema_name);
  -- The order of names is that of an index; the pattern alone would read every role of the server.
  FOR additional IN SELECT rolname FROM pg_roles
                     WHERE rolname >= (schema_name || '_ro_')::name AND rolname < (schema_name || '_rx')::name
                       AND rolname ~ '_r[ow]_[a-z2-7]{6}$' LOOP
    PERFORM cp.drop_credential(schema_name, additional);
  END LOOP;
  DELETE FROM cp.verifiers AS v WHERE left(v.login, 22) = schema_name;
  IF to_regrole(owner) IS NOT NULL THEN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
      EXECUTE format('GRANT %I TO %I', owner, current_user);
    END IF;
    EXECUTE format('DROP OWNED BY %I', owner);  -- its default privileges, the last thing that binds the others
  END IF;
  FOREACH suffix IN ARRAY ARRAY['rw_a', 'rw_b', 'ro', 'rw', 'owner'] LOOP
    EXECUTE format('DROP ROLE IF EXISTS %I', schema_name || '_' || suffix);
  END LOOP;
END $$;

-- Puts one schema in the place of another, which goes on under a third name: schemas, owners and groups change their
-- names, and the logins, whose names and passwords stay, change their groups. To be undone by the same with other names.
-- Nobody may be in: what a transaction that is still open wrote would end up in the old schema.
CREATE OR REPLACE FUNCTION cp.switch_schemas(live text, incoming text, aside text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  how text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
  super boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
  suffix text;
  member record;
BEGIN
  PERFORM cp.require_tenant(name) FROM unnest(ARRAY[live, incoming, aside]) AS u (name);
  IF live IN (incoming, aside) OR to_regnamespace(aside) IS NOT NULL OR to_regrole(aside || '_owner') IS NOT NULL THEN
    RAISE EXCEPTION '% is in use', aside USING ERRCODE = 'duplicate_schema';
  END IF;
  IF NOT super THEN  -- an owner is who may rename
    EXECUTE format('GRANT %I, %I TO %I', live || '_owner', incoming || '_owner', current_user);
  END IF;
  EXECUTE format('ALTER SCHEMA %I RENAME TO %I', live, aside);
  EXECUTE format('ALTER SCHEMA %I RENAME TO %I', incoming, live);
  FOREACH suffix IN ARRAY ARRAY['_owner', '_rw', '_ro'] LOOP
    EXECUTE format('ALTER ROLE %I RENAME TO %I', live || suffix, aside || suffix);
    EXECUTE format('ALTER ROLE %I RENAME TO %I', incoming || suffix, live || suffix);
  END LOOP;
  -- The live logins, additional ones and the migrator included, leave the groups that are aside now.
  FOR member IN SELECT m.member::regrole::text AS login, m.roleid::regrole::text AS old,
                       live || substr(m.roleid::regrole::text, 23) AS new
                  FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.member
                 WHERE m.roleid::regrole::text IN (aside || '_owner', aside || '_rw', aside || '_ro')
                   AND r.rolname >= (live || '_')::name AND r.rolname < (live || '`')::name LOOP
    EXECUTE format('REVOKE %I FROM %I', member.old, member.login);
    IF member.login = live || '_mig' THEN
      EXECUTE format('GRANT %I TO %I' || replace(how, 'INHERIT TRUE, SET FALSE', 'INHERIT FALSE, SET TRUE'), member.new, member.login);
    ELSE
      EXECUTE format('GRANT %I TO %I' || how, member.new, member.login);
    END IF;
  END LOOP;
  -- The logins that came with the new schema, and never let anybody in, go with the old one.
  FOREACH suffix IN ARRAY ARRAY['_rw_a', '_rw_b'] LOOP
    EXECUTE format('ALTER ROLE %I RENAME TO %I', incoming || suffix, aside || suffix);
    EXECUTE format('REVOKE %I FROM %I', live || '_rw', aside || suffix);
    EXECUTE format('GRANT %I TO %I' || how, aside || '_rw', aside || suffix);
    EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %I', aside || suffix, current_database(), aside);
  END LOOP;
  DELETE FROM cp.verifiers AS v WHERE left(v.login, 22) = incoming;
  IF NOT super THEN
    EXECUTE format('REVOKE %I, %I FROM %I', aside || '_owner', live || '_owner', current_user);
  END IF;
END $$;

-- Lets a login in that may SET ROLE to the schema's owner, until a moment; `search_path` as for the others. It inherits
-- nothing: what it makes belongs to the owner, or is not made. (PostgreSQL refuses to have `role` set for it here.)
CREATE OR REPLACE FUNCTION cp.open_migrator(schema_name text, verifier text, until timestamptz, search_path text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  login text := schema_name || '_mig';
  path text := (SELECT string_agg(quote_ident(p), ', ' ORDER BY o) FROM unnest(search_path) WITH ORDINALITY AS u (p, o));
BEGIN
  PERFORM cp.require_tenant(schema_name);
  IF to_regrole(login) IS NULL THEN
    EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT CONNECTION LIMIT 2', login);
  END IF;
  IF current_setting('server_version_num')::int >= 160000 THEN
    EXECUTE format('GRANT %I TO %I WITH INHERIT FALSE, SET TRUE', schema_name || '_owner', login);
    EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE, SET FALSE', cp.tenants_group(current_database()), login);
  ELSE
    EXECUTE format('GRANT %I, %I TO %I', schema_name || '_owner', cp.tenants_group(current_database()), login);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), login);
  END IF;
  EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %s', login, current_database(), path);
  EXECUTE format('ALTER ROLE %I VALID UNTIL %L', login, until);
  PERFORM cp.set_password(schema_name, login, verifier);
  PERFORM cp.open_logins(schema_name, ARRAY[login]);
END $$;

-- Takes that login away; its sessions must have been ended.
CREATE OR REPLACE FUNCTION cp.drop_migrator(schema_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE login text := schema_name || '_mig';
BEGIN
  PERFORM cp.require_tenant(schema_name);
  IF to_regrole(login) IS NOT NULL THEN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
      EXECUTE format('GRANT %I TO %I', login, current_user);
    END IF;
    EXECUTE format('DROP OWNED BY %I', login);
    EXECUTE format('DROP ROLE %I', login);
    DELETE FROM cp.verifiers AS v WHERE v.login = schema_name || '_mig';
  END IF;
END $$;

-- Makes an additional login of a tenant and lets it in until a moment: `<schema>_ro_…` may read, `<schema>_rw_…` do what
-- the tenant's own logins may.
CREATE OR REPLACE FUNCTION cp.open_credential(
  schema_name text, login text, verifier text, until timestamptz, connection_limit int, settings jsonb, search_path text[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  how text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
  privileges text := substring(login FROM '_(r[ow])_[a-z2-7]{6}$');
  path text := (SELECT string_agg(quote_ident(p), ', ' ORDER BY o) FROM unnest(search_path) WITH ORDINALITY AS u (p, o));
BEGIN
  PERFORM cp.require_tenant(schema_name, ARRAY[login]);
  IF privileges IS NULL OR until IS NULL THEN
    RAISE EXCEPTION '% is not an additional login', login USING ERRCODE = 'invalid_name';
  END IF;
  IF to_regrole(login) IS NULL THEN
    EXECUTE format('CREATE ROLE %I NOLOGIN', login);
  END IF;
  EXECUTE format('GRANT %I TO %I' || how, schema_name || '_' || privileges, login);
  EXECUTE format('GRANT %I TO %I' || how, cp.tenants_group(current_database()), login);
  EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %s', login, current_database(), path);
  IF privileges = 'ro' THEN
    EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', login);  -- says sooner what grants refuse anyway
  END IF;
  EXECUTE format('ALTER ROLE %I VALID UNTIL %L', login, until);
  PERFORM cp.set_limits(schema_name, ARRAY[login], connection_limit, settings);
  PERFORM cp.set_password(schema_name, login, verifier);
  PERFORM cp.open_logins(schema_name, ARRAY[login]);
END $$;

-- Takes an additional login away; its sessions must have been ended.
CREATE OR REPLACE FUNCTION cp.drop_credential(schema_name text, login text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM cp.require_tenant(schema_name, ARRAY[login]);
  IF login !~ '_r[ow]_[a-z2-7]{6}$' THEN
    RAISE EXCEPTION '% is not an additional login', login USING ERRCODE = 'invalid_name';
  END IF;
  IF to_regrole(login) IS NOT NULL THEN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
      EXECUTE format('GRANT %I TO %I', login, current_user);
    END IF;
    EXECUTE format('DROP OWNED BY %I', login);
    EXECUTE format('DROP ROLE %I', login);
    DELETE FROM cp.verifiers AS v WHERE v.login = drop_credential.login;
  END IF;
END $$;

DROP FUNCTION IF EXISTS cp.open_login(text, text, text), cp.reopen_logins(text, text[]);  -- of version 1

-- Gives the audit log's tables to a role that nobody is, so that the login can add to them and read them, and no more:
-- neither change a row nor take a trigger away. True when that is so; without a superuser's help it cannot be.
CREATE OR REPLACE FUNCTION cp.protect_audit_log() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE name text;
BEGIN
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    RETURN false;
  END IF;
  IF to_regrole('cp_audit') IS NULL THEN
    CREATE ROLE cp_audit NOLOGIN;
  END IF;
  FOREACH name IN ARRAY ARRAY['tenants_auditevent', 'tenants_auditseal', 'tenants_auditcheckpoint'] LOOP
    EXECUTE format('ALTER TABLE public.%I OWNER TO cp_audit', name);
    EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, %I', name, session_user);
    EXECUTE format('GRANT SELECT, INSERT ON public.%I TO %I', name, session_user);
  END LOOP;
  ALTER FUNCTION public.refuse_audit_change() OWNER TO cp_audit;  -- whoever owns it could replace it
  RETURN true;
END $$;

-- Gives them back, for a migration that alters them. Acts with its caller's rights: only a superuser can.
CREATE OR REPLACE FUNCTION cp.release_audit_log(login text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tenants_auditevent', 'tenants_auditseal', 'tenants_auditcheckpoint'] LOOP
    IF to_regclass('public.' || name) IS NOT NULL THEN
      EXECUTE format('ALTER TABLE public.%I OWNER TO %I', name, login);
      EXECUTE format('GRANT ALL ON public.%I TO %I', name, login);
    END IF;
  END LOOP;
  IF to_regprocedure('public.refuse_audit_change()') IS NOT NULL THEN
    EXECUTE format('ALTER FUNCTION public.refuse_audit_change() OWNER TO %I', login);
  END IF;
END $$;

-- Tenants' sessions in this database, and in `databases` (tenants' own on this server), that may have to be ended, with the rule that says so and since when: those of a
-- login that is closed; waiters for a lock on something that is not theirs (such a wait keeps others waiting behind it,
-- and begins before the right to the object is looked at); transactions left idle; statements that run. Those younger
-- than `min_ms` are left out; what each may take is the caller's to know. Of a statement only its first words are told.
CREATE OR REPLACE FUNCTION cp.reap_candidates(min_ms int, databases text[]) RETURNS TABLE (
  pid int, started timestamptz, since timestamptz, login text, rule text, age_ms bigint, foreign_object text,
  statement text, address inet
) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH sessions AS MATERIALIZED (
    SELECT a.pid, a.backend_start, a.usename, left(a.usename, 22) AS own, a.state, a.state_change, a.query_start, a.query,
           a.client_addr, r.rolcanlogin, a.datname
      FROM pg_stat_activity AS a JOIN pg_roles AS r ON r.oid = a.usesysid
     WHERE (a.datname = current_database() OR a.datname = ANY (databases)) AND a.backend_type = 'client backend'
       AND a.usename ~ '^t_[a-z2-7]{20}_' AND NOT r.rolsuper AND pg_has_role(r.oid, 'cp_tenants', 'MEMBER')
  ), waits AS (
    SELECT DISTINCT ON (s.pid) s.pid, coalesce(l.waitstart, s.query_start) AS since,
           coalesce(n.nspname, l.locktype) AS foreign_object
      FROM sessions AS s  -- in a database of one's own nothing is another tenant's
      JOIN pg_locks AS l ON l.pid = s.pid AND NOT l.granted AND s.datname = current_database()
      -- Looked up one by one, by index: a join would read all of pg_class each second.
      LEFT JOIN LATERAL (SELECT (SELECT nspname FROM pg_namespace WHERE oid = coalesce(
        (SELECT relnamespace FROM pg_class WHERE oid = l.relation),
        (SELECT pronamespace FROM pg_proc WHERE l.classid = 'pg_proc'::regclass AND oid = l.objid),
        (SELECT typnamespace FROM pg_type WHERE l.classid = 'pg_type'::regclass AND oid = l.objid),
        CASE WHEN l.classid = 'pg_namespace'::regclass THEN l.objid END))) AS n (nspname) ON true
     WHERE (n.nspname ~ '^t_[a-z2-7]{20}$' AND n.nspname <> s.own)
        OR (l.mode = 'AccessExclusiveLock' AND l.locktype IN ('relation', 'object')
            AND n.nspname IS DISTINCT FROM s.own AND coalesce(n.nspname, '') !~ '^pg_(toast|temp)')
     ORDER BY s.pid, l.waitstart
  ), found AS (
    SELECT s.pid, 1 AS first, 'login_closed' AS rule, s.backend_start AS since, NULL AS foreign_object
      FROM sessions AS s WHERE NOT s.rolcanlogin
    UNION ALL SELECT w.pid, 2, 'lock_on_foreign', w.since, w.foreign_object FROM waits AS w
    UNION ALL SELECT s.pid, 3, 'idle_in_transaction', s.state_change, NULL
      FROM sessions AS s WHERE s.state LIKE 'idle in transaction%'
    UNION ALL SELECT s.pid, 4, 'statement_too_long', s.query_start, NULL
      FROM sessions AS s WHERE s.state IN ('active', 'fastpath function call')
  )
  SELECT DISTINCT ON (f.pid, f.first) s.pid, s.backend_start, f.since, s.usename::text, f.rule,
         (extract(epoch FROM clock_timestamp() - f.since) * 1000)::bigint, f.foreign_object,
         CASE WHEN upper(w[1]) = ANY ('{SELECT,INSERT,UPDATE,DELETE,MERGE,COPY,DO,CALL,EXECUTE,FETCH,VACUUM,ANALYZE,BEGIN,
                                       START,COMMIT,SET,TRUNCATE,REINDEX,CLUSTER,REFRESH,LISTEN,NOTIFY,WITH,TABLE,VALUES}')
              THEN upper(w[1])
              WHEN upper(w[1]) = ANY ('{DROP,ALTER,CREATE,LOCK,COMMENT}') THEN upper(w[1]) ||
                CASE WHEN upper(w[2]) = ANY ('{SCHEMA,TABLE,INDEX,VIEW,FUNCTION,TYPE,ROLE,DATABASE,SEQUENCE,ON}')
                     THEN ' ' || upper(w[2]) ELSE '' END
              ELSE 'OTHER' END,
         s.client_addr
    FROM found AS f JOIN sessions AS s USING (pid), regexp_match(s.query, '^\s*([A-Za-z]+)(?:\s+([A-Za-z]+)\M)?') AS w
   WHERE f.since < clock_timestamp() - min_ms * interval '1 millisecond' OR f.rule = 'login_closed'
   ORDER BY f.pid, f.first
$$;

CREATE OR REPLACE FUNCTION cp.reap_candidates(min_ms int) RETURNS TABLE (
  pid int, started timestamptz, since timestamptz, login text, rule text, age_ms bigint, foreign_object text,
  statement text, address inet
) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM cp.reap_candidates(min_ms, '{}')
$$;

-- Ends those of the sessions of `reap_candidates` that are still what they were then, and says which.
CREATE OR REPLACE FUNCTION cp.reap(pids int[], rules text[], sinces timestamptz[], databases text[]) RETURNS TABLE (pid int)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  -- Chosen first and ended then: a condition on candidates alone would be looked at before the join, and end them all.
  WITH due AS MATERIALIZED (
    SELECT c.pid FROM unnest(pids, rules, sinces) AS wanted (pid, rule, since)
      JOIN cp.reap_candidates(0, databases) AS c ON c.pid = wanted.pid AND c.rule = wanted.rule AND c.since = wanted.since
  )
  SELECT d.pid FROM due AS d WHERE pg_terminate_backend(d.pid)
$$;

CREATE OR REPLACE FUNCTION cp.reap(pids int[], rules text[], sinces timestamptz[]) RETURNS TABLE (pid int)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT cp.reap(pids, rules, sinces, '{}')
$$;

-- The server's JSON log files, the one that is written last. `head` tells a file from another of its name.
CREATE OR REPLACE FUNCTION cp.log_files() RETURNS TABLE (name text, size bigint, head text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT f.name, f.size,
         encode(sha256(pg_read_binary_file(current_setting('log_directory') || '/' || f.name, 0, 120, true)), 'hex')
    FROM pg_ls_logdir() AS f WHERE f.name ~ '^[A-Za-z0-9_.-]+\.json$'
   ORDER BY coalesce(pg_current_logfile('jsonlog') LIKE '%' || f.name, false), f.modification, f.name
$$;

-- Of which kind a statement is: its first words, and never what it says.
CREATE OR REPLACE FUNCTION cp.statement_kind(statement text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH bare AS (
    SELECT upper(regexp_replace(statement, '^(\s+|--[^\n]*(\n|$)|/\*([^*]|\*+[^*/])*\*+/)*', '')) AS text
  ), word AS (SELECT text, regexp_match(text, '^([A-Z]+)(?:\s+([A-Z]+)\M)?') AS w FROM bare)
  SELECT CASE
    WHEN text ~ '^SET\s+((LOCAL|SESSION)\s+)?ROLE\M' THEN 'SET ROLE'
    WHEN text ~ '^SET\s+((LOCAL|SESSION)\s+)?SESSION\s+AUTHORIZATION\M' THEN 'SET SESSION AUTHORIZATION'
    WHEN w[1] = ANY ('{SELECT,INSERT,UPDATE,DELETE,MERGE,COPY,DO,CALL,EXECUTE,FETCH,DECLARE,PREPARE,EXPLAIN,VACUUM,
                       ANALYZE,SET,TRUNCATE,REINDEX,CLUSTER,REFRESH,LISTEN,NOTIFY,WITH,TABLE,VALUES,GRANT,REVOKE,LOCK,
                       REASSIGN,LOAD,CHECKPOINT}') THEN w[1]
    WHEN w[1] = ANY ('{DROP,ALTER,CREATE,COMMENT,SECURITY,IMPORT}') THEN w[1] ||
      CASE WHEN w[2] = ANY ('{SCHEMA,TABLE,INDEX,VIEW,FUNCTION,TYPE,ROLE,USER,GROUP,DATABASE,SEQUENCE,POLICY,TRIGGER,
                              EXTENSION,SYSTEM,DEFAULT,ON,LABEL,OWNED,SERVER,PUBLICATION,SUBSCRIPTION}')
           THEN ' ' || w[2] ELSE '' END
    ELSE 'OTHER' END FROM word
$$;

-- What a part of the log tells of tenants' attempts: a privilege that was refused on what is another tenant's or the
-- control plane's, more rights that were asked for, a wrong password. Nothing of a statement or a message comes out but
-- of which kind it was and what it was aimed at. The first row tells only how far was read: whole lines, but for one that
-- is longer than what was given where the log goes on.
CREATE OR REPLACE FUNCTION cp.log_parse(raw bytea, at_end boolean) RETURNS TABLE (
  next_byte bigint, at timestamptz, kind text, login text, target text, statement text, address text, pid int,
  application text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lines text;
  skipped bigint := 0;
  line text;
  entry jsonb;
  message text;
  query text;
  object text[];
  own text;
BEGIN
  BEGIN
    lines := convert_from(coalesce(raw, ''), 'LATIN1');  -- one character a byte, wherever it was cut
  EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    lines := '';
    skipped := octet_length(raw);  -- a crash left zeros
  END;
  IF strpos(lines, chr(10)) > 0 THEN
    lines := left(lines, length(lines) - strpos(reverse(lines), chr(10)) + 1);
  ELSIF at_end THEN
    lines := '';  -- the last line is still being written
  END IF;
  next_byte := skipped + length(lines);
  RETURN NEXT;
  FOR line IN SELECT l FROM string_to_table(lines, chr(10)) AS l
               WHERE l LIKE '%"state_code":"42501"%' OR l LIKE '%"state_code":"28P01"%' LOOP
    BEGIN
      entry := convert_from(convert_to(line, 'LATIN1'), 'UTF8')::jsonb;
      at := (entry ->> 'timestamp')::timestamptz;
    EXCEPTION WHEN data_exception OR character_not_in_repertoire OR untranslatable_character THEN
      CONTINUE;
    END;
    login := entry ->> 'user';
    own := substring(login from '^(t_[a-z2-7]{20})_[a-z0-9_]+$');
    message := coalesce(entry ->> 'message', '');
    query := coalesce(entry ->> 'statement', '');
    CONTINUE WHEN own IS NULL OR entry ->> 'state_code' NOT IN ('42501', '28P01');
    statement := cp.statement_kind(query);
    object := regexp_match(message, '^permission denied for ([a-z ]+) "?([^" ]{1,63})"?$');
    kind := NULL;
    IF entry ->> 'state_code' = '28P01' THEN
      kind := 'login'; target := login; login := ''; statement := 'LOGIN';
    ELSIF message ~* '(set|alter|create|drop|grant|revoke|rename|reassign) role|session authorization|admin option|external program'
       OR message ~* 'must be (a )?superuser|superuser attribute|createrole|bypassrls|replication|must be able to set role'
       OR statement ~ '^(SET ROLE|SET SESSION AUTHORIZATION|(ALTER|CREATE|DROP) (ROLE|USER|GROUP)|ALTER SYSTEM)$' THEN
      kind := 'escalation';
      target := coalesce(substring(message from 'role "([^"]{1,63})"'), substring(query from 't_[a-z2-7]{20}_[a-z0-9_]+'),
                         (regexp_match(query, '\m(?:role|user|group|authorization)\s+"?([a-z0-9_]{1,63})', 'i'))[1], '');
    ELSIF object[1] = 'database' THEN
      kind := 'database'; target := object[2]; statement := 'CONNECT';
    ELSE
      SELECT m[1] INTO target FROM regexp_matches(message || ' ' || query, '(t_[a-z2-7]{20})', 'g') AS m
       WHERE m[1] <> own LIMIT 1;
      IF target IS NOT NULL THEN
        kind := 'foreign_object';
      ELSIF object[1] = 'schema' AND object[2] IN ('public', 'cp') THEN
        kind := 'control_plane'; target := object[2];
      END IF;
    END IF;
    CONTINUE WHEN kind IS NULL;
    address := coalesce(entry ->> 'remote_host', '');
    pid := (entry ->> 'pid')::int;
    application := CASE WHEN entry ->> 'application_name' ~ '^cp-probe [0-9a-f]{32}$' THEN entry ->> 'application_name' ELSE '' END;
    RETURN NEXT;
  END LOOP;
END $$;

-- The same of a part of one of the server's log files, which it reads itself.
CREATE OR REPLACE FUNCTION cp.log_attempts(file text, start bigint, bytes int) RETURNS TABLE (
  next_byte bigint, at timestamptz, kind text, login text, target text, statement text, address text, pid int,
  application text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE raw bytea;
BEGIN
  IF file !~ '^[A-Za-z0-9_.-]+\.json$' THEN
    RAISE EXCEPTION 'not the name of a log file' USING ERRCODE = 'invalid_name';
  END IF;
  raw := pg_read_binary_file(current_setting('log_directory') || '/' || file, start, least(bytes, 4194304), true);
  RETURN QUERY
    SELECT start + p.next_byte, p.at, p.kind, p.login, p.target, p.statement, p.address, p.pid, p.application
      FROM cp.log_parse(raw, coalesce(octet_length(raw), 0) < least(bytes, 4194304)) AS p;
END $$;

-- How large each file of this database is, by file node, as its directory says: that locks nothing and opens no table. (For
-- a thousand schemas of 20 tables, 120,000 files, it takes 0.7 s; pg_total_relation_size takes 7 s and 300 MB of memory,
-- and waits for whoever holds a table.) Only a superuser may list files; installed by anybody else it raises
-- insufficient_privilege.
CREATE OR REPLACE FUNCTION cp.file_sizes() RETURNS TABLE (filenode oid, bytes bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT split_part(split_part(f.name, '_', 1), '.', 1)::oid, sum((pg_stat_file(d.path || f.name, true)).size)::bigint
    FROM (SELECT 'base/' || oid || '/' AS path FROM pg_database WHERE datname = current_database()) AS d,
         pg_ls_dir(d.path) AS f (name)
   WHERE f.name ~ '^[0-9]+([._]|$)'
   GROUP BY 1
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cp FROM PUBLIC;
