"""An incremental subscription, rule by rule. Places are sections of Envoy's xDS protocol document."""

from __future__ import annotations

import pytest

from tests.xds_server.small_world import Delta, answer, by_name, cds, eds, lds, names
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.subscription import Request, Subscription

A, A2, B, X = eds("A"), eds("A", "2"), eds("B"), eds("X")
CA, CA2, CB = cds("A"), cds("A", "2"), cds("B")


@pytest.mark.parametrize("type_url", [CDS, LDS])
def test_naming_nothing_at_first_means_everything(type_url: str) -> None:
    """Legacy wildcard ("Incremental xDS", note on wildcards)."""
    make = cds if type_url == CDS else lds

    assert names(answer(Delta(type_url).server, by_name(make("A"), make("B")))) == ["A", "B"]


@pytest.mark.parametrize("type_url", [EDS, RDS])
def test_naming_nothing_is_nothing_for_other_types(type_url: str) -> None:
    """The wildcard exists for listeners and clusters."""
    assert answer(Delta(type_url).server, by_name(A)) is None


def test_only_unsubscribing_at_first_is_no_wildcard() -> None:
    """Legacy: the request must have no names in both lists."""
    server = Subscription(CDS, "delta")
    server.receive(Request(unsubscribe=("A",)))

    assert answer(server, by_name(CA)) is None


def test_a_wildcard_client_hears_at_once_that_there_is_nothing() -> None:
    """An empty first response ends the client's waiting."""
    response = answer(Delta(CDS).server, {})

    assert response is not None
    assert (response.resources, response.removed, response.missing) == ((), (), ())


def test_only_what_changed_is_sent() -> None:
    """ "Grouping Resources into Responses": 1 of 100 changed, 1 is sent."""
    many = {f"c{i}": cds(f"c{i}") for i in range(100)}
    client = Delta(CDS)
    client.ack(answer(client.server, many))

    assert names(answer(client.server, many | by_name(cds("c7", "2")))) == ["c7"]


def test_a_deletion_is_told_once() -> None:
    """ "Deleting Resources": removed_resources; created again, it is sent."""
    client = Delta(EDS, "A", "B")
    client.ack(answer(client.server, by_name(A, B)))
    response = answer(client.server, by_name(B))
    assert response is not None
    assert (response.removed, response.resources) == (("A",), ())
    client.ack(response)
    assert answer(client.server, by_name(B)) is None

    assert names(answer(client.server, by_name(A, B))) == ["A"]


def test_an_unknown_name_is_reported_as_removed_and_remembered() -> None:
    """The client learns quickly that it does not exist; the subscription stays."""
    client = Delta(EDS, "A", "X")
    response = answer(client.server, by_name(A))
    assert response is not None
    assert (names(response), response.missing) == (["A"], ("X",))
    client.ack(response)
    assert answer(client.server, by_name(A)) is None

    assert names(answer(client.server, by_name(A, X))) == ["X"]


def test_a_known_name_subscribed_again_is_sent_again() -> None:
    """ "the server must still provide those resources": the client may have forgotten them."""
    client = Delta(EDS, "A", "B")
    client.ack(answer(client.server, by_name(A, B)))
    client.ask("A")

    assert names(answer(client.server, by_name(A, B))) == ["A"]


def test_a_name_on_top_of_the_wildcard_is_sent() -> None:
    """Newly named, though the wildcard has already brought it."""
    client = Delta(CDS)
    client.ack(answer(client.server, by_name(CA, CB)))
    client.ask("A")

    assert names(answer(client.server, by_name(CA, CB))) == ["A"]


def test_the_star_subscribed_again_sends_everything_again() -> None:
    """ "*" is a name as others are: subscribed again, what it covers must be provided."""
    client = Delta(CDS, "*")
    client.ack(answer(client.server, by_name(CA, CB)))
    client.ask("*")

    assert names(answer(client.server, by_name(CA, CB))) == ["A", "B"]


def test_unsubscribing_a_name_that_the_wildcard_covers_sends_it() -> None:
    """ "Unsubscribing from Resources": the client cannot know whether to keep it."""
    client = Delta(CDS, "*", "A")
    client.ack(answer(client.server, by_name(CA, CB)))
    client.ask(less=("A",))

    assert names(answer(client.server, by_name(CA, CB))) == ["A"]


