-- The databases and who may enter them. Shared by scripts/stack (postgres --single -j: a statement ends with a semicolon and an
-- empty line) and docker-compose.yml. Passwords are set apart; a role without one cannot log in.

CREATE ROLE millrace LOGIN REPLICATION;

-- reads the read models, and cannot so much as connect to the write side
CREATE ROLE millrace_reader LOGIN;

-- as which Connect may read the outbox (connect.database_user)
CREATE ROLE debezium LOGIN REPLICATION;

CREATE ROLE registry LOGIN;

GRANT pg_monitor TO millrace;

CREATE DATABASE millrace_write OWNER millrace;

CREATE DATABASE millrace_read OWNER millrace;

CREATE DATABASE registry OWNER registry;

REVOKE CONNECT, TEMPORARY ON DATABASE millrace_write, millrace_read, registry, postgres, template1 FROM PUBLIC;

GRANT CONNECT ON DATABASE millrace_read TO millrace_reader;

GRANT CONNECT ON DATABASE millrace_write TO debezium;

