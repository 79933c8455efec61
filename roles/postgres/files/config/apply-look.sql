-- What differs from wanted.json, a line each; changes nothing.
SELECT format('the user %s is not there', item ->> 'name')
  FROM jsonb_array_elements(pg_read_file('/etc/postgres/wanted.json')::jsonb -> 'users') item
  WHERE item ->> 'name' NOT IN (SELECT rolname FROM pg_roles);
SELECT format('the database %s is not there', item ->> 'name')
  FROM jsonb_array_elements(pg_read_file('/etc/postgres/wanted.json')::jsonb -> 'databases') item
  WHERE item ->> 'name' NOT IN (SELECT datname FROM pg_database);
SELECT format('the setting %s waits for a restart', name) FROM pg_settings WHERE pending_restart;
SELECT format('the file %s has a fault: %s', sourcefile, error) FROM pg_file_settings WHERE error IS NOT NULL;
