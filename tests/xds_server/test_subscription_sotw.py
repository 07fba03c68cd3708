"""A state-of-the-world subscription, rule by rule. Places are sections of Envoy's xDS protocol document."""

from __future__ import annotations

import pytest

from tests.xds_server.small_world import Sotw, answer, by_name, cds, eds, lds, names
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.snapshot import type_version
from xds_server.subscription import Request, Subscription

A, A2, B = eds("A"), eds("A", "2"), eds("B")
CA, CA2, CB, CC = cds("A"), cds("A", "2"), cds("B"), cds("C")


@pytest.mark.parametrize("type_url", [CDS, LDS])
def test_naming_nothing_at_first_means_everything(type_url: str) -> None:
    """Legacy wildcard ("How the client specifies what resources to return"): LDS and CDS only."""
    make = cds if type_url == CDS else lds
    client = Sotw(type_url)

    assert names(answer(client.server, by_name(make("A"), make("B")))) == ["A", "B"]


@pytest.mark.parametrize("type_url", [EDS, RDS])
def test_naming_nothing_is_nothing_for_other_types(type_url: str) -> None:
    """The wildcard exists for listeners and clusters; another type without names asks for nothing."""
    client = Sotw(type_url)

    assert answer(client.server, by_name(A, B)) is None


def test_the_star_means_everything() -> None:
    """The special name "*" is the wildcard."""
    assert names(answer(Sotw(CDS, "*").server, by_name(CA, CB))) == ["A", "B"]


def test_a_wildcard_client_hears_at_once_that_there_is_nothing() -> None:
    """The first request is answered even by an empty response: the client's initialisation waits for it."""
    client = Sotw(CDS)
    first = answer(client.server, {})

    assert first is not None
    assert first.resources == ()
    client.ack(first)
    assert answer(client.server, {}) is None


def test_an_ack_is_not_answered() -> None:
    """ "When to send an update": only when resources have changed."""
    client = Sotw(CDS)

    assert client.ack(answer(client.server, by_name(CA))) == "ack"
    assert answer(client.server, by_name(CA)) is None


def test_a_nack_is_not_answered_until_the_resource_changes() -> None:
    """A refused version is parked; the next one goes out once, and its ACK clears the error."""
    client = Sotw(CDS)
    assert client.nack(answer(client.server, by_name(CA)), "A is bad") == "nack"
    assert answer(client.server, by_name(CA)) is None
    assert (client.server.last_error, client.server.nacks) == ("A is bad", 1)

    fixed = answer(client.server, by_name(CA2))
    assert names(fixed) == ["A"]
    client.ack(fixed)
    assert client.server.last_error == ""
    assert client.server.rejected == {}
    assert answer(client.server, by_name(CA2)) is None


def test_error_detail_alone_makes_a_nack() -> None:
    """ "ACK/NACK": the presence of error_detail decides, not the version."""
    client = Sotw(EDS, "A")
    client.ack(answer(client.server, by_name(A)))
    client.ask("A", "B")
    response = answer(client.server, by_name(A, B))
    assert response is not None
    client.version = response.version  # an unchanged version and an error: still a NACK

    assert client.nack(response) == "nack"


def test_a_nack_parks_what_it_names() -> None:
    """Where the error names a resource, the others of the response are sent again: the client may have dropped them."""
    client = Sotw(EDS, "good", "bad")
    client.nack(answer(client.server, by_name(eds("good"), eds("bad"))), "ClusterLoadAssignment bad: no")

    assert client.server.rejected == {"bad": eds("bad").version}
    assert names(answer(client.server, by_name(eds("good"), eds("bad")))) == ["good"]


def test_a_nack_that_names_nothing_parks_all_of_the_news() -> None:
    """Without a name in the error, every resource that was new in the response is under suspicion."""
    client = Sotw(EDS, "A", "B")
    client.nack(answer(client.server, by_name(A, B)), "?")

    assert answer(client.server, by_name(A, B)) is None


def test_a_name_inside_a_word_of_the_error_is_not_named() -> None:
    """A resource called "n" is not to blame for every error with an n in it."""
    client = Sotw(EDS, "n", "bad|1")
    client.nack(answer(client.server, by_name(eds("n"), eds("bad|1"))), "found bad|1: not allowed")

    assert set(client.server.rejected) == {"bad|1"}


def test_a_nack_that_also_asks_for_more_gets_the_new_name_only() -> None:
    """Case 6: the refused one is parked, the newly named one is sent."""
    client = Sotw(EDS, "A")
    response = answer(client.server, by_name(A, B))
    client.wanted = ("A", "B")
    client.nack(response)

    assert names(answer(client.server, by_name(A, B))) == ["B"]


