// An API with everything that stays open: a WebSocket that echoes, server-sent events, and every kind of gRPC call.
// Prints its ports as one line of JSON.
import http from "node:http";
import { WebSocketServer } from "ws";
import grpc from "@grpc/grpc-js";

const web = http.createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const timer = setInterval(() => response.write(`data: ${Date.now()}\n\n`), 50);
  response.on("close", () => clearInterval(timer));
});
const sockets = new WebSocketServer({ noServer: true });
web.on("upgrade", (request, socket, head) => {
  if (request.url.endsWith("/refused")) {
    socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    return;
  }
  sockets.handleUpgrade(request, socket, head, (ws) => {
    ws.send(`user ${request.headers["x-trigate-user"] ?? "none"} ${request.headers.authorization ?? "no credential"}`);
    ws.on("message", (data) => ws.send(`echo ${data}`));
  });
});

const plain = (value) => value;
const call = (path, requestStream, responseStream) => ({
  path, requestStream, responseStream,
  requestSerialize: plain, requestDeserialize: plain, responseSerialize: plain, responseDeserialize: plain,
});
const api = new grpc.Server();
api.addService(
  {
    unary: call("/rpc/Unary", false, false),
    up: call("/rpc/Up", true, false),
    down: call("/rpc/Down", false, true),
    both: call("/rpc/Both", true, true),
    fail: call("/rpc/Fail", false, false),
  },
  {
    unary: (it, done) => {
      const trailer = new grpc.Metadata();
      trailer.set("x-after", "told after");
      trailer.set("x-trigate-user", "usr_evil");
      done(null, Buffer.from(`${it.request} ${it.metadata.get("x-trigate-user")[0] ?? "nobody"}`), trailer);
    },
    up: (it, done) => {
      let count = 0;
      it.on("data", () => (count += 1));
      it.on("end", () => done(null, Buffer.from(`${count}`)));
    },
    down: (it) => {
      let count = 0;
      const timer = setInterval(() => it.write(Buffer.from(`${count++}`)), 20);
      it.on("cancelled", () => clearInterval(timer));
      it.on("close", () => clearInterval(timer));
    },
    both: (it) => {
      it.on("data", (data) => it.write(Buffer.from(`echo ${data}`)));
      it.on("end", () => it.end());
    },
    fail: (it, done) => done({ code: grpc.status.FAILED_PRECONDITION, details: "not today" }),
  },
);
web.listen(0, "127.0.0.1", () =>
  api.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    console.log(JSON.stringify({ web: web.address().port, grpc: port, error: error?.message }));
  }),
);
