"""Whose a sidecar's token is, for the xDS port: asked of the API server, told in the xDS room's words."""

from __future__ import annotations

from istio.errors import IstioError, TokenRefusedError, TooManyAskedError
from istio.token_reviews import TokenReviews
from xds_server.errors import CannotCheckTokenError, RefuseTokenError, TooManyOfPeerError
from xds_server.tokens import CheckToken, TokenOwner


def token_check(reviews: TokenReviews) -> CheckToken:
    """Return the check of tokens by these reviews."""

    async def check(token: str, peer: str) -> TokenOwner:
        try:
            found = await reviews.owner_of(token, peer=peer)
        except TokenRefusedError as error:
            raise RefuseTokenError(str(error)) from error
        except TooManyAskedError as error:
            raise TooManyOfPeerError(str(error)) from error
        except IstioError as error:
            raise CannotCheckTokenError(str(error)) from error
        return TokenOwner(found.namespace, found.service_account, pod=found.pod)

    return check