def test_unsubscribing_a_name_that_does_not_exist_beside_the_wildcard() -> None:
    """The same exception, other half: it is not in the wildcard, so it is reported as removed."""
    client = Delta(CDS, "*", "X")
    client.ack(answer(client.server, by_name(CA)))
    client.ask(less=("X",))
    response = answer(client.server, by_name(CA))

    assert response is not None
    assert (response.resources, response.missing) == ((), ("X",))


def test_an_unsubscription_needs_no_answer() -> None:
    """Without a wildcard the server says nothing, and sends no more of it."""
    client = Delta(EDS, "A", "B")
    client.ack(answer(client.server, by_name(A, B)))
    client.ask(less=("A",))
    assert answer(client.server, by_name(A, B)) is None

    assert answer(client.server, by_name(A2, B)) is None
    assert answer(client.server, by_name(B)) is None


def test_a_phantom_unsubscription_is_ignored() -> None:
    """A name that the client never subscribed to."""
    client = Delta(EDS, "A")
    client.ack(answer(client.server, by_name(A)))
    client.ask(less=("nobody",))

    assert answer(client.server, by_name(A)) is None
    assert names(answer(client.server, by_name(A2))) == ["A"]


def test_a_phantom_unsubscription_beside_the_wildcard_is_ignored() -> None:
    """The exception is for names that were subscribed to."""
    client = Delta(CDS, "*")
    client.ack(answer(client.server, by_name(CA)))
    client.ask(less=("A", "nobody"))

    assert answer(client.server, by_name(CA)) is None


def test_the_wildcard_can_be_given_up_and_names_kept() -> None:
    """ "*" is unsubscribed, A stays; then A too, and that is nothing, not everything."""
    client = Delta(CDS, "*", "A")
    client.ack(answer(client.server, by_name(CA, CB)))
    client.ask(less=("*",))
    assert answer(client.server, by_name(CA, cds("B", "2"))) is None
    assert names(answer(client.server, by_name(CA2, CB))) == ["A"]
    client.ack(client.server.pending)
    client.ask(less=("A",))

    assert answer(client.server, by_name(cds("A", "3"), cds("B", "3"))) is None


def test_the_legacy_wildcard_is_given_up_by_its_name() -> None:
    """Client sends nothing, then A, then unsubscribes "*": A stays (the specification's own example)."""
    client = Delta(CDS)
    client.ack(answer(client.server, by_name(CA, CB)))
    client.ask("A")
    client.ack(answer(client.server, by_name(CA, CB)))
    client.ask(less=("*",))

    assert answer(client.server, by_name(CA, cds("B", "2"))) is None
    assert (client.server.wildcard, client.server.names) == (False, {"A"})


def test_a_refused_resource_is_sent_to_a_client_that_takes_the_wildcard_up_again() -> None:
    """What was parked under the old subscription is not parked under the new one."""
    client = Delta(CDS, "*")
    client.nack(answer(client.server, by_name(CA)))
    client.ask(less=("*",))
    client.ask("*")

    assert names(answer(client.server, by_name(CA))) == ["A"]


def test_a_stale_nonce_does_not_stop_a_subscription() -> None:
    """ "must honor changes to the subscription state even if the nonce is stale"."""
    client = Delta(EDS, "A")
    client.ack(answer(client.server, by_name(A, B)))
    pending = answer(client.server, by_name(A2, B))

    assert client.ask("B", nonce="0") == "stale"
    assert client.server.pending is pending
    client.ack(pending)
    assert names(answer(client.server, by_name(A2, B))) == ["B"]


def test_a_request_without_nonce_is_no_ack() -> None:
    """A spontaneous request leaves the response un-ACKed."""
    client = Delta(EDS, "A")
    response = answer(client.server, by_name(A))

    assert client.ask("B") == "subscription"
    assert client.server.pending is response


def test_an_ack_may_carry_a_subscription() -> None:
    """One request may ACK and subscribe."""
    client = Delta(EDS, "A")
    response = answer(client.server, by_name(A, B))
    assert response is not None

    assert client.ask("B", nonce=response.nonce) == "ack"
    assert names(answer(client.server, by_name(A, B))) == ["B"]


