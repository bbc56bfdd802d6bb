CREATE TABLE database (
    database_id     TEXT PRIMARY KEY,
    tenant_id       TEXT NOT NULL,
    intent          INTEGER NOT NULL,   -- position of its request: its container's identity for good
    name            TEXT NOT NULL,
    label           TEXT NOT NULL,      -- <label>.db.internal
    kind            TEXT NOT NULL,      -- postgres, redis
    image           TEXT NOT NULL,      -- as asked for
    pinned          TEXT,               -- as fetched: what runs again
    digest          TEXT,
    memory_mb       INTEGER NOT NULL,
    cpu_milli       INTEGER NOT NULL,
    port            INTEGER NOT NULL,
    db_name         TEXT NOT NULL,
    username        TEXT NOT NULL,
    password        BLOB,               -- sealed; NULL once purged
    address         TEXT NOT NULL,      -- in the tenant's network, for as long as there is a volume
    desired         TEXT NOT NULL,      -- running, stopped, deleted (its volume is kept), purged
    status          TEXT NOT NULL,      -- provisioning running restoring failed stopped unavailable deleted
    container_id    TEXT,
    host            TEXT NOT NULL,      -- where the platform saw it answer, '' until it did
    host_port       INTEGER NOT NULL,
    ran             INTEGER NOT NULL,   -- 1 once it answered a query: from then on its volume holds what is somebody's
    crash_count     INTEGER NOT NULL,
    last_error_code TEXT,
    last_error      BLOB,               -- sealed
    restore_code    TEXT,               -- why the last restore failed, until another is asked for
    restore_error   BLOB,               -- sealed
    last_crashed_at INTEGER,
    purge_us        INTEGER,            -- until when the volume of a deleted one is kept
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    observed_at     INTEGER,
    version         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX database_of_tenant ON database (tenant_id, database_id);
CREATE UNIQUE INDEX database_name ON database (tenant_id, name) WHERE desired IN ('running', 'stopped');
CREATE UNIQUE INDEX database_label ON database (tenant_id, label) WHERE desired IN ('running', 'stopped');

CREATE TABLE database_crash (           -- the window in which crashes are counted is cut from this
    database_id TEXT NOT NULL,
    position    INTEGER NOT NULL,
    at_us       INTEGER NOT NULL,
    PRIMARY KEY (database_id, position)
) STRICT, WITHOUT ROWID;
