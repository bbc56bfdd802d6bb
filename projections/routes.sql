CREATE TABLE route (                   -- where requests go, and where they are to go once the router has it
    service_id    TEXT PRIMARY KEY,
    tenant_id     TEXT NOT NULL,
    deployment_id TEXT NOT NULL,       -- '' while none was ever routed
    targets       BLOB NOT NULL,       -- JSON: [{replica, instance, host, port}]
    next_id       TEXT,                -- the deployment that is to serve
    next_targets  BLOB
) STRICT, WITHOUT ROWID;
