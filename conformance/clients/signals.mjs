// Another issuer that signs with npm `jose`: access tokens, logout tokens, security events; and a transmitter that is
// polled (RFC 8936). node signals.mjs
// Prints {"jwks", "poll"} first; then one line for each line of JSON on standard input:
//   {"typ", "claims"}  ->  {"token"}     {"queue": {jti: token}} -> {}     {"polled": true} -> {"acked", "errors", "asked"}
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import http from 'node:http';
import readline from 'node:readline';

const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
const jwk = { ...(await exportJWK(publicKey)), kid: 'foreign-1', alg: 'RS256', use: 'sig' };

let waiting = {};
const acked = [], errors = {}, asked = [];
const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    if (request.url !== '/poll' || request.headers.authorization !== 'Bearer poll-token') {
      response.writeHead(401).end();
      return;
    }
    const question = JSON.parse(body);
    asked.push(question.maxEvents);
    for (const jti of question.ack ?? []) { acked.push(jti); delete waiting[jti]; }
    for (const [jti, error] of Object.entries(question.setErrs ?? {})) { errors[jti] = error; delete waiting[jti]; }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ sets: waiting, moreAvailable: false }));
  });
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
say({ jwks: { keys: [jwk] }, poll: `http://127.0.0.1:${server.address().port}/poll` });

for await (const line of readline.createInterface({ input: process.stdin })) {
  const asks = JSON.parse(line);
  if (asks.queue) {
    waiting = { ...waiting, ...asks.queue };
    say({});
  } else if (asks.polled) {
    say({ acked, errors, asked: asked.length });
  } else {
    const header = { alg: 'RS256', kid: 'foreign-1', ...(asks.typ === undefined ? {} : { typ: asks.typ }) };
    say({ token: await new SignJWT(asks.claims).setProtectedHeader(header).sign(privateKey) });
  }
}
process.exit(0);
