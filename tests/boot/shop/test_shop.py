"""``configs/shop.yaml`` as a user gets it: ordered as by a browser, shipped by the worker, counted by the job."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request

import pytest

from tests.boot.shop.conftest import Shop

pytestmark = [pytest.mark.boot, pytest.mark.slow]  # builds PostgreSQL and a container, and boots both


def read(url: str, data: dict[str, str] | None = None) -> str:
    """A page, as a browser gets it: a form is posted, and a redirection followed."""
    body = None if data is None else urllib.parse.urlencode(data).encode()
    with urllib.request.urlopen(url, body, timeout=120) as answer:
        text: str = answer.read().decode()
        return text


def test_what_is_ordered_is_shipped_and_counted(shop: Shop) -> None:
    machine = shop.machine
    machine.wait_unit("shop.service")
    first = read(shop.url)
    assert "<h1>The Corner Shop</h1>" in first  # of the machine's config, not of the image
    assert "0 orders" in first
    after = read(f"{shop.url}/orders", {"item": "a <b>red</b> bicycle"})
    assert "a &lt;b&gt;red&lt;/b&gt; bicycle" in after
    machine.succeed("sh", "-c", "until journalctl -b -u shop-worker | grep -q 'order 1 is shipped'; do sleep 1; done")
    assert "1 orders, 1 shipped" in read(shop.url)
    metrics = read(f"{shop.url}/metrics")
    assert "shop_orders_total 1\n" in metrics
    assert "shop_orders_shipped_total 1\n" in metrics
    machine.succeed("systemctl start shop-report.service")
    assert machine.read("/var/lib/shop-report/report").strip() == "1 orders, 1 shipped"
    assert "shop-report.timer" in machine.succeed("systemctl list-timers --no-pager")


def test_its_words_are_in_the_journal_by_app(shop: Shop) -> None:
    read(f"{shop.url}/orders", {"item": "a bell"})
    records = [json.loads(line) for line in shop.machine.journal("APP=shop", "--output=json")]
    came_in = [record for record in records if "came in" in str(record["MESSAGE"])]
    assert came_in[-1]["PRIORITY"] == "6"


def test_the_data_is_on_the_state_and_the_secret_nowhere_else(shop: Shop) -> None:
    machine = shop.machine
    machine.succeed("systemctl restart postgresql.service")
    machine.succeed("systemctl start shop.service")  # which needs the database, so it was stopped with it
    assert "a bell" in read(shop.url)
    assert machine.succeed("findmnt -n -o FSTYPE --target /var/lib/postgresql") == "ext4"
    search = ("grep", "-rals", "canary", "/etc", "/run/credentials", "/var/log")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert machine.run(*nobody, *search).stdout == ""
    counted = machine.run("sh", "-c", "journalctl --all --output=export | grep --text --count canary")
    assert counted.stdout.strip() == "0"


def test_what_it_consists_of_is_in_sandboxes(shop: Shop) -> None:
    for name in ("shop", "shop-report", "postgresql"):
        said = shop.machine.succeed(f"systemd-analyze security --no-pager {name}.service").splitlines()[-1]
        score = re.search(r": (\d+\.\d+) ", said)
        assert score is not None, said
        assert float(score[1]) <= 2.0, said


def test_a_boot_is_good_when_the_shop_answers(shop: Shop) -> None:
    shop.machine.succeed("systemctl start boot-complete.target")
    assert shop.machine.unit("health-shop.service")["Result"] == "success"
