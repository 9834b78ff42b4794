#!/bin/sh
# Run once by the postgres image, after databases.sql.
set -eu
psql --username "$POSTGRES_USER" --no-password --set ON_ERROR_STOP=1 \
  --set owner="$POSTGRES_PASSWORD" --set reader="$READER_PASSWORD" <<'SQL'
ALTER ROLE millrace PASSWORD :'owner';
ALTER ROLE registry PASSWORD :'owner';
ALTER ROLE millrace_reader PASSWORD :'reader';
SQL
