"""Does PyPI `PyJWT` accept our access token from our JWKS alone? verify_jwt.py ISSUER AUDIENCE  (token on stdin)"""
import json
import sys
import urllib.request

import jwt

issuer, audience = sys.argv[1:3]
token = sys.stdin.read().strip()
with urllib.request.urlopen(f"{issuer}/.well-known/oauth-authorization-server") as answer:
    jwks_uri = json.load(answer)["jwks_uri"]
key = jwt.PyJWKClient(jwks_uri).get_signing_key_from_jwt(token)
claims = jwt.decode(
    token, key, algorithms=["RS256", "ES256", "EdDSA"], issuer=issuer, audience=audience,
    options={"require": ["exp", "iat", "sub", "jti", "client_id"]},
)
print(json.dumps({"header": jwt.get_unverified_header(token), "claims": claims}))
