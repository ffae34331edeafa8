// Does npm `jose` accept our access token from our JWKS alone? node verify-jwt.mjs ISSUER AUDIENCE  (token on stdin)
// NODE modules come from the folder that the caller put this file's copy into.
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { readFileSync } from 'node:fs';

const [issuer, audience] = process.argv.slice(2);
const token = readFileSync(0, 'utf8').trim();
const discovery = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
const keys = createRemoteJWKSet(new URL(discovery.jwks_uri));
const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt' });
console.log(JSON.stringify({ header: protectedHeader, claims: payload }));
