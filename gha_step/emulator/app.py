"""How an App proves itself: its JWT, checked as GitHub checks it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from . import refusal
from .refusal import Refusal
from .state import App, State
from .wire import Json

LONGEST = 600  # seconds from now to a JWT's end


def authenticated_app(authorization: str | None, state: State) -> App:
    """The App whose JWT it is; a Refusal is raised for anything else."""
    import jwt  # 60 ms, and only those pay who have an App

    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":  # unlike a token, a JWT has no other scheme
        raise refusal.bad_jwt()
    try:
        claims: Mapping[str, Json] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise refusal.bad_jwt() from None
    app = state.app(str(claims.get("iss")))
    if app is None:
        raise Refusal(404, "Integration not found")
    try:
        # The times are GitHub's, not this machine's.
        jwt.decode(token, app.public_key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False})
    except jwt.InvalidTokenError:
        raise refusal.bad_jwt() from None
    now = state.clock()
    issued, ends = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or issued > math.ceil(now):
        raise refusal.bad_jwt(
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        )
    if not isinstance(ends, int) or ends <= now:
        raise refusal.bad_jwt(
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at "
            "which the assertion expires"
        )
    if ends > now + LONGEST:
        raise refusal.bad_jwt("'Expiration time' claim ('exp') is too far in the future")
    return app