def test_a_nack_parks_the_resource_and_nothing_else() -> None:
    """No resend until that resource changes; others go on (gRFC A46)."""
    client = Delta(EDS, "A", "B")
    client.ack(answer(client.server, by_name(A, B)))
    client.nack(answer(client.server, by_name(A2, B)))
    assert answer(client.server, by_name(A2, B)) is None

    other = answer(client.server, by_name(A2, eds("B", "2")))
    assert names(other) == ["B"]
    client.ack(other)
    assert names(answer(client.server, by_name(eds("A", "3"), eds("B", "2")))) == ["A"]


def test_going_back_to_what_the_client_has_after_a_nack_sends_nothing() -> None:
    """The old version is still with the client."""
    client = Delta(EDS, "A")
    client.ack(answer(client.server, by_name(A)))
    client.nack(answer(client.server, by_name(A2)))

    assert answer(client.server, by_name(A)) is None


def test_a_reconnecting_client_gets_what_it_lacks() -> None:
    """ "initial_resource_versions": current ones are not sent, stale and deleted ones are told."""
    has = {"A": A.version, "B": "old", "gone": "1"}
    client = Delta(EDS, "A", "B", "gone", has=has)
    response = answer(client.server, by_name(A, B))

    assert response is not None
    assert (names(response), response.removed) == (["B"], ("gone",))


def test_a_reconnecting_wildcard_client_gets_what_it_lacks() -> None:
    """The same under the wildcard, with what is new besides."""
    client = Delta(CDS, "*", has={"A": CA.version, "gone": "1"})
    response = answer(client.server, by_name(CA, CB))

    assert response is not None
    assert (names(response), response.removed) == (["B"], ("gone",))


def test_a_reconnecting_client_that_has_everything_gets_nothing() -> None:
    """All current: silence."""
    assert answer(Delta(CDS, has={"A": CA.version}).server, by_name(CA)) is None
    assert answer(Delta(EDS, "A", has={"A": A.version}).server, by_name(A)) is None


def test_versions_of_names_that_it_does_not_ask_for_do_not_count() -> None:
    """A client must name all that it is interested in when it reconnects."""
    client = Delta(EDS, "A", has={"A": A.version, "B": B.version})

    assert answer(client.server, by_name(A)) is None
    assert set(client.server.known) == {"A"}


def test_what_is_unsubscribed_while_on_its_way_is_forgotten() -> None:
    """The later ACK does not bring it back, and a new subscription is answered."""
    client = Delta(EDS, "A")
    response = answer(client.server, by_name(A))
    client.ask(less=("A",))
    client.ack(response)
    assert client.server.known == {}
    client.ask("A")

    assert names(answer(client.server, by_name(A))) == ["A"]


def test_what_is_created_again_while_its_removal_is_on_its_way_is_sent() -> None:
    """The ACK of the removal settles the removal only."""
    client = Delta(EDS, "A")
    client.ack(answer(client.server, by_name(A)))
    removal = answer(client.server, {})
    assert answer(client.server, by_name(A)) is None
    client.ack(removal)

    assert names(answer(client.server, by_name(A))) == ["A"]


def test_an_error_after_the_ack_is_kept_for_the_operator() -> None:
    """A second word on a settled response changes nothing but what is shown."""
    client = Delta(EDS, "A")
    response = answer(client.server, by_name(A))
    client.ack(response)
    client.nack(response, "late")

    assert client.server.last_error == "late"
    assert answer(client.server, by_name(A)) is None


def test_what_a_client_took_from_a_response_that_it_refused_is_not_known() -> None:
    """Envoy takes the good resources of a refused response: going back to the old version must be sent."""
    client = Delta(CDS)
    client.ack(answer(client.server, by_name(CA)))
    client.nack(answer(client.server, by_name(CA2, cds("bad"))), "Cluster bad: no")

    assert names(answer(client.server, by_name(CA))) == ["A"]


def test_what_a_client_took_from_a_response_that_it_refused_is_removed() -> None:
    """The same when the whole change is taken back."""
    client = Delta(CDS)
    client.ack(answer(client.server, {}))
    client.nack(answer(client.server, by_name(CA, cds("bad"))), "Cluster bad: no")
    response = answer(client.server, {})

    assert response is not None
    assert response.removed == ("A",)
