#!/bin/sh
# Run by the postgres image at the first start of an empty volume: the two roles of tokia/roles.sql.
set -eu
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v database="$POSTGRES_DB" \
    -v owner_password="$TOKIA_OWNER_PASSWORD" -v app_password="$TOKIA_APP_PASSWORD" -f /opt/tokia/roles.sql
