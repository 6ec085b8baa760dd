#!/bin/sh
# Makes and updates Temporal's two databases. Safe to run again: a database that is there stays, a schema moves forward.
set -eu

SQL_PASSWORD="$(cat /run/secrets/temporal_db_password)"
export SQL_PASSWORD

prepare() {
  sql() { temporal-sql-tool --plugin postgres12 --ep postgres --port 5432 --user temporal --db "$database" "$@"; }
  database="$1"
  sql create-database
  # A schema that has begun moves forward; only one that cannot, since it has no version yet, begins at 0.
  sql update-schema --schema-name "$2" || {
    sql setup-schema -v 0.0
    sql update-schema --schema-name "$2"
  }
}

prepare temporal postgresql/v12/temporal
prepare temporal_visibility postgresql/v12/visibility
