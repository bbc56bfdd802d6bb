CREATE TABLE key (
    key_id     TEXT PRIMARY KEY,
    tenant_id  TEXT NOT NULL,
    name       BLOB NOT NULL,     -- sealed
    digest     BLOB NOT NULL,     -- bcrypt
    scopes     TEXT NOT NULL,     -- separated by a space
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,  -- 0: never
    revoked_at INTEGER,           -- NULL: in force
    service_id TEXT NOT NULL      -- the only one that it is for; '' for all
) STRICT, WITHOUT ROWID;

CREATE INDEX key_of_tenant ON key (tenant_id, key_id);
