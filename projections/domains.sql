CREATE TABLE domain (                  -- host names of services beside their own; only verified ones are routed
    service_id  TEXT NOT NULL,
    host        TEXT NOT NULL,
    tenant_id   TEXT NOT NULL,
    verified    INTEGER NOT NULL,
    added_at    INTEGER NOT NULL,
    verified_at INTEGER,
    checked_at  INTEGER,               -- when its record was last looked for
    finding     TEXT,                  -- what that look found
    check_at    INTEGER,               -- when it is looked for next, if it is
    check_open  INTEGER,               -- the intent of that
    PRIMARY KEY (service_id, host)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX domain_verified ON domain (host) WHERE verified;  -- a host is nobody's or one service's
CREATE INDEX domain_of_tenant ON domain (tenant_id, host);