def test_a_stale_request_is_ignored_whole() -> None:
    """ "Resource updates": no response to a stale nonce; a request with the newest one follows."""
    client = Sotw(EDS, "A")
    first = answer(client.server, by_name(A))
    client.ack(first)
    second = answer(client.server, by_name(A2))

    assert client.ask("A", "B", nonce=first.nonce if first else "") == "stale"
    assert client.server.names == {"A"}
    client.wanted = ("A", "B")
    client.ack(second)
    assert names(answer(client.server, by_name(A2, B))) == ["B"]


def test_a_name_dropped_and_taken_up_again_is_sent_again() -> None:
    """ "must resend any newly requested resources, even if it previously sent those"."""
    client = Sotw(EDS, "A", "B")
    client.ack(answer(client.server, by_name(A, B)))
    client.ask("A")
    assert answer(client.server, by_name(A, B)) is None
    client.ask("A", "B")

    assert names(answer(client.server, by_name(A, B))) == ["B"]


def test_only_what_changed_is_sent_of_partial_types() -> None:
    """ "Grouping Resources into Responses": all but LDS and CDS group as incremental does."""
    client = Sotw(EDS, "A", "B")
    client.ack(answer(client.server, by_name(A, B)))

    assert names(answer(client.server, by_name(A2, B))) == ["A"]


def test_clusters_and_listeners_come_complete() -> None:
    """Each LDS or CDS response must include all, changed or not."""
    client = Sotw(CDS)
    client.ack(answer(client.server, by_name(CA, CB)))

    response = answer(client.server, by_name(CA2, CB))
    assert names(response) == ["A", "B"]
    assert [one.version for one in response.news] == [CA2.version] if response else False


def test_a_cluster_is_deleted_by_its_absence() -> None:
    """ "Deleting Resources": a response without it; the last one's absence is an empty response."""
    client = Sotw(CDS)
    client.ack(answer(client.server, by_name(CA, CB)))
    without = answer(client.server, by_name(CB))
    assert names(without) == ["B"]
    client.ack(without)
    empty = answer(client.server, {})

    assert empty is not None
    assert empty.resources == ()


def test_endpoints_have_no_word_for_deletion() -> None:
    """A deleted CLA comes back when it is created again, though nothing was said between."""
    client = Sotw(EDS, "A")
    client.ack(answer(client.server, by_name(A)))
    removed = client.server.changes({}).removed
    client.server.drop_silently(removed)

    assert not client.server.changes({})
    assert names(answer(client.server, by_name(A))) == ["A"]


def test_a_subset_is_answered() -> None:
    """Case 14: a client that asks for some of the names is not kept waiting for the others."""
    assert names(answer(Sotw(EDS, "A").server, by_name(A, B))) == ["A"]


def test_no_names_after_names_is_an_unsubscription() -> None:
    """ "clearing the list of subscribed resources is interpreted as an unsubscription", also for CDS."""
    endpoints, clusters = Sotw(EDS, "A"), Sotw(CDS, "A")
    endpoints.ack(answer(endpoints.server, by_name(A)))
    clusters.ack(answer(clusters.server, by_name(CA)))
    endpoints.ask()
    clusters.ask()

    assert answer(endpoints.server, by_name(A2)) is None
    assert answer(clusters.server, by_name(CA2)) is None


def test_the_four_requests_of_the_specification() -> None:
    """Unset is "*"; "*" and A; A alone drops "*"; unset again drops A and is no wildcard any more."""
    client = Sotw(CDS)
    client.ack(answer(client.server, by_name(CA, CB)))
    client.ask("*", "A")
    assert (client.server.wildcard, client.server.names) == (True, {"A"})
    client.ack(answer(client.server, by_name(CA, CB)))
    client.ask("A")
    assert (client.server.wildcard, client.server.names) == (False, {"A"})
    client.ask()
    assert (client.server.wildcard, client.server.names) == (False, set())
    assert answer(client.server, by_name(CA2, CB)) is None


def test_the_legacy_wildcard_lasts_while_no_name_was_ever_given() -> None:
    """ACKs of a wildcard client carry no names either."""
    client = Sotw(CDS)
    client.ack(answer(client.server, by_name(CA)))

    assert names(answer(client.server, by_name(CA, CB))) == ["A", "B"]


def test_a_name_given_twice_is_one() -> None:
    """ "Duplicate Resource Names": never twice in one response."""
    assert names(answer(Sotw(EDS, "A", "A").server, by_name(A))) == ["A"]


def test_an_unknown_name_is_remembered() -> None:
    """ "Knowing When a Requested Resource Does Not Exist": created later, it is sent at once."""
    client = Sotw(EDS, "A", "X")
    client.ack(answer(client.server, by_name(A)))
    assert answer(client.server, by_name(A)) is None

    assert names(answer(client.server, by_name(A, eds("X")))) == ["X"]


