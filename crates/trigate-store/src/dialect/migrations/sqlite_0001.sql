-- All tables of schema 1. Every table of a tenant begins its primary key with the tenant.

CREATE TABLE feed_head (
    id INTEGER NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,
    probed_at INTEGER NOT NULL
) STRICT;
INSERT INTO feed_head (id, position, probed_at) VALUES (1, 0, 0);

CREATE TABLE changes (
    position INTEGER NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    at INTEGER NOT NULL,
    -- Of revocations and narrowings: until when they can hit something.
    keep_until INTEGER,
    what TEXT NOT NULL
) STRICT;
CREATE INDEX changes_standing ON changes (tenant, keep_until) WHERE keep_until IS NOT NULL;
-- Revoked tokens can be millions; all others are found without them.
CREATE INDEX changes_but_tokens ON changes (tenant, keep_until)
    WHERE keep_until IS NOT NULL AND substr(what, 1, 42) <> '{"what":"revoked","target":{"kind":"token"';

CREATE TABLE acts (
    tenant TEXT NOT NULL,
    place INTEGER NOT NULL,
    at INTEGER NOT NULL,
    user_id TEXT,
    client TEXT,
    application TEXT,
    target TEXT NOT NULL,
    -- The very bytes that were chained.
    bytes BLOB NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (tenant, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX acts_user ON acts (tenant, user_id, place) WHERE user_id IS NOT NULL;
CREATE INDEX acts_client ON acts (tenant, client, place) WHERE client IS NOT NULL;
CREATE INDEX acts_application ON acts (tenant, application, place) WHERE application IS NOT NULL;
CREATE INDEX acts_target ON acts (tenant, target, place);

CREATE TABLE act_heads (
    tenant TEXT NOT NULL PRIMARY KEY,
    length INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The longest life that an access token of this tenant was ever allowed: how long a narrowing must be remembered.
CREATE TABLE token_lives (
    tenant TEXT NOT NULL PRIMARY KEY,
    longest_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE applications (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    plan TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    -- Whatever was born before this position is dead; 0 when never revoked.
    revoked_at_position INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    application TEXT NOT NULL,
    digest BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_application ON keys (tenant, application);

CREATE TABLE clients (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    application TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    revoked_at_position INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    login_name TEXT NOT NULL,
    email TEXT NOT NULL,
    email_verified INTEGER NOT NULL,
    name TEXT NOT NULL,
    password_hash TEXT,
    roles TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    revoked_at_position INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, login_name)
) STRICT, WITHOUT ROWID;

-- What tokens minted before `position` may no longer claim. `kind`: user_role, client_role, client_scope.
CREATE TABLE narrowings (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX narrowings_over ON narrowings (keep_until);

CREATE TABLE sessions (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    cookie BLOB NOT NULL,
    -- First session of the line of sessions that replaced each other.
    root TEXT NOT NULL,
    -- Its cookie is good no more, because another session replaced it. Its tokens live on.
    replaced INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    born INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, cookie)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions (tenant, user_id);
CREATE INDEX sessions_root ON sessions (tenant, root);
CREATE INDEX sessions_over ON sessions (expires_at);

CREATE TABLE consents (
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    client TEXT NOT NULL,
    scopes TEXT NOT NULL,
    given_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, user_id, client)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    client TEXT NOT NULL,
    session TEXT,
    revoked INTEGER NOT NULL,
    born INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    -- When all that was issued under it has expired.
    keep_until INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_user ON grants (tenant, user_id);
CREATE INDEX grants_session ON grants (tenant, session) WHERE session IS NOT NULL;
CREATE INDEX grants_over ON grants (keep_until);

CREATE TABLE codes (
    tenant TEXT NOT NULL,
    digest BLOB NOT NULL,
    grant_id TEXT NOT NULL,
    client TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    challenge TEXT,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    PRIMARY KEY (tenant, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_over ON codes (expires_at);

CREATE TABLE refresh_tokens (
    tenant TEXT NOT NULL,
    digest BLOB NOT NULL,
    grant_id TEXT NOT NULL,
    client TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    successor BLOB,
    -- Until when a repetition gets the same successor again.
    repeat_until INTEGER,
    sealed_successor BLOB,
    PRIMARY KEY (tenant, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_over ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_sealed ON refresh_tokens (repeat_until) WHERE sealed_successor IS NOT NULL;
CREATE INDEX refresh_tokens_successor ON refresh_tokens (tenant, successor) WHERE sealed_successor IS NOT NULL;

CREATE TABLE opaque_tokens (
    tenant TEXT NOT NULL,
    digest BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (tenant, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX opaque_tokens_over ON opaque_tokens (expires_at);

CREATE TABLE revoked_tokens (
    tenant TEXT NOT NULL,
    token TEXT NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (tenant, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_tokens_over ON revoked_tokens (keep_until);

CREATE TABLE signing_keys (
    tenant TEXT NOT NULL,
    kid TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    published_until INTEGER,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, kid)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (
    tenant TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    tenant TEXT NOT NULL,
    subject BLOB NOT NULL,
    tries INTEGER NOT NULL,
    -- End of the window that the first try opened.
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_over ON attempts (ends_at);

CREATE TABLE assertion_ids (
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, client, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX assertion_ids_over ON assertion_ids (expires_at);

CREATE TABLE used_proofs (
    tenant TEXT NOT NULL,
    proof BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, proof)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_proofs_over ON used_proofs (expires_at);

-- Requests of an application in a day or a month; `period` is 20261124 or 202611.
CREATE TABLE usages (
    tenant TEXT NOT NULL,
    application TEXT NOT NULL,
    period INTEGER NOT NULL,
    used INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, application, period)
) STRICT, WITHOUT ROWID;
CREATE INDEX usages_over ON usages (ends_at);

-- The last report that each gate process made about them.
CREATE TABLE usage_reports (
    tenant TEXT NOT NULL,
    holder TEXT NOT NULL,
    number INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, holder)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_reports_seen ON usage_reports (seen_at);

CREATE TABLE decisions (
    tenant TEXT NOT NULL,
    node TEXT NOT NULL,
    place INTEGER NOT NULL,
    at INTEGER NOT NULL,
    user_id TEXT,
    application TEXT,
    client TEXT,
    key_id TEXT,
    session TEXT,
    certificate TEXT,
    address TEXT NOT NULL,
    reason TEXT,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, node, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX decisions_at ON decisions (tenant, at);
CREATE INDEX decisions_user ON decisions (tenant, user_id, at) WHERE user_id IS NOT NULL;
CREATE INDEX decisions_application ON decisions (tenant, application, at) WHERE application IS NOT NULL;
CREATE INDEX decisions_client ON decisions (tenant, client, at) WHERE client IS NOT NULL;
CREATE INDEX decisions_key ON decisions (tenant, key_id, at) WHERE key_id IS NOT NULL;
CREATE INDEX decisions_session ON decisions (tenant, session, at) WHERE session IS NOT NULL;
CREATE INDEX decisions_certificate ON decisions (tenant, certificate, at) WHERE certificate IS NOT NULL;
CREATE INDEX decisions_address ON decisions (tenant, address, at);

CREATE TABLE indexed_nodes (
    tenant TEXT NOT NULL,
    node TEXT NOT NULL,
    next_place INTEGER NOT NULL,
    PRIMARY KEY (tenant, node)
) STRICT, WITHOUT ROWID;
