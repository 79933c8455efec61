-- Extensions of one database, and what those may do who do not own it; run in it as the superuser.
SET client_min_messages = warning;
BEGIN;
CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS
  SELECT * FROM jsonb_to_recordset(pg_read_file('/etc/postgres/wanted.json')::jsonb -> 'databases')
  AS item (name text, owner text, extensions text[], access jsonb) WHERE name = current_database();
CREATE TEMPORARY TABLE visitors ON COMMIT DROP AS
  SELECT owner, item ->> 'user' AS visitor, item ->> 'kind' = 'write' AS writes
  FROM wanted, jsonb_array_elements(access) item;

SELECT format('CREATE EXTENSION IF NOT EXISTS %I CASCADE', extension) FROM wanted, unnest(extensions) extension \gexec
SELECT format('ALTER EXTENSION %I UPDATE', extname)
  FROM wanted, pg_extension JOIN pg_available_extensions available ON available.name = extname
  WHERE extname = ANY (extensions) AND extversion <> default_version \gexec

SELECT format(form, visitor) FROM visitors, unnest(ARRAY[
    'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %I',
    'GRANT USAGE ON SCHEMA public TO %I']) form \gexec
SELECT format(form, owner, visitor) FROM visitors, unnest(ARRAY[
    'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public REVOKE ALL ON TABLES FROM %I',
    'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public REVOKE ALL ON SEQUENCES FROM %I']) form \gexec
SELECT format('GRANT %s ON ALL TABLES IN SCHEMA public TO %I',
    CASE WHEN writes THEN 'SELECT, INSERT, UPDATE, DELETE' ELSE 'SELECT' END, visitor) FROM visitors \gexec
SELECT format('GRANT %s ON ALL SEQUENCES IN SCHEMA public TO %I',
    CASE WHEN writes THEN 'SELECT, USAGE' ELSE 'SELECT' END, visitor) FROM visitors \gexec
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT %s ON TABLES TO %I', owner,
    CASE WHEN writes THEN 'SELECT, INSERT, UPDATE, DELETE' ELSE 'SELECT' END, visitor) FROM visitors \gexec
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT %s ON SEQUENCES TO %I', owner,
    CASE WHEN writes THEN 'SELECT, USAGE' ELSE 'SELECT' END, visitor) FROM visitors \gexec
COMMIT;