def test_clusters_by_name() -> None:
    """gRPC asks for clusters by name: the whole state is then that of the names."""
    client = Sotw(CDS, "A")
    client.ack(answer(client.server, by_name(CA, CB, CC)))
    client.ask("A", "B")

    response = answer(client.server, by_name(CA, CB, CC))
    assert names(response) == ["A", "B"]
    client.ack(response)
    assert answer(client.server, by_name(CA, CB, cds("C", "2"))) is None


def test_a_reconnecting_client_that_has_everything_gets_nothing() -> None:
    """The optimisation that the specification allows: a wildcard of LDS or CDS at the present version."""
    resources = by_name(CA, CB)
    server = Subscription(CDS, "sotw")
    version = type_version(resources.values())
    server.receive(Request(version=version, nonce="of another stream"))
    server.already_has(version, resources)

    assert not server.owes_first_answer
    assert not server.changes(resources)
    assert names(server.begin(server.changes(by_name(CA2, CB)))) == ["A", "B"]


def test_a_reconnecting_client_with_an_older_version_is_answered() -> None:
    """A nonce of another stream means nothing; an old version means: send."""
    client = Sotw(CDS, version="old", nonce="7")
    client.server.already_has("old", by_name(CA))

    assert names(answer(client.server, by_name(CA))) == ["A"]


def test_a_reconnecting_client_that_names_resources_is_answered() -> None:
    """The server cannot know whether the names are the same as before, whatever the version says."""
    version = type_version([A])
    client = Sotw(EDS, "A", version=version)
    client.server.already_has(version, by_name(A))

    assert names(answer(client.server, by_name(A))) == ["A"]


def test_one_response_at_a_time() -> None:
    """While a response is not ACKed no other is begun; what is sent after it is the newest."""
    client = Sotw(EDS, "A")
    first = answer(client.server, by_name(A))
    assert answer(client.server, by_name(A2)) is None
    client.ack(first)

    third = answer(client.server, by_name(eds("A", "3")))
    assert [one.body for one in third.resources] == [b"A=3"] if third else False


def test_nonces_are_unique_and_versions_follow_content() -> None:
    """Every response has its own nonce; the same content has the same version."""
    client = Sotw(CDS)
    seen = []
    for content in ("1", "2", "1"):
        response = answer(client.server, by_name(cds("A", content)))
        assert response is not None
        seen.append((response.nonce, response.version))
        client.ack(response)

    assert len({nonce for nonce, _ in seen}) == 3
    assert seen[0][1] == seen[2][1] != seen[1][1]
    assert all(nonce and version for nonce, version in seen)


def test_a_refused_new_version_leaves_the_old_one_in_the_whole_state() -> None:
    """A later response for another cluster repeats the version that the client accepted, not the refused one."""
    client = Sotw(CDS)
    client.ack(answer(client.server, by_name(CA, CB)))
    client.nack(answer(client.server, by_name(CA2, CB)))

    later = answer(client.server, by_name(CA2, CB, CC))
    assert (
        [(one.name, one.version) for one in later.resources]
        == [("A", CA.version), ("B", CB.version), ("C", CC.version)]
        if later
        else False
    )


def test_a_reconnected_client_does_not_lose_what_it_refuses() -> None:
    """It may hold an older version of a refused cluster: a response that left the cluster out would delete that."""
    client = Sotw(CDS, version="of an earlier stream")
    client.nack(answer(client.server, by_name(CA2, CB)), "Cluster A is bad")

    assert names(answer(client.server, by_name(CA2, CB))) == ["A", "B"]


def test_a_reconnected_client_is_told_that_what_it_refused_is_gone() -> None:
    """The older version that it may hold must go too."""
    client = Sotw(CDS, version="of an earlier stream")
    client.nack(answer(client.server, by_name(CA2)))
    assert answer(client.server, by_name(CA2)) is None
    response = answer(client.server, {})

    assert response is not None
    assert response.resources == ()


def test_a_new_client_is_not_told_that_what_it_refused_is_gone() -> None:
    """It never had any version of it."""
    client = Sotw(CDS)
    client.nack(answer(client.server, by_name(CA)))

    assert answer(client.server, {}) is None


def test_a_name_in_a_stale_request_ends_the_legacy_wildcard() -> None:
    """The client has named something, though the server had to ignore the request: naming nothing now means none."""
    client = Sotw(CDS)
    response = answer(client.server, by_name(CA))
    assert client.ask("A", nonce="") == "stale"
    client.wanted = ()
    client.ack(response)

    assert answer(client.server, by_name(CA2)) is None


def test_a_named_cluster_that_is_gone_is_removed_in_order() -> None:
    """It is not reported as missing in a response that still repeats it."""
    client = Sotw(CDS)
    client.ack(answer(client.server, by_name(CA)))
    client.ask("*", "A")
    changes = client.server.changes({})

    assert (changes.missing, changes.removed) == ((), ("A",))
    response = client.server.begin(changes)
    assert response.resources == ()
