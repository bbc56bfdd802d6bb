CREATE TABLE build (
    build_id      TEXT PRIMARY KEY,
    service_id    TEXT NOT NULL,
    tenant_id     TEXT NOT NULL,
    deployment_id TEXT NOT NULL,     -- the one that it becomes, once it is asked for
    intent        INTEGER NOT NULL,  -- position of what asks for the step that is under way
    source        BLOB NOT NULL,     -- equal for requests that want the same
    url           BLOB NOT NULL,     -- sealed
    ref           TEXT NOT NULL,     -- '' for the default branch
    builder       TEXT NOT NULL,
    image         TEXT NOT NULL,
    commit_id     TEXT,
    status        TEXT NOT NULL,     -- pending running succeeded failed cancelled
    step          TEXT NOT NULL,     -- clone plan build push deploy: the one that is under way, or was last
    attempt       INTEGER NOT NULL,  -- at that step
    digest        TEXT,
    stopped       INTEGER NOT NULL,  -- 1 where the service was stopped after the build was asked for
    error_code    TEXT,
    error         BLOB,              -- sealed
    created_at    INTEGER NOT NULL,
    started_us    INTEGER,           -- deadlines count from here
    finished_at   INTEGER,
    version       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX build_of_service ON build (service_id, build_id);
CREATE INDEX build_of_tenant ON build (tenant_id, build_id);
CREATE INDEX build_of_deployment ON build (deployment_id);
CREATE INDEX build_open ON build (intent) WHERE status IN ('pending', 'running');
