"""How the load flows: what each container sends is what really arrives further down."""

from __future__ import annotations

import pytest

from lab.application import Application
from lab.flow import container_rates, operation_rates, service_rates
from lab.topology_file import load_application, names, shipped_file


def shipped(name: str) -> Application:
    return load_application(shipped_file(name))


def test_bookinfo_by_hand() -> None:
    """At 120 requests/s all see 120, but ratings: two of the six reviews containers call nobody."""
    rates = service_rates(shipped("bookinfo"))

    assert rates == pytest.approx({"productpage": 120.0, "details": 120.0, "reviews": 120.0, "ratings": 80.0})


def test_hot_services_of_the_boutique() -> None:
    """An index page converts nine prices: currency and catalogue are asked most, as in the real shop."""
    rates = service_rates(shipped("online-boutique"))
    by_rate = sorted(rates, key=lambda service: -rates[service])

    assert set(by_rate[:2]) == {"productcatalogservice", "currencyservice"}
    # Convert: 9 on an index page, 1 on a product page, 2 in the cart, 2 at the checkout, in a mix of 1:2:10:2:3:1.
    convert = operation_rates(shipped("online-boutique"))[("currencyservice", "convert")]
    assert convert == pytest.approx(30.0 * (9 * 1 + 1 * 10 + 2 * 3 + 2 * 1) / 19)


@pytest.mark.parametrize("name", names())
def test_what_clients_send_is_what_services_get(name: str) -> None:
    """Summed over its client containers, the rate to a service is the rate that the call graph gives it."""
    application = shipped(name)
    arriving = dict.fromkeys(service_rates(application), 0.0)
    for rate in container_rates(application):
        arriving[rate.service] += rate.requests_per_s

    assert arriving == pytest.approx(service_rates(application))


def test_a_leaf_sends_nothing_and_its_peers_send_alike() -> None:
    """reviews v1 is listed with 0; the four others send 20 requests/s each at a load of 120."""
    sent = {r.client: r.requests_per_s for r in container_rates(shipped("bookinfo")) if r.service == "ratings"}

    assert {sent[name] for name in ("reviews-v1-0", "reviews-v1-1")} == {0.0}
    assert [sent[name] for name in sent if "v1" not in name] == pytest.approx([20.0] * 4)


def test_the_load_starts_unevenly() -> None:
    """The load's containers send what the file says, node by node."""
    sent = {r.client: r.requests_per_s for r in container_rates(shipped("bookinfo")) if r.client.startswith("load")}

    assert sent == pytest.approx({"load-n1": 60.0, "load-n2": 36.0, "load-n3": 24.0})
