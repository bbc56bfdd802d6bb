CREATE TABLE storage (                  -- what is kept for a tenant, as it was measured last
    tenant_id TEXT NOT NULL,
    kind      TEXT NOT NULL,            -- volumes, images, backups
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, kind)
) STRICT, WITHOUT ROWID;
