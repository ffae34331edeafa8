// A service that gets a token bound to its key and calls an API with it, as npm `openid-client` does it.
// node dpop-service.mjs '{"issuer","client_id","client_secret","scope","resource","api"}'
import * as client from 'openid-client';

const input = JSON.parse(process.argv[2]);
const config = await client.discovery(new URL(input.issuer), input.client_id, undefined,
  client.ClientSecretPost(input.client_secret), { execute: [client.allowInsecureRequests] });
const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair(input.algorithm ?? 'ES256'));
const tokens = await client.clientCredentialsGrant(
  config, { scope: input.scope, resource: input.resource }, { DPoP });
const call = async () => (await client.fetchProtectedResource(
  config, tokens.access_token, new URL(input.api), 'GET', undefined, undefined, { DPoP })).status;
console.log(JSON.stringify({
  access_token: tokens.access_token, token_type: tokens.token_type, statuses: [await call(), await call()],
}));
