"""Messages on their way: what each kind says, where none may go, when they are tried again, and by whom."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.mail.backends.smtp import EmailBackend
from django.utils import timezone

from monitoring.alerts import channels, http, sending
from monitoring.alerts.evaluate import evaluate
from monitoring.models import Alert, Notification, NotificationChannel
from tenants import metrics
from tenants.exceptions import Conflict, InvalidInput
from tenants.models import AuditEvent
from tests.commands.support import call, refusal, text
from tests.monitoring.dials import Dial, a_cluster, dial
from tests.monitoring.receivers import Receiver, certificate_for, http_receiver, smtp_receiver
from tests.support.fixtures import ACTOR, SOURCE, fresh_slug
from tests.support.processes import free_port

SECRET = "a secret of tests"


@pytest.fixture(autouse=True)
def local(alone: None, settings: Any) -> None:
    """Servers of tests are on this machine."""
    settings.NOTIFY_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    settings.ALERT_GROUP_SECONDS = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


@pytest.fixture
def gauge() -> Iterator[Dial]:
    with dial() as made:
        yield made


def a_channel(kind: str, url: str = "", secret: str = "", **values: Any) -> NotificationChannel:
    return channels.create_channel(
        name=fresh_slug("hook")[:40], kind=kind, url=url, secret=secret, values=values, actor=ACTOR, source=SOURCE
    )


def state_of(channel: NotificationChannel) -> list[tuple[str, int]]:
    return list(Notification.objects.filter(channel=channel).order_by("created_at").values_list("state", "attempts"))


def test_a_webhook_gets_all_there_is_to_know_and_a_signature(gauge: Dial, receiver: Receiver) -> None:
    channel = a_channel("webhook", receiver.url, SECRET)
    rule = gauge.rule(severity="critical", runbook="disk-full", description="About {cluster}")
    first, second = a_cluster(), a_cluster()
    gauge.values = {first.pk: 11, second.pk: 12}
    evaluate()
    assert sending.send_due() == 1
    [got] = receiver.got
    assert got.path == "/hook?key=1"
    stamp = got.headers["X-Controlplane-Timestamp"]
    mac = hmac.new(SECRET.encode(), stamp.encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert got.headers["X-Controlplane-Signature"] == f"sha256={mac}"
    assert abs(int(stamp) - time.time()) < 60
    message = Notification.objects.get(channel=channel)
    assert got.json["id"] == got.headers["X-Controlplane-Id"] == str(message.pk)
    assert (got.json["status"], got.json["rule"]["slug"]) == ("firing", rule.slug)
    assert got.json["rule"]["runbook_url"].endswith("/disk-full")
    assert {(each["subject_label"], each["value"], each["event"]) for each in got.json["alerts"]} == {
        (first.name, 11, "firing"), (second.name, 12, "firing"),
    }  # fmt: skip
    assert (message.state, message.status) == ("sent", 200)
    gauge.values = {second.pk: 12}
    evaluate()
    sending.send_due()
    assert receiver.got[1].json["status"] == "resolved"
    assert sending.send_due() == 0


def test_slack_gets_text_that_mentions_nobody(gauge: Dial, receiver: Receiver) -> None:
    a_channel("slack", receiver.url)
    gauge.rule(summary="<!channel> & {value}")
    gauge.values = {a_cluster().pk: 11}
    evaluate()
    sending.send_due()
    said = receiver.got[0].json["text"]
    assert said.startswith("*[FIRING warning] &lt;!channel&gt; &amp; 11*")


def test_mail_arrives(gauge: Dial, settings: Any) -> None:
    with smtp_receiver() as server:
        settings.EMAIL_BACKEND = f"{EmailBackend.__module__}.{EmailBackend.__name__}"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        channel = a_channel("email", recipients=["oncall@example.com"])
        gauge.rule(severity="critical", summary="{value} on {cluster}")
        cluster = a_cluster()
        gauge.values = {cluster.pk: 11}
        evaluate()
        sending.send_due()
        [mail] = server.got
    assert f"Subject: [FIRING critical] 11 on {cluster.name}" in mail.replace("\n ", " ").replace("\r", "")
    assert "To: oncall@example.com" in mail
    assert f"Message-ID: <{Notification.objects.get(channel=channel).pk}@controlplane>" in mail
    assert state_of(channel) == [("sent", 1)]


def test_what_a_mail_server_refuses_is_tried_again(gauge: Dial, settings: Any) -> None:
    with smtp_receiver(refuse=lambda line: line.startswith("rcpt")) as server:
        settings.EMAIL_BACKEND = f"{EmailBackend.__module__}.{EmailBackend.__name__}"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        channel = a_channel("email", recipients=["nobody@example.com"])
        with pytest.raises(http.DeliveryFailed, match="SMTPRecipientsRefused"):
            channels.test_channel(channel=channel, actor=ACTOR, source=SOURCE)
        assert server.got == []


def test_each_try_is_counted_for_prometheus(gauge: Dial, receiver: Receiver) -> None:
    def counted(outcome: str) -> float:
        [value] = [
            sample.value
            for sample in next(iter(metrics.NOTIFICATIONS.collect())).samples
            if sample.labels == {"channel": "webhook", "outcome": outcome}
        ] or [0.0]
        return value

    channel, cluster = a_channel("webhook", receiver.url), a_cluster()
    gauge.rule()
    failed, sent = counted("failed"), counted("sent")
    receiver.answer = 503
    gauge.values = {cluster.pk: 11}
    evaluate()
    sending.send_due()
    assert (counted("failed"), counted("sent")) == (failed + 1, sent)
    receiver.answer = 200
    Notification.objects.filter(channel=channel).update(due_at=timezone.now())
    sending.send_due()
    assert (counted("failed"), counted("sent")) == (failed + 1, sent + 1)


def test_failures_are_tried_again_later_and_later_in_order_and_given_up(gauge: Dial, receiver: Receiver) -> None:
    channel, cluster = a_channel("webhook", receiver.url), a_cluster()
    rule = gauge.rule()
    receiver.answer = 503
    gauge.values = {cluster.pk: 11}
    evaluate()
    assert sending.send_due() == 1
    message = Notification.objects.get(channel=channel)
    assert (message.state, message.status, message.attempts) == ("waiting", 503, 1)
    assert "503: said" in message.error
    assert timedelta(seconds=2) < message.due_at - timezone.now() < timedelta(seconds=7)
    channel.refresh_from_db()
    assert "503" in channel.last_error
    gauge.values = {}
    evaluate()  # it is over; nobody hears of that before the beginning
    assert sending.send_due() == 0
    receiver.answer = 200
    Notification.objects.filter(pk=message.pk).update(due_at=timezone.now())
    assert sending.send_due() == 2
    assert [got.json["alerts"][0]["event"] for got in receiver.got] == ["firing", "firing", "resolved"]
    assert [got.json["id"] for got in receiver.got][:2] == [str(message.pk)] * 2
    channel.refresh_from_db()
    assert channel.last_error == ""
    receiver.answer = 500
    gauge.values = {cluster.pk: 11}
    evaluate()
    Notification.objects.filter(rule=rule, state="waiting").update(attempts=sending.MAX_ATTEMPTS - 1)
    assert sending.send_due() == 1
    assert state_of(channel)[-1] == ("failed", sending.MAX_ATTEMPTS)
    waits = [sending.wait_after(number).total_seconds() for number in range(1, 13)]
    assert waits[0] < 7
    assert 600 < waits[-1] <= 1125


def test_who_died_while_sending_is_succeeded_by_another(gauge: Dial, receiver: Receiver) -> None:
    channel = a_channel("webhook", receiver.url)
    gauge.rule()
    gauge.values = {a_cluster().pk: 11}
    evaluate()
    lost = sending.claim()
    assert lost is not None
    assert sending.claim() is None  # it is somebody's
    later = sending.claim(timezone.now() + sending.LEASE + timedelta(seconds=1))
    assert later is not None
    assert (later.pk, later.attempts) == (lost.pk, 2)
    assert sending.attempt(later)
    receiver.answer = 500
    sending.attempt(lost)  # whoever was taken for dead writes nothing
    assert state_of(channel) == [("sent", 2)]


def test_a_disabled_channel_gets_nothing_more(gauge: Dial, receiver: Receiver) -> None:
    channel = a_channel("webhook", receiver.url)
    gauge.rule()
    gauge.values = {a_cluster().pk: 11}
    evaluate()
    channels.update_channel(channel=channel, changes={"enabled": False}, actor=ACTOR, source=SOURCE)
    sending.send_due()
    assert receiver.got == []
    assert state_of(channel) == [("failed", 1)]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/", "https://10.1.2.3/", "https://192.168.0.1/", "https://172.16.5.5/",
        "https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/", "https://0.0.0.0/", "https://[::1]/",
        "https://[fe80::1]/", "https://[fd00:ec2::254]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://2130706433/", "https://0177.0.0.1/",
        "https://127.1/", "https://224.0.0.1/", "https://255.255.255.255/", "https://240.0.0.1/",
    ],
)  # fmt: skip
def test_nothing_goes_to_private_places(settings: Any, url: str) -> None:
    settings.NOTIFY_ALLOWED_NETWORKS = []
    with pytest.raises(http.AddressRefused):
        http.post(url, b"", {})


def test_public_addresses_are_public() -> None:
    import ipaddress

    for address in ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"):
        assert http.is_public(ipaddress.ip_address(address)), address


def test_plain_http_goes_to_listed_networks_only(settings: Any, receiver: Receiver) -> None:
    with pytest.raises(http.AddressRefused, match="https"):
        http.resolve(http.check_url("http://8.8.8.8/"))
    assert http.post(receiver.url, b"{}", {}).status == 200
    settings.NOTIFY_ALLOWED_NETWORKS = ["10.0.0.0/8"]
    with pytest.raises(http.AddressRefused):
        http.post(receiver.url, b"{}", {})
    assert len(receiver.got) == 1


def test_it_is_connected_to_what_was_checked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means something else a moment later: it is asked for once."""
    asked = []
    real = http.socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "rebound.example" and asked.count(host) == 1 else host, *args, **kwargs)

    monkeypatch.setattr(http.socket, "getaddrinfo", getaddrinfo)
    assert http.post(f"http://rebound.example:{receiver.port}/", b"{}", {}).status == 200
    assert asked.count("rebound.example") == 1
    assert receiver.got[0].headers["Host"] == f"rebound.example:{receiver.port}"


