// The authorization code flow as npm `openid-client` drives it, a person's part played in headless Chromium on the
// real pages. node code-flow.mjs '{"issuer","client_id","email","password","scope","resource","screenshots"?,"dpop"?,"api"?}'
import { chromium } from 'playwright-core';
import * as client from 'openid-client';
import http from 'node:http';

const input = JSON.parse(process.argv[2]);
const config = await client.discovery(new URL(input.issuer), input.client_id, undefined, client.None(), {
  execute: [client.allowInsecureRequests],
});

// The client's own loopback address receives the answer (RFC 8252 §7.3).
let arrived;
const answer = new Promise((resolve) => { arrived = resolve; });
const server = http.createServer((request, response) => {
  response.end('You may close this window.');
  if (request.url.startsWith('/callback')) arrived(request.url);
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const redirect_uri = `http://127.0.0.1:${server.address().port}/callback`;

// Bound to a key (RFC 9449) where the input says so; the library follows the servers' nonces by itself.
const options = input.dpop ? { DPoP: client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256')) } : undefined;
const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const nonce = client.randomNonce();
const parameters = {
  redirect_uri, scope: input.scope, state, nonce,
  code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
};
if (options) parameters.dpop_jkt = await options.DPoP.calculateThumbprint();
if (input.resource) parameters.resource = input.resource;

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
try {
  // No JavaScript: every page must work without.
  const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
  const foreign = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin !== new URL(input.issuer).origin && !request.url().startsWith(redirect_uri)) foreign.push(request.url());
  });
  const shot = async (name) => input.screenshots && page.screenshot({ path: `${input.screenshots}/${name}.png` });
  await page.goto(client.buildAuthorizationUrl(config, parameters).href);
  await shot('login');
  await page.getByLabel(/e-?mail/i).fill(input.email);
  await page.getByLabel(/password/i).fill(input.password);
  await page.getByRole('button', { name: /sign in|log in|continue/i }).click();
  if (!page.url().startsWith(redirect_uri)) {
    await shot('consent');
    await page.getByRole('button', { name: 'Allow', exact: true }).click();
  }
  const callback = new URL(await answer, redirect_uri);
  const tokens = await client.authorizationCodeGrant(config, callback, {
    pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true,
  }, undefined, options);
  const userinfo = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, options);
  let refreshed;
  if (tokens.refresh_token) refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, options);
  const access = refreshed?.access_token ?? tokens.access_token;
  const api = input.api && await client.fetchProtectedResource(
    config, access, new URL(input.api), 'GET', undefined, undefined, options);
  console.log(JSON.stringify({
    access_token: access, token_type: tokens.token_type, api: api?.status, refresh_token: refreshed?.refresh_token,
    id_claims: tokens.claims(), userinfo, foreign_requests: foreign, scope: tokens.scope,
  }));
} finally {
  await browser.close();
  server.close();
}
