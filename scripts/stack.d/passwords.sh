#!/bin/sh
# Run once by the postgres image, after databases.sql. The image itself has read the owner's password from its file.
set -eu
psql --username "$POSTGRES_USER" --no-password --set ON_ERROR_STOP=1 \
  --set owner="$POSTGRES_PASSWORD" --set reader="$(cat "$READER_PASSWORD_FILE")" <<'SQL'
ALTER ROLE millrace PASSWORD :'owner';
ALTER ROLE registry PASSWORD :'owner';
ALTER ROLE millrace_reader PASSWORD :'reader';
SQL
