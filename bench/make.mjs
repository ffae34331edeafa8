// Keys, tokens and API keys for the bench, made anew: node make.mjs FOLDER TOKENS FRESH KEYS PART PARTS
// FRESH tokens are seen once each; they take the longest to sign, so several processes share the work (PART of PARTS).
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

const [folder, tokens, fresh, keys, part, parts] = process.argv.slice(2).map((arg, i) => (i ? Number(arg) : arg));
const write = (name, data) => fs.writeFileSync(path.join(folder, name), data);
const base64url = (data) => Buffer.from(data).toString('base64url');
const ISSUER = 'https://issuer.bench.test', AUDIENCE = 'https://api.bench.test';
const now = Math.floor(Date.now() / 1000);

// One key per algorithm, made by part 0 before the others begin.
const keyFile = (name) => path.join(folder, `${name}.key.pem`);
const algorithms = { rs256: 'RS256', es256: 'ES256' };

function makeKeys() {
  const jwks = [];
  for (const [name, alg] of Object.entries(algorithms)) {
    const pair = alg === 'RS256'
      ? crypto.generateKeyPairSync('rsa', { modulusLength: 2048 })
      : crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    fs.writeFileSync(keyFile(name), pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    write(`${name}.pub.pem`, pair.publicKey.export({ type: 'spki', format: 'pem' }));
    jwks.push({ ...pair.publicKey.export({ format: 'jwk' }), kid: `bench-${name}`, alg, use: 'sig' });
  }
  write('jwks.json', JSON.stringify({ keys: jwks }));
}

function signer(name) {
  const key = crypto.createPrivateKey(fs.readFileSync(keyFile(name)));
  const header = base64url(JSON.stringify({ alg: algorithms[name], typ: 'at+jwt', kid: `bench-${name}` }));
  return (claims) => {
    const input = `${header}.${base64url(JSON.stringify(claims))}`;
    const signature = crypto.sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' });
    return `${input}.${signature.toString('base64url')}`;
  };
}

// The random claims stand where LuaJIT samples a long text to hash it, a quarter and half way through the request: were
// those bytes alike, wrk would compare each of its requests with all others when it builds them.
const claims = (i, more) => ({
  iss: ISSUER, aud: AUDIENCE, sub: `user-${String(i).padStart(8, '0')}`, client_id: 'bench-client', org: 'acme',
  sid: crypto.randomUUID(), scope: 'openid profile orders:read orders:write reports:read', jti: crypto.randomUUID(),
  roles: ['orders.reader', 'reports.viewer'], iat: now, exp: now + 12 * 3600, ...more,
});

const lines = (count, make) => Array.from({ length: count }, (_, i) => make(i)).join('\n') + '\n';

function bend(token) {
  const [header, payload, signature] = token.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  bytes[10] ^= 1;
  return `${header}.${payload}.${bytes.toString('base64url')}`;
}

if (part === 0) {
  makeKeys();
  const sign = signer('rs256');
  const good = Array.from({ length: tokens }, (_, i) => sign(claims(i)));
  write('rs256.tokens', good.join('\n') + '\n');
  write('rs256.bad', good.map(bend).join('\n') + '\n');
  write('rs256.expired', lines(tokens, (i) => sign(claims(i, { iat: now - 7200, exp: now - 3600 }))));
  // Every one of these has to be refused by whoever is measured with tokens.
  const [header, payload, signature] = good[0].split('.');
  const none = base64url(JSON.stringify({ alg: 'none', kid: 'bench-rs256' }));
  write('rs256.must-refuse', [
    '', 'not.a.token', bend(good[0]), `${none}.${payload}.`, `${none}.${payload}.${signature}`,
    `${header}.${base64url(JSON.stringify(claims(0, { roles: ['admin'] })))}.${signature}`,
    sign(claims(0, { iat: now - 7200, exp: now - 3600 })), sign(claims(0, { iss: 'https://evil.test' })),
    sign(claims(0, { aud: 'https://other.test' })),
  ].join('\n') + '\n');
  const names = Array.from({ length: keys }, () => 'bk_live_' + crypto.randomBytes(24).toString('base64url'));
  write('keys', names.join('\n') + '\n');
  write('keys.haproxy', names.map((key, i) => `${key} consumer-${i}`).join('\n') + '\n');
  write('keys.nginx', names.map((key, i) => `"${key}" consumer-${i};`).join('\n') + '\n');
  write('keys.must-refuse', '\nbk_live_' + 'A'.repeat(32) + '\n');
  const rows = [];
  while (JSON.stringify({ orders: rows }).length < 1000) rows.push({ id: 100000 + rows.length, state: 'shipped', total: '129.90' });
  write('body.json', JSON.stringify({ orders: rows }));
  write('made', JSON.stringify({ at: now, issuer: ISSUER, audience: AUDIENCE }));
} else {
  for (const name of Object.keys(algorithms)) {
    const sign = signer(name);
    const mine = Math.ceil(fresh / parts);
    write(`${name}.fresh.${part}`, lines(mine, (i) => sign(claims(part * 1e7 + i))));
  }
}
