CREATE TABLE deployment (
    deployment_id TEXT PRIMARY KEY,
    service_id    TEXT NOT NULL,
    tenant_id     TEXT NOT NULL,
    intent        INTEGER NOT NULL UNIQUE,  -- position of its request
    number        INTEGER NOT NULL,         -- per service, from 1
    trigger       TEXT NOT NULL,
    image         TEXT NOT NULL,            -- as asked for
    pinned        TEXT,                     -- as fetched: what a rollback runs
    digest        TEXT,
    port          INTEGER NOT NULL,
    memory_mb     INTEGER NOT NULL,
    cpu_milli     INTEGER NOT NULL,
    health_path   TEXT NOT NULL,
    egress        TEXT NOT NULL,
    replicas      INTEGER NOT NULL,
    volumes       TEXT NOT NULL,            -- JSON: name → path
    env_version   INTEGER NOT NULL,
    status        TEXT NOT NULL,            -- pending deploying running failed crashed superseded stopped cancelled
    container_id  TEXT,
    error_code    TEXT,
    error         BLOB,                     -- sealed
    tail          BLOB,                     -- sealed: the last of its log
    created_at    INTEGER NOT NULL,
    started_at    INTEGER,
    completed_at  INTEGER,
    cancelled_at  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX deployment_of_service ON deployment (service_id, number);

CREATE TABLE up (                           -- deployments that came up and were not ended since, `running` or `crashed`
    service_id    TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    PRIMARY KEY (service_id, deployment_id)
) STRICT, WITHOUT ROWID;
