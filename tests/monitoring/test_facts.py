"""What each app tells of its own: right, of everybody it concerns, by as many queries as ever."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.cache import cache
from django.utils import timezone
from psycopg import sql

from backups.models import BackupStatus, Storage
from backups.services import storages
from monitoring import readings
from monitoring.catalogue import METRICS, metric
from provisioning.models import SchemaSlot
from tenants import certificates, facts, secrets
from tenants.identifiers import new_schema_name
from tenants.models import (
    ApiKey,
    AuditEvent,
    AuditVerification,
    Cluster,
    IsolationAttempt,
    IsolationCheck,
    Operation,
    Tenant,
)
from tests.isolation.arena import SERVERS, superuser
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug

HOUR = timedelta(hours=1)


@pytest.fixture
def place() -> Iterator[Cluster]:
    """A cluster that is only a row."""
    made = Cluster.objects.create(name=f"told-{uuid.uuid4().hex[:8]}", host="127.0.0.1", port=1, dbname="nowhere")
    yield made
    Operation.objects.filter(cluster=made).delete()
    Tenant.objects.filter(cluster=made).delete()
    made.delete()


@pytest.fixture
def tenant(place: Cluster, plan: Any) -> Callable[..., Tenant]:
    """A tenant that is only a row."""

    def make(age: timedelta = HOUR, **values: Any) -> Tenant:
        row = Tenant.objects.create(
            name="Acme", slug=fresh_slug(), plan=plan, cluster=place, template="tiny", template_version=1,
            schema_name=new_schema_name(), **{"state": Tenant.State.ACTIVE} | values,
        )  # fmt: skip
        Tenant.objects.filter(pk=row.pk).update(created_at=timezone.now() - age)
        row.refresh_from_db()
        return row

    return make


def told(name: str) -> dict[Any, float]:
    """By tenant, by cluster, or under None of the fleet."""
    return {fact.tenant or fact.cluster: fact.value for fact in facts.collect(name)}


def fleet(name: str) -> float:
    [fact] = facts.collect(f"fleet.{name}")
    return fact.value


def test_somebody_knows_each_metric_that_has_no_samples() -> None:
    wanted = {f"{one.scope}.{one.name}" for one in METRICS.values() if one.sample is None}
    assert facts.known() == wanted


def test_how_backups_stand(tenant: Callable[..., Tenant]) -> None:
    now, day = timezone.now(), timedelta(days=1)
    good, old, failed, never, unwanted, unplanned, gone, purged = (tenant(3 * day) for _ in range(8))
    newcomer = tenant()
    covered = {good: HOUR, old: 3 * day, failed: HOUR, gone: 3 * day}
    for row in (good, old, failed, never, gone, unwanted, newcomer):
        at = now - covered[row] if row in covered else None
        overdue = (at or row.created_at) + 1.5 * day if row is not unwanted else None
        BackupStatus.objects.create(
            tenant=row, covered_until=at, overdue_at=overdue, planned_at=now, failures=2 if row is failed else 0,
            last_proven_at=now - HOUR if row is good else None,
        )  # fmt: skip
    Tenant.objects.filter(pk=gone.pk).update(state=Tenant.State.DELETED, deleted_at=now, purge_after=now)
    Tenant.objects.filter(pk=purged.pk).update(state=Tenant.State.PURGED)
    every = {row.pk for row in (good, old, failed, never, unwanted, unplanned, gone, newcomer)}

    def ones(name: str) -> set[Any]:
        found = told(f"tenant.{name}")
        assert every <= set(found)
        assert purged.pk not in found
        return {pk for pk, value in found.items() if value and pk in every}

    assert ones("backup_overdue") == {old.pk, never.pk}
    assert ones("backup_missing") == {never.pk, unplanned.pk}
    assert ones("backup_failed") == {failed.pk}
    ages = {pk: age for pk, age in told("tenant.backup_age_seconds").items() if pk in every}
    assert set(ages) == {good.pk, old.pk, failed.pk, never.pk, newcomer.pk}
    assert ages[good.pk] == pytest.approx(3600, abs=5)
    assert ages[never.pk] == pytest.approx(3 * 86400, abs=5)
    assert told("tenant.proven_restore_age_seconds")[good.pk] == pytest.approx(3600, abs=5)
    assert old.pk not in told("tenant.proven_restore_age_seconds")
    before = fleet("backups_failed")
    BackupStatus.objects.filter(tenant=failed).update(failures=0)
    assert fleet("backups_failed") == before - 1


def test_the_last_drill_that_ended_counts(tenant: Callable[..., Tenant]) -> None:
    from backups.models import Backup, RestoreDrill

    mended, broken = tenant(), tenant()
    for row, states in ((mended, ("failed", "succeeded", "running")), (broken, ("succeeded", "failed", "running"))):
        backup = Backup.objects.create(
            tenant=row, origin_id=row.pk, slug=row.slug, schema_name=row.schema_name, template="tiny",
            template_version=1,
        )  # fmt: skip
        for number, state in enumerate(states):
            at = timezone.now() - HOUR + timedelta(minutes=number)
            RestoreDrill.objects.create(backup=backup, tenant=row, state=state, started_at=at, dropped_at=at)
    found = told("tenant.restore_drill_failed")
    assert (found[mended.pk], found[broken.pk]) == (0, 1)
    Backup.objects.filter(origin_id__in=[mended.pk, broken.pk]).delete()


def test_a_storage_that_does_not_answer_is_found_and_found_well_again(tmp_path: Path) -> None:
    storages.watch_all()  # other tests' places may be gone by now
    before = fleet("storage_failed")
    path = tmp_path / "mounted"
    path.mkdir()
    made = storages.create_storage(
        name=fresh_slug("disk"), kind="local", config={"path": str(path)}, actor=ACTOR, source=SOURCE
    )
    checks = AuditEvent.objects.filter(action="backup_storage.check", target_id=str(made.pk))
    storages.watch_all()
    assert (fleet("storage_failed"), checks.count()) == (before, 0)
    shutil.rmtree(path)
    storages.watch_all()
    storages.watch_all()
    assert fleet("storage_failed") == before + 1
    assert not path.exists()  # an unmounted place is not made on the disk below it
    assert "not there" in Storage.objects.get(pk=made.pk).last_error
    path.mkdir()
    storages.watch_all()
    assert fleet("storage_failed") == before
    assert not [each for each in path.rglob("*") if each.is_file()]
    assert list(checks.order_by("id").values_list("outcome", flat=True)) == ["failure", "success"]
    Storage.objects.filter(pk=made.pk).delete()


def test_pools(template: Any, place: Cluster) -> None:
    # A dedicated database, a disabled cluster: no pool, and none is empty.
    Cluster.objects.filter(pk=place.pk).update(pool_target=3)
    assert told("cluster.pool_ready")[place.pk] == 0
    assert told("cluster.pool_empty")[place.pk] == 1
    slot = SchemaSlot.objects.create(
        cluster=place, template_version=template, schema_name=new_schema_name(), state=SchemaSlot.State.READY
    )
    assert told("cluster.pool_ready")[place.pk] == 1
    assert told("cluster.pool_empty")[place.pk] == 0
    slot.delete()
    Cluster.objects.filter(pk=place.pk).update(pool_target=0)
    assert told("cluster.pool_empty")[place.pk] == 0
    Cluster.objects.filter(pk=place.pk).update(pool_target=3, state=Cluster.State.DISABLED)
    assert told("cluster.pool_empty")[place.pk] == 0
    assert place.pk not in told("cluster.pool_ready")


def test_the_slowest_creation_lately_or_still_under_way(place: Cluster) -> None:
    now = timezone.now()
    assert fleet("creation_seconds") < 3600

    def operation(seconds: float, ended_ago: float | None, state: str) -> Operation:
        ended = now - timedelta(seconds=ended_ago) if ended_ago is not None else None
        return Operation.objects.create(
            kind="tenant.provision", cluster=place, state=state, created_at=(ended or now) - timedelta(seconds=seconds),
            finished_at=ended, lease_expires_at=now + HOUR, actor_kind="command", actor_label="tests",
            channel="command",
        )  # fmt: skip

    operation(90_00, 400, "succeeded")  # too long ago
    operation(90_00, 10, "failed")  # never became a tenant
    assert fleet("creation_seconds") < 3600
    operation(4000, 10, "succeeded")
    assert fleet("creation_seconds") == pytest.approx(4000, abs=2)
    waiting = operation(5000, None, "running")
    assert fleet("creation_seconds") == pytest.approx(5000, abs=2)
    waiting.delete()
    assert fleet("creation_seconds") == pytest.approx(4000, abs=2)


def test_attempts_at_what_is_anothers(tenant: Callable[..., Tenant], place: Cluster) -> None:
    attacker, victim, quiet = tenant(), tenant(), tenant()
    now, lately = timezone.now(), timedelta(minutes=9)

    def attempt(ago: timedelta, count: int, **values: Any) -> None:
        IsolationAttempt.objects.create(
            cluster=place, count=count, first_at=now - ago, last_at=now - ago,
            **{"kind": "foreign_object", "attacker": attacker, "target": victim} | values,
        )  # fmt: skip

    attempt(lately, 3)
    attempt(lately, 4, target=None, target_name="of a purged tenant")
    attempt(lately, 50, kind="control_plane", target=None)
    attempt(lately, 50, kind="login", attacker=None)
    attempt(lately, 50, kind="escalation", target=attacker)
    attempt(timedelta(minutes=11), 50)
    found = told("tenant.cross_tenant_attempts")
    assert (found[attacker.pk], found[victim.pk], found[quiet.pk]) == (7, 0, 0)


def test_isolation_of_clusters(place: Cluster) -> None:
    assert place.pk not in told("cluster.isolation_failed")
    for minutes, values in ((3, {"critical": 1}), (2, {})):
        at = timezone.now() - timedelta(minutes=minutes)
        IsolationCheck.objects.create(cluster=place, started_at=at, **values)
        assert told("cluster.isolation_failed")[place.pk] == bool(values)
    IsolationCheck.objects.create(cluster=place, started_at=timezone.now(), error="it did not answer")
    assert told("cluster.isolation_failed")[place.pk] == 1
    assert told("cluster.isolation_degraded")[place.pk] == 0
    Cluster.objects.filter(pk=place.pk).update(isolation_wanted="lockdown", isolation_level="baseline")
    assert told("cluster.isolation_degraded")[place.pk] == 1


def test_a_good_look_at_the_end_of_the_log_does_not_unsay_what_a_whole_one_found() -> None:
    def verified(ok: bool, full: bool) -> float:
        now = timezone.now()
        AuditVerification.objects.create(
            started_at=now, finished_at=now, ok=ok, full=full, from_seq=1, to_seq=1, events=1, checkpoints=0,
            actor_label="tests",
        )  # fmt: skip
        return fleet("audit_chain_broken")

    assert verified(True, True) == 0
    assert verified(False, True) == 1
    assert verified(True, False) == 1
    assert verified(True, True) == 0
    assert verified(False, False) == 1
    assert verified(True, False) == 0


def test_the_first_key_in_use_to_end() -> None:
    now = timezone.now()
    ApiKey.objects.filter(expires_at__lt=now + timedelta(hours=40)).update(revoked_at=now)
    before = fleet("key_expiry_seconds")
    names = ("unused", "revoked", "ended", "used")
    for hours, name in zip((30, 31, -1, 36), names, strict=True):
        ApiKey.objects.create(
            name=name, prefix=uuid.uuid4().hex[:12], digest="0" * 64, expires_at=now + hours * HOUR,
            last_used_at=now - timedelta(days=31) if name == "unused" else now,
            revoked_at=now if name == "revoked" else None,
        )  # fmt: skip
    assert before > 40 * 3600
    assert fleet("key_expiry_seconds") == pytest.approx(36 * 3600, abs=5)
    ApiKey.objects.filter(name__in=names, digest="0" * 64).delete()
    assert fleet("key_expiry_seconds") == pytest.approx(before, abs=5)


def test_the_number_of_queries_does_not_depend_on_tenants(
    tenant: Callable[..., Tenant], template: Any, django_assert_max_num_queries: Any
) -> None:
    most = {"cluster.pool_ready": 5, "cluster.pool_empty": 6}
    for _ in range(20):
        tenant()
    for name in sorted(facts.known()):
        with django_assert_max_num_queries(most.get(name, 2), info=name):
            list(facts.collect(name))


def test_one_source_that_fails_takes_nothing_from_the_others(place: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("the cache is away")

    monkeypatch.setitem(facts._sources, "cluster.certificate_expiry_seconds", broken)
    wanted = [metric("cluster", "certificate_expiry_seconds"), metric("cluster", "isolation_degraded")]
    found = list(readings.latest_of(wanted))
    assert {one.metric.name for one in found} == {"isolation_degraded"}


# --- certificates ----------------------------------------------------------------------------------------------------


def _certificate(ends_at: datetime) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(ends_at - timedelta(days=90))
        .not_valid_after(ends_at).sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture
def tls() -> Iterator[datetime]:
    """The second server speaks TLS for the time of a test, with a certificate that ends in 20 days."""
    server = SERVERS[15]
    if server.missing:
        pytest.skip(server.missing)
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=20)
    with superuser(server, "postgres") as session:
        for name, text in zip(("told.crt", "told.key"), _certificate(ends_at), strict=True):
            # What COPY writes has its newlines escaped.
            program = f'umask 077; rm -f {name}; printf "%b" "$(cat)" > {name}'
            copy = sql.SQL("COPY (SELECT {}) TO PROGRAM {}").format(sql.Literal(text), sql.Literal(program))
            session.execute(copy)
        for setting in ("ssl_cert_file = 'told.crt'", "ssl_key_file = 'told.key'", "ssl = on"):
            session.execute(f"ALTER SYSTEM SET {setting}".encode())
        session.execute("SELECT pg_reload_conf(), pg_sleep(0.3)")
        try:
            yield ends_at
        finally:
            for setting in ("ssl", "ssl_cert_file", "ssl_key_file"):
                session.execute(f"ALTER SYSTEM RESET {setting}".encode())
            session.execute("SELECT pg_reload_conf(), pg_sleep(0.3)")


def test_when_a_certificate_ends(tls: datetime, place: Cluster) -> None:
    from urllib.parse import urlsplit

    url = urlsplit(SERVERS[15].url)
    Cluster.objects.filter(pk=place.pk).update(host=url.hostname, port=url.port, sslmode="require")
    place.refresh_from_db()
    name = "cluster.certificate_expiry_seconds"
    certificates.look(place)  # its password cannot be read, which stops nothing
    assert place.pk not in told(name)
    Cluster.objects.filter(pk=place.pk).update(secret=secrets.encrypt("x"))
    place.refresh_from_db()
    certificates.look(place)
    assert told(name)[place.pk] == pytest.approx((tls - datetime.now(UTC)).total_seconds(), abs=5)
    # Within the hour it is not looked up again, and a server that is away leaves what was known.
    Cluster.objects.filter(pk=place.pk).update(port=1)
    place.refresh_from_db()
    certificates.look(place)
    assert place.pk in told(name)
    cache.delete(certificates._key(place.pk))
    certificates.look(place)
    assert place.pk not in told(name)


def test_a_server_without_tls_has_no_certificate(place: Cluster, cluster: Cluster) -> None:
    assert certificates.ends_at(cluster.dsn()) is None
    assert certificates.ends_at(cluster.dsn().replace(sslmode="disable", port=1)) is None
    with pytest.raises(OSError):
        certificates.ends_at(cluster.dsn().replace(sslmode="require", port=1))
