-- A call's id is a UUIDv7, made once: its instant, its fiscal month and its partition never move, whoever retries when.

CREATE OR REPLACE FUNCTION billing_ms_of_id(p_id uuid) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ('x' || substr(replace(p_id::text, '-', ''), 1, 12))::bit(48)::bigint;

CREATE OR REPLACE FUNCTION billing_instant_of_id(p_id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN to_timestamp(billing_ms_of_id(p_id) / 1000.0);

-- The fiscal month: the id's month in São Paulo, as its first day.
CREATE OR REPLACE FUNCTION billing_month_of_id(p_id uuid) RETURNS date
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN date_trunc('month', timezone('America/Sao_Paulo', billing_instant_of_id(p_id)))::date;

-- The smallest id of a fiscal month.
CREATE OR REPLACE FUNCTION billing_first_id_of_month(p_month date) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM timezone('America/Sao_Paulo', p_month::timestamp)) * 1000)::bigint), 12, '0')
        || repeat('0', 20))::uuid;
