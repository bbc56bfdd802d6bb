CREATE TABLE IF NOT EXISTS platform_key (  -- random keys of the platform itself, one a purpose
    purpose TEXT PRIMARY KEY,
    wrapped BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tenant_key (    -- without its row, what was sealed for a tenant stays sealed
    tenant_id TEXT PRIMARY KEY,
    wrapped   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
