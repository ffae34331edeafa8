// A WebSocket or gRPC client written by others. Arguments: what to do, host:port, token. Prints one JSON line per event.
import WebSocket from "ws";
import grpc from "@grpc/grpc-js";

const [what, at, token] = process.argv.slice(2);
const say = (event) => console.log(JSON.stringify(event));

function websocket(path) {
  const ws = new WebSocket(`ws://${at}${path}`, { headers: { authorization: `Bearer ${token}` } });
  ws.on("open", () => ws.send("hello"));
  ws.on("message", (data) => say({ got: data.toString() }));
  ws.on("unexpected-response", (_, response) => say({ status: response.statusCode }) ?? process.exit());
  ws.on("error", (error) => say({ error: error.message }));
  ws.on("close", (code) => say({ closed: code }));
}

const plain = (value) => value;
const call = (path, requestStream, responseStream) => ({
  path, requestStream, responseStream,
  requestSerialize: plain, requestDeserialize: plain, responseSerialize: plain, responseDeserialize: plain,
});
const Client = grpc.makeGenericClientConstructor({
  unary: call("/rpc/Unary", false, false),
  up: call("/rpc/Up", true, false),
  down: call("/rpc/Down", false, true),
  both: call("/rpc/Both", true, true),
  fail: call("/rpc/Fail", false, false),
});

function connect() {
  const client = new Client(at, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return { client, metadata };
}

function every() {
  const { client, metadata } = connect();
  const unary = client.unary(Buffer.from("hello"), metadata, (error, answer) => say({ unary: `${answer}`, code: error?.code ?? 0 }));
  unary.on("status", (status) => say({ trailers: status.metadata.getMap() }));
  const up = client.up(metadata, (error, answer) => say({ up: `${answer}`, code: error?.code ?? 0 }));
  for (let n = 0; n < 5; n++) up.write(Buffer.from(`${n}`));
  up.end();
  const both = client.both(metadata);
  let heard = 0;
  both.on("data", (data) => {
    heard += 1;
    if (heard < 3) both.write(Buffer.from(`${heard}`));
    else both.end();
  });
  both.on("status", (status) => say({ both: heard, code: status.code }));
  both.on("error", () => {});
  both.write(Buffer.from("0"));
  client.fail(Buffer.from("x"), metadata, (error) => say({ fail: error?.details, code: error?.code }));
}

/// Holds a call open until it is ended.
function hold(kind) {
  const { client, metadata } = connect();
  const open = kind === "down" ? client.down(Buffer.from("x"), metadata) : client[kind](metadata, () => {});
  if (kind !== "down") {
    setInterval(() => open.write(Buffer.from("x")), 20);
    setTimeout(() => say({ open: true }), 300);
  }
  let count = 0;
  open.on("data", () => (count += 1) === 3 && say({ open: true }));
  open.on("status", (status) => say({ ended: status.code, details: status.details }) ?? setTimeout(() => process.exit(), 50));
  open.on("error", () => {});
}

if (what.startsWith("/")) websocket(what);
else if (what === "every") every();
else hold(what);
