"""A committed secret is found; the repository holds none. The samples are put together here, so that they are none."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys

import pytest

from tests.support.databases import PROJECT

SAMPLES = {
    "private key": lambda: "-----BEGIN " + "RSA PRIVATE KEY-----",
    "API key of ours": lambda: "cp_" + secrets.token_hex(5) + "_" + secrets.token_urlsafe(32),
    "AWS access key": lambda: "AK" + "IA" + "Q7ZT3WJX2LKP9RVM",
    "GitHub token": lambda: "ghp" + "_" + secrets.token_hex(18),
    "Fernet key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "value of a secret": lambda: 'password = "' + base64.b64encode(secrets.token_bytes(24)).decode() + '"',
}


def scan(*files):
    command = [sys.executable, "scripts/scan-secrets", *map(str, files)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", SAMPLES)
def test_it_is_found_and_not_repeated(tmp_path, kind):
    file, sample = tmp_path / "config.py", SAMPLES[kind]()
    file.write_text(f"nothing here\n{sample}\n")
    found = scan(file)
    assert found.returncode == 1
    assert f"{file}:2: {kind}\n" in found.stdout
    assert sample not in found.stdout + found.stderr


@pytest.mark.parametrize("text", ['password = "a password for tests only 17"', "token = get_token()", "x" * 43 + "="])
def test_what_is_no_secret_passes(tmp_path, text):
    file = tmp_path / "config.py"
    file.write_text(text)
    assert scan(file).returncode == 0, scan(file).stdout


def test_the_repository_holds_none():
    found = scan()
    assert found.returncode == 0, found.stdout
