-- Schema with kept exchanges.
CREATE TABLE samples (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    at         INTEGER NOT NULL,  -- microseconds since 1970
    user       BLOB,              -- 16 bytes
    route      TEXT    NOT NULL,
    assigned   INTEGER NOT NULL,  -- 0 control, 1 candidate
    served     INTEGER NOT NULL,
    phase      INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    method     TEXT    NOT NULL,
    path       TEXT    NOT NULL,
    status     INTEGER NOT NULL,
    duration   INTEGER NOT NULL,  -- microseconds
    request    TEXT    NOT NULL,
    response   TEXT    NOT NULL
);
CREATE INDEX samples_by_route ON samples (route, at);
CREATE INDEX samples_by_time ON samples (at);
CREATE INDEX samples_by_user ON samples (user) WHERE user IS NOT NULL;
