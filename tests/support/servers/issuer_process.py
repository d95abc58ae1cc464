"""A real OpenID Connect issuer: `python -m tests.support.servers.issuer_process PORT`.

Beside what every issuer has, it signs whatever claims it is sent, takes a new key in place of its
own, says how often its keys were read, and describes itself oddly below /odd.
"""

import os
import sys

import flask
import jwt
import oidc_provider_mock
from werkzeug.serving import make_server


def make_app() -> flask.Flask:
    """The issuer with four more paths."""
    app = oidc_provider_mock.app()
    reads = []

    @app.before_request
    def count() -> None:
        if flask.request.path == "/jwks":
            reads.append(1)

    @app.post("/sign")
    def sign() -> str:
        key = flask.g.oidc_provider_mock_storage.jwk
        claims, kid = flask.request.get_json(), key.thumbprint()
        return jwt.encode(claims, key.get_private_key(), "RS256", {"kid": kid})

    @app.post("/rotate")
    def rotate() -> str:
        storage = flask.g.oidc_provider_mock_storage
        storage.jwk = type(storage.jwk).generate_key(is_private=True)
        return ""

    @app.get("/reads")
    def count_reads() -> str:
        return str(len(reads))

    @app.get("/odd/.well-known/openid-configuration")
    def answer_oddly() -> str:
        return "7"

    return app


if __name__ == "__main__":
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # it speaks http, on this machine alone
    make_server("127.0.0.1", int(sys.argv[1]), make_app(), threaded=True).serve_forever()
