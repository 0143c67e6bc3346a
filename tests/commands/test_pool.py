"""Filling the warm pool by hand."""

from __future__ import annotations

from typing import Any

from provisioning.models import SchemaSlot
from tests.commands.support import call, refusal, text
from tests.support.fixtures import fresh_slug


def ready(version: Any) -> int:
    return SchemaSlot.objects.filter(template_version=version, state="ready").count()


def level(document: dict[str, Any]) -> tuple[int, int, int]:
    (row,) = document["pools"]
    return row["ready"], row["target"], row["missing"]


def test_warm_pool_fills_what_is_missing_and_no_more(other_template: Any, cluster: Any) -> None:
    where = ("--template", other_template.template.name, "--cluster", cluster.name)
    assert level(call("warm_pool", *where, "--dry-run")) == (0, 0, 0)
    dry = call("warm_pool", *where, "--target", "2", "--dry-run")
    assert (level(dry), dry["built"], ready(other_template)) == ((0, 2, 2), 0, 0)
    done = call("warm_pool", *where, "--target", "2")
    assert (level(done), done["built"], ready(other_template)) == ((2, 2, 0), 2, 2)
    assert call("warm_pool", *where, "--target", "2")["built"] == 0
    assert "Slots built: 1." in text("warm_pool", *where, "--target", "3")
    made = call("create_tenant", fresh_slug(), "--template", other_template.template.name)
    assert (made["state"], made["operation"]["result"]["warm"]) == ("active", True)
    assert ready(other_template) == 2


def test_warm_pool_shows_every_pool(template: Any, cluster: Any) -> None:
    pools = call("warm_pool", "--dry-run")["pools"]
    assert (cluster.name, "tiny") in {(row["cluster"], row["template"]) for row in pools}


def test_warm_pool_refuses_what_is_not_there(template: Any) -> None:
    assert refusal("warm_pool", "--template", "none-such")[0] == 2
    assert refusal("warm_pool", "--cluster", "none-such")[0] == 4
