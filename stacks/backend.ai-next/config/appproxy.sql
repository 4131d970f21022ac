-- App-proxy's role and database. Said again, it changes nothing but the password, to the same.
\set ON_ERROR_STOP on
SELECT 'CREATE ROLE appproxy' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'appproxy') \gexec
ALTER ROLE appproxy WITH LOGIN PASSWORD '${APPPROXY_DB_PASSWORD}';
SELECT 'CREATE DATABASE appproxy OWNER appproxy'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'appproxy') \gexec
GRANT ALL PRIVILEGES ON DATABASE appproxy TO appproxy;
\connect appproxy
GRANT ALL ON SCHEMA public TO appproxy;
