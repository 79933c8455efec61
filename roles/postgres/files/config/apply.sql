-- Users and databases as wanted.json names them; run as the superuser. What is named no more stays, and is told.
SET client_min_messages = warning;
CREATE TEMPORARY TABLE users AS SELECT * FROM jsonb_to_recordset(pg_read_file('/etc/postgres/wanted.json')::jsonb -> 'users')
  AS item (name text, connection_limit int, roles text[]);
CREATE TEMPORARY TABLE databases AS
  SELECT * FROM jsonb_to_recordset(pg_read_file('/etc/postgres/wanted.json')::jsonb -> 'databases')
  AS item (name text, owner text, connection_limit int, access jsonb);
CREATE TEMPORARY TABLE visitors AS
  SELECT name, owner AS visitor FROM databases
  UNION SELECT name, item ->> 'user' FROM databases, jsonb_array_elements(access) item;

SELECT format('CREATE ROLE %I', name) FROM users WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec
SELECT format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT %s',
    name, connection_limit)
  FROM users JOIN pg_roles ON rolname = name
  WHERE (rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolconnlimit)
    IS DISTINCT FROM (true, false, false, false, false, false, connection_limit) \gexec
SELECT format('GRANT %I TO %I', role, name) FROM users, unnest(roles) role
  WHERE NOT pg_has_role(name, role, 'member') \gexec
SELECT format('REVOKE %I FROM %I', role.rolname, name)
  FROM users JOIN pg_roles member ON member.rolname = name
  JOIN pg_auth_members grants ON grants.member = member.oid JOIN pg_roles role ON role.oid = grants.roleid
  WHERE role.rolname LIKE 'pg\_%' AND role.rolname <> ALL (roles) \gexec

SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0', name, owner) FROM databases
  WHERE name NOT IN (SELECT datname FROM pg_database) \gexec
SELECT format('ALTER DATABASE %I OWNER TO %I', name, owner) FROM databases JOIN pg_database ON datname = name
  WHERE pg_get_userbyid(datdba) <> owner \gexec
SELECT format('ALTER DATABASE %I CONNECTION LIMIT %s', name, connection_limit)
  FROM databases JOIN pg_database ON datname = name WHERE datconnlimit <> connection_limit \gexec
-- Nobody enters but those who are named
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', name) FROM databases \gexec
SELECT DISTINCT format('REVOKE ALL ON DATABASE %I FROM %I', name, rolname)
  FROM databases JOIN pg_database ON datname = name, aclexplode(datacl) entry JOIN pg_roles one ON one.oid = entry.grantee
  WHERE (name, rolname::text) NOT IN (SELECT name, visitor FROM visitors) \gexec
SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', name, visitor) FROM visitors \gexec

SELECT 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements'
  WHERE pg_read_file('/etc/postgres/wanted.json')::jsonb -> 'preload' ? 'pg_stat_statements' \gexec

SELECT format('note: postgres_databases names %s no more; it stays. To drop it with its data, in the container: '
    'dropdb -U postgres %s', datname, datname)
  FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' AND datname NOT IN (SELECT name FROM databases)
  ORDER BY datname;
SELECT format('note: nothing names the user %s any more; it stays and can sign in. To drop it once it owns nothing, in the '
    'container: dropuser -U postgres %s', rolname, rolname)
  FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND rolname NOT IN (SELECT name FROM users) ORDER BY rolname;