def test_certificates_are_checked_against_the_name_not_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate_for("hooks.example", tmp_path / "certificate.pem")
    real = http.socket.getaddrinfo
    monkeypatch.setattr(http.socket, "getaddrinfo", lambda host, *args, **more: real("127.0.0.1", *args, **more))
    with http_receiver(file) as receiver:
        url = f"https://hooks.example:{receiver.port}/"
        with pytest.raises(http.DeliveryFailed, match="certificate is not accepted"):
            http.post(url, b"{}", {})
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert http.post(url, b"{}", {}).status == 200
        with pytest.raises(http.DeliveryFailed, match="certificate is not accepted"):
            http.post(url.replace("hooks", "others"), b"{}", {})
        assert len(receiver.got) == 1


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.NOTIFY_ALLOWED_NETWORKS = []
    found = [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(http.socket, "getaddrinfo", lambda *args, **kwargs: found)
    with pytest.raises(http.AddressRefused):
        http.resolve(http.check_url("https://two.example/"))


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.answer, receiver.location = 302, f"http://127.0.0.1:{receiver.port}/elsewhere"
    channel = a_channel("slack", receiver.url)
    with pytest.raises(sending.Rejected, match="302"):
        channels.test_channel(channel=channel, actor=ACTOR, source=SOURCE)
    assert [got.path for got in receiver.got] == ["/hook?key=1"]


def test_whoever_answers_slowly_is_cut_off(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TOTAL_SECONDS", 1.0)
    receiver.slow = 0.3
    began = time.monotonic()
    with pytest.raises(http.DeliveryFailed):
        http.post(receiver.url, b"{}", {})
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("kind", "url", "secret", "values", "field"),
    [
        ("webhook", "", "", {}, "url"),
        ("webhook", "ftp://example.com/", "", {}, "url"),
        ("webhook", "https://user:pw@example.com/", "", {}, "url"),
        ("webhook", "https://exa mple.com/", "", {}, "url"),
        ("webhook", "https://example.com/\r\nX: y", "", {}, "url"),
        ("webhook", "https://example.com:99999/", "", {}, "url"),
        ("webhook", "https:///path", "", {}, "url"),
        ("webhook", "https://example.com/", "line\nbreak", {}, "secret"),
        ("slack", "https://example.com/", "secret", {}, "secret"),
        ("slack", "https://example.com/", "", {"recipients": ["a@example.com"]}, "recipients"),
        ("email", "", "", {}, "recipients"),
        ("email", "https://example.com/", "", {"recipients": ["a@example.com"]}, "url"),
        ("email", "", "", {"recipients": ["a@example.com\r\nBcc: b@example.com"]}, "recipients"),
        ("email", "", "", {"recipients": ["a@example.com"], "min_severity": "dire"}, "min_severity"),
        ("pigeon", "https://example.com/", "", {}, "kind"),
    ],
)
def test_channels_that_make_no_sense(kind: str, url: str, secret: str, values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        a_channel(kind, url, secret, **values)
    assert caught.value.field == field


def test_urls_and_secrets_stay_inside(receiver: Receiver) -> None:
    url = f"http://127.0.0.1:{receiver.port}/services/T000/{SECRET.replace(' ', '-')}"
    channel = a_channel("webhook", url, SECRET)
    assert channel.place == "127.0.0.1"
    assert SECRET not in channel.secret + channel.url
    events = AuditEvent.objects.filter(target_type="notificationchannel", target_id=str(channel.pk))
    assert events.count() == 1
    channels.update_channel(channel=channel, changes={}, secret="another", actor=ACTOR, source=SOURCE)
    assert [event.after.get("secret") for event in events.filter(action="notification_channel.update")] == ["changed"]
    seen = str([list(events.values())]) + str(call("list_notification_channels"))
    assert "T000" not in seen
    assert SECRET not in seen
    assert "another" not in seen


def test_the_commands(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text(receiver.url)
    (tmp_path / "secret").write_text(SECRET)
    name = fresh_slug("team")[:40]
    files = ("--url-file", str(tmp_path / "url"), "--secret-file", str(tmp_path / "secret"))
    made = call("add_notification_channel", name, "--kind", "webhook", *files, "--min-severity", "warning")
    assert (made["place"], made["signed"], made["min_severity"]) == ("127.0.0.1", True, "warning")
    assert call("test_notification_channel", name)["status"] == 200
    assert receiver.got[0].json["title"] == "[RESOLVED info] This is a test: messages arrive."
    assert "answered 200" in text("test_notification_channel", name)
    receiver.answer = 410
    code, error = refusal("test_notification_channel", name)
    assert (error.code, code != 0) == ("delivery_failed", True)
    assert name in text("list_notification_channels")
    monkeypatch.setenv("NOTIFICATION_URL", receiver.url)
    assert refusal("add_notification_channel", name, "--kind", "slack")[1].code == "name_taken"
    assert call("add_notification_channel", f"{name[:30]}-mail", "--kind", "email", "--to", "a@example.com")["id"]
    with pytest.raises(Conflict):
        channels.create_channel(name=name, kind="slack", url=receiver.url, actor=ACTOR, source=SOURCE)


@pytest.fixture
def alertmanager() -> Iterator[str]:
    """A real one on a free port; its URL."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="cp-test-") as directory:
        config = Path(directory) / "config.yml"
        config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        command = [
            "prometheus-alertmanager", f"--config.file={config}", f"--storage.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=error",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(200):
                try:
                    urllib.request.urlopen(f"{url}/-/ready", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _held(url: str, rule: str) -> list[dict[str, Any]]:
    import json

    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as answer:
        return [each for each in json.load(answer) if each["labels"]["alertname"] == rule]


def test_alertmanager_holds_what_fires_and_lets_go_of_what_is_over(gauge: Dial, alertmanager: str) -> None:
    channel = a_channel("alertmanager", alertmanager)
    rule, first, second = gauge.rule(severity="critical", runbook="disk-full"), a_cluster(), a_cluster()
    gauge.values = {first.pk: 11, second.pk: 12}
    evaluate()
    assert sending.send_due() == 1
    held = _held(alertmanager, rule.slug)
    assert {each["labels"]["subject"] for each in held} == {first.name, second.name}
    assert {each["labels"]["severity"] for each in held} == {"critical"}
    assert held[0]["annotations"]["runbook_url"].endswith("/disk-full")
    alert = Alert.objects.filter(rule=rule).first()
    assert alert is not None
    assert held[0]["generatorURL"].rpartition("/alert/")[0] == f"{_url_of(alert)}".rpartition("/alert/")[0]
    gauge.values = {second.pk: 12}
    evaluate()
    sending.send_due()
    deadline = time.monotonic() + 10
    while len(_held(alertmanager, rule.slug)) > 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [each["labels"]["subject"] for each in _held(alertmanager, rule.slug)] == [second.name]
    assert {state for state, _ in state_of(channel)} == {"sent"}


def _url_of(alert: Alert) -> str:
    from monitoring.alerts.messages import alert_url

    return alert_url(alert)
