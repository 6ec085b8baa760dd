#!/bin/sh
# Runs once, on an empty volume, as the superuser: an account for Temporal, one that writes the ledger, one that reads it.
set -eu

secret() { cat "/run/secrets/$1"; }

psql -v ON_ERROR_STOP=1 --username postgres --dbname postgres \
  -v temporal="$(secret temporal_db_password)" \
  -v ledger="$(secret ledger_db_password)" \
  -v reader="$(secret ledger_reader_db_password)" <<'SQL'
CREATE ROLE temporal LOGIN CREATEDB PASSWORD :'temporal';
CREATE ROLE edge LOGIN PASSWORD :'ledger';
CREATE ROLE edge_reader LOGIN PASSWORD :'reader';
CREATE DATABASE ledger OWNER edge;
\connect ledger
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO edge;
GRANT USAGE ON SCHEMA public TO edge_reader;
-- The control worker makes the tables later, as `edge`.
ALTER DEFAULT PRIVILEGES FOR ROLE edge IN SCHEMA public GRANT SELECT ON TABLES TO edge_reader;
SQL
