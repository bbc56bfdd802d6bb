CREATE TABLE paused (                   -- what was wanted to run when its tenant was suspended, and is to run again
    tenant_id  TEXT NOT NULL,
    service_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, service_id)
) STRICT, WITHOUT ROWID;
