CREATE TABLE service (
    service_id      TEXT PRIMARY KEY,
    tenant_id       TEXT NOT NULL,
    name            TEXT NOT NULL,
    label           TEXT NOT NULL,
    image           TEXT NOT NULL,      -- '' while it waits for its first build
    image_served    TEXT,               -- what it was when a deployment last came to serve
    port            INTEGER NOT NULL,
    memory_mb       INTEGER NOT NULL,
    cpu_milli       INTEGER NOT NULL,
    health_path     TEXT NOT NULL,
    egress          TEXT NOT NULL,
    replicas        INTEGER NOT NULL,
    drain_s         INTEGER,            -- between the route that moved and the end of what served; NULL: the platform's
    volumes         TEXT NOT NULL,      -- JSON: name → path
    desired         TEXT NOT NULL,      -- running, stopped, deleted: what the tenant wants
    status          TEXT NOT NULL,      -- what is: see API.md
    serving         INTEGER NOT NULL,   -- 1 while some instance answers
    deployment_id   TEXT,               -- the last one that came to serve: what start and restart repeat
    image_digest    TEXT,
    container_id    TEXT,
    deployments     INTEGER NOT NULL,   -- how many were asked for: the next one's number is one more
    env_version     INTEGER NOT NULL,   -- version of the stream that last changed a variable
    crash_count     INTEGER NOT NULL,
    circuit_open    INTEGER NOT NULL,
    last_error_code TEXT,
    last_error      BLOB,               -- sealed
    last_error_of   TEXT,               -- deployment: it did not come to serve; instance: it did not go on
    last_crash      TEXT,               -- how the instance ended that crashed, in words; where that is the last error
    last_crashed_at INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    observed_at     INTEGER,            -- when the engine was last seen to agree
    version         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX service_of_tenant ON service (tenant_id, service_id);
CREATE UNIQUE INDEX service_name ON service (tenant_id, name) WHERE desired <> 'deleted';
CREATE UNIQUE INDEX service_label ON service (tenant_id, label) WHERE desired <> 'deleted';
