// A service that proves itself by a client certificate and calls an API with the token bound to it, as npm
// `openid-client` does it.
// node mtls-service.mjs '{"issuer","client_id","scope","resource","api","method","cert","key","ca","other_cert","other_key"}'
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import * as client from 'openid-client';

const input = JSON.parse(process.argv[2]);
const read = (name) => readFileSync(input[name]);
// `fetch` over a connection with this certificate.
const withCertificate = (cert, key) => (url, options = {}) => {
  if (new URL(url).protocol !== 'https:') return fetch(url, options);
  return new Promise((resolve, reject) => {
    const headers = Object.fromEntries(new Headers(options.headers));
    const asked = request(url, { method: options.method, headers, cert, key, ca: read('ca') }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve(new Response(chunks.length ? Buffer.concat(chunks) : null,
        { status: answer.statusCode, headers: new Headers(answer.headers) })));
    });
    asked.on('error', reject);
    asked.end(options.body === undefined || options.body === null ? undefined : String(options.body));
  });
};
const own = withCertificate(read('cert'), read('key'));
const other = withCertificate(read('other_cert'), read('other_key'));
const config = await client.discovery(new URL(input.issuer), input.client_id,
  { use_mtls_endpoint_aliases: true }, client.TlsClientAuth(),
  { execute: [client.allowInsecureRequests], [client.customFetch]: own });
const tokens = await client.clientCredentialsGrant(config, { scope: input.scope, resource: input.resource });
const call = async (by) => {
  const answer = await by(input.api, { method: 'GET', headers: { authorization: `Bearer ${tokens.access_token}` } });
  return answer.status;
};
config[client.customFetch] = other;
const refused = await client.clientCredentialsGrant(config, { scope: input.scope }).then(() => 'taken', (e) => e.status);
console.log(JSON.stringify({
  access_token: tokens.access_token, token_type: tokens.token_type, refused, statuses: [await call(own), await call(other)],
}));
