CREATE TABLE asked (                    -- what is to run, and what is kept for it once it does
    id          TEXT PRIMARY KEY,       -- of the deployment, the database or the build
    position    INTEGER NOT NULL,       -- of the event that asked for it
    tenant_id   TEXT NOT NULL,
    kind        TEXT NOT NULL,          -- service, database, build
    resource_id TEXT NOT NULL,          -- the service (of its builds, too) or the database
    memory_mb   INTEGER NOT NULL,       -- of all its replicas
    cpu_milli   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX asked_of_resource ON asked (resource_id);

CREATE TABLE interval (                 -- what ran from when to when
    position    INTEGER PRIMARY KEY,    -- of the event that began it
    id          TEXT NOT NULL,
    tenant_id   TEXT NOT NULL,
    kind        TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    memory_mb   INTEGER NOT NULL,
    cpu_milli   INTEGER NOT NULL,
    begun_at    INTEGER NOT NULL,       -- unix seconds
    ended_at    INTEGER NOT NULL        -- the first second that does not count; FOREVER while it lasts
) STRICT;
CREATE INDEX interval_of_tenant ON interval (tenant_id, ended_at);
CREATE INDEX interval_of_resource ON interval (resource_id, ended_at);
