// Does npm `jose` accept this compact JWS? Reads the adapter's JSON lines, answers each with one line, in order.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.argv.at(-1)}/x.js`);
const { compactVerify, createLocalJWKSet } = await import(pathToFileURL(require.resolve("jose")));

// Where several keys of a set can be meant, jose leaves it to its caller to try each of them.
async function verify(token, keys) {
  try {
    return await compactVerify(token, keys);
  } catch (error) {
    if (error?.code !== "ERR_JWKS_MULTIPLE_MATCHING_KEYS") throw error;
    for await (const key of error) {
      try {
        return await compactVerify(token, key);
      } catch {}
    }
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, jwk, jwks, token } = JSON.parse(line);
  try {
    await verify(token, jwk === undefined ? createLocalJWKSet(jwks) : jwk);
    process.stdout.write(`{"id":${id},"ok":true}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ id, ok: false, error: String(error?.code ?? error) })}\n`);
  }
}
