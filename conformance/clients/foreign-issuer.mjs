// Somebody else's identity provider: npm `oidc-provider` with JWT access tokens. node foreign-issuer.mjs AUDIENCE
// Prints one line of JSON {"issuer", "client_id", "client_secret"} when it listens; ends with its standard input.
import Provider from 'oidc-provider';
import http from 'node:http';

const [audience] = process.argv.slice(2);
const server = http.createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'machine', client_secret: 'machine-secret', grant_types: ['client_credentials'],
    redirect_uris: [], response_types: [], token_endpoint_auth_method: 'client_secret_post',
  }],
  scopes: ['orders:read'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: () => ({
        scope: 'orders:read', audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  ttl: { ClientCredentials: 600 },
});
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer, client_id: 'machine', client_secret: 'machine-secret' }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
