-- Schema 1. Later schemas only add tables, columns with defaults, and indexes, so that the version
-- before can go on with the file.
CREATE TABLE events (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    name        TEXT    NOT NULL,
    at          INTEGER NOT NULL,  -- microseconds since 1970
    received_at INTEGER NOT NULL,
    user        BLOB,              -- 16 bytes
    route       TEXT,
    arm         INTEGER,           -- 0 control, 1 candidate
    phase       INTEGER,
    rule        INTEGER,
    randomised  REAL,
    bucket      INTEGER,
    sample      INTEGER,           -- the bits of an unsigned number
    value       REAL,
    data        TEXT    NOT NULL
);
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_user ON events (user) WHERE user IS NOT NULL;
CREATE TABLE cells (
    route TEXT    NOT NULL,
    phase INTEGER NOT NULL,
    part  TEXT    NOT NULL,
    bytes BLOB    NOT NULL,
    PRIMARY KEY (route, phase, part)
) WITHOUT ROWID;
CREATE TABLE states (
    route    TEXT    PRIMARY KEY,
    version  INTEGER NOT NULL,
    text     TEXT    NOT NULL,
    saved_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE history (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    route  TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    actor  TEXT    NOT NULL,
    detail TEXT    NOT NULL
);
CREATE INDEX history_by_route ON history (route, number);
CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
