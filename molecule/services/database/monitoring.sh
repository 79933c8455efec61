#!/bin/sh
# Runs once, on an empty data folder: the user that roles/postgres_exporter signs in as, and what it looks at.
psql --username=postgres --dbname=postgres --quiet --output=/dev/null --set=ON_ERROR_STOP=1 --set=password="$(cat "$MONITOR_PASSWORD_FILE")" <<'SQL'
CREATE ROLE monitor LOGIN PASSWORD :'password';
GRANT pg_monitor TO monitor;
CREATE EXTENSION pg_stat_statements;
-- As a standby that is gone for good would leave it
SELECT pg_create_physical_replication_slot('standby', true);
CREATE DATABASE shop;
SQL
psql --username=postgres --dbname=shop --quiet --output=/dev/null --set=ON_ERROR_STOP=1 <<'SQL'
CREATE TABLE orders (id bigserial PRIMARY KEY, text text NOT NULL);
CREATE TABLE stock (id int PRIMARY KEY, number int NOT NULL);
INSERT INTO stock VALUES (1, 0), (2, 0);
SQL
