CREATE TABLE payer (                    -- all tenants that ever were, by their part of host names
    tenant_id TEXT PRIMARY KEY,
    label     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (                  -- a container's counters as they were read last
    instance TEXT PRIMARY KEY,
    cpu_us   INTEGER NOT NULL,
    rx_bytes INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE used (                     -- what was used in an hour
    tenant_id   TEXT NOT NULL,
    hour        INTEGER NOT NULL,       -- its beginning, unix seconds
    kind        TEXT NOT NULL,          -- service, database
    resource_id TEXT NOT NULL,
    cpu_us      INTEGER NOT NULL,
    memory_mb_s INTEGER NOT NULL,
    rx_bytes    INTEGER NOT NULL,
    tx_bytes    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, hour, kind, resource_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE stored (                   -- how much was kept from when to when
    tenant_id TEXT NOT NULL,
    kind      TEXT NOT NULL,            -- volumes, images, backups
    begun_at  INTEGER NOT NULL,
    ended_at  INTEGER NOT NULL,         -- the first second that does not count; FOREVER while it is so
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, kind, begun_at)
) STRICT, WITHOUT ROWID;
