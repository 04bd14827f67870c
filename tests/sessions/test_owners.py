"""With authentication a session belongs to the credential that opened it."""

from __future__ import annotations

from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from pair import Pair, StartReplica

NOT_FOUND = {"code": -32600, "message": "Session not found"}


async def test_a_session_is_its_owners_alone(start_replica: StartReplica) -> None:
    tokens = {
        "alice-token": {"client_id": "alice", "scopes": []},
        "bob-token": {"client_id": "bob", "scopes": []},
    }
    pair = Pair(
        await start_replica("a", auth=StaticTokenVerifier(tokens)),
        await start_replica("b", auth=StaticTokenVerifier(tokens)),
    )
    pair.extra = {"authorization": "Bearer alice-token"}
    await pair.open(pair.a)
    assert (await pair.call(pair.b, "whoami")).status == 200
    pair.extra = {"authorization": "Bearer bob-token"}
    for answer in (await pair.call(pair.b, "whoami"), await pair.call(pair.a, "whoami"), await pair.delete(pair.b)):
        assert (answer.status, answer.error) == (404, NOT_FOUND)
    async with pair.listen(pair.b) as stream:
        assert stream.response.status_code == 404
    pair.extra = {}
    assert (await pair.call(pair.b, "whoami")).status == 401
    await pair.close()
