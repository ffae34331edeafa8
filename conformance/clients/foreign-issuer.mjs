// Somebody else's identity provider: npm `oidc-provider`. node foreign-issuer.mjs AUDIENCE
// [FORMAT]; FORMAT is `jwt` (default) or `opaque`, which its introspection endpoint alone can judge.
// Prints one line of JSON {"issuer", "client_id", "client_secret"} when it listens; ends with its standard input.
import Provider from 'oidc-provider';
import http from 'node:http';

const [audience, format = 'jwt'] = process.argv.slice(2);
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
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: () => ({
        scope: 'orders:read', audience, accessTokenFormat: format, accessTokenTTL: 600, ...(format === 'jwt' && { jwt: { sign: { alg: 'RS256' } } }),
      }),
    },
  },
  ttl: { ClientCredentials: 600 },
});
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer, client_id: 'machine', client_secret: 'machine-secret' }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
