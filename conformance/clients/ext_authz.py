"""Asks an ext_authz service as Envoy does: grpcio, and Envoy's own messages from xds-protos.

One JSON object a line on standard input: method, path, host, headers ([[name, value], …]), peer, raw (lines of one name
stay apart, as with `encode_raw_headers`), certificate (as with `include_peer_certificate`). One line of answer each."""

import json
import sys

import grpc
from envoy.service.auth.v3 import external_auth_pb2 as auth
from envoy.service.auth.v3 import external_auth_pb2_grpc as service


def request(ask):
    check = auth.CheckRequest()
    source = check.attributes.source.address.socket_address
    source.address, source.port_value = ask["peer"], 50000
    check.attributes.source.certificate = ask["certificate"]
    http = check.attributes.request.http
    http.id, http.scheme, http.protocol, http.size = "1", "http", "HTTP/1.1", -1
    http.method, http.path, http.host = ask["method"], ask["path"], ask["host"]
    pseudo = [[":authority", ask["host"]], [":method", ask["method"]], [":path", ask["path"]], [":scheme", "http"]]
    for name, value in pseudo + ask["headers"]:
        name = name.lower()
        if ask["raw"]:
            http.header_map.headers.add(key=name, raw_value=value.encode())
        elif name in http.headers:
            http.headers[name] += "," + value
        else:
            http.headers[name] = value
    return check


def told(options):
    return [[option.header.key, option.header.value] for option in options]


def answer(stub, ask):
    try:
        response = stub.Check(request(ask), timeout=10)
    except grpc.RpcError as error:
        return {"error": error.code().name}
    if response.HasField("ok_response") and response.status.code == 0:
        ok = response.ok_response
        # In place of what is there, for every Envoy.
        assert all(option.HasField("append") and not option.append.value for option in ok.headers)
        return {"status": 200, "set": told(ok.headers), "remove": list(ok.headers_to_remove),
                "headers": told(ok.response_headers_to_add), "body": ""}
    denied = response.denied_response
    assert response.status.code != 0 and not response.HasField("ok_response")
    return {"status": denied.status.code, "set": [], "remove": [], "headers": told(denied.headers), "body": denied.body}


stub = service.AuthorizationStub(grpc.insecure_channel(sys.argv[1]))
for line in sys.stdin:
    print(json.dumps(answer(stub, json.loads(line))), flush=True)
