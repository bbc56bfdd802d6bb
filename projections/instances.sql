CREATE TABLE instance (                 -- where deployments answer: the one that serves, and one that is to
    service_id    TEXT NOT NULL,
    replica       INTEGER NOT NULL,
    deployment_id TEXT NOT NULL,
    instance      TEXT NOT NULL,
    host          TEXT NOT NULL,
    port          INTEGER NOT NULL,
    PRIMARY KEY (service_id, deployment_id, replica)
) STRICT, WITHOUT ROWID;
