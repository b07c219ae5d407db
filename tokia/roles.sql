-- The two roles of Tokia's database, run by a superuser of the cluster in the database itself; safe to repeat.
-- Variables of psql: database, owner_password, app_password.
--
--   tokia_owner  owns the database and the schema, migrates, owns the ledger's SECURITY DEFINER functions.
--   tokia_app    what web, gateway, worker and beat work as: owns nothing; the ledger's migration takes more away from it.

SELECT 'CREATE ROLE ' || quote_ident(name)
FROM unnest(ARRAY['tokia_owner', 'tokia_app']) AS name
WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE tokia_owner LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB PASSWORD :'owner_password';
ALTER ROLE tokia_app LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB PASSWORD :'app_password';
-- A transaction that somebody forgot keeps dead rows of the hold table alive.
ALTER ROLE tokia_app SET idle_in_transaction_session_timeout = '60s';

ALTER DATABASE :"database" OWNER TO tokia_owner;
ALTER SCHEMA public OWNER TO tokia_owner;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO tokia_app;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO tokia_app;

ALTER DEFAULT PRIVILEGES FOR ROLE tokia_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tokia_app;
ALTER DEFAULT PRIVILEGES FOR ROLE tokia_owner GRANT USAGE, SELECT ON SEQUENCES TO tokia_app;
ALTER DEFAULT PRIVILEGES FOR ROLE tokia_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE tokia_owner GRANT EXECUTE ON FUNCTIONS TO tokia_app;
