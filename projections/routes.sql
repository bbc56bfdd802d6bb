CREATE TABLE route (                   -- where requests are to go, and whether the router has said that it has it
    service_id    TEXT PRIMARY KEY,
    tenant_id     TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    targets       BLOB NOT NULL,       -- JSON: [{replica, instance, host, port}]
    confirmed     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
