CREATE TABLE volume (                  -- there from the first service that names it until it is purged
    volume_id  TEXT PRIMARY KEY,
    tenant_id  TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX volume_of_tenant ON volume (tenant_id, name);
