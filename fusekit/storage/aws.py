"""How S3 is reached: endpoint, region and credentials from where every AWS tool looks for them."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fusekit.errors import StorageError
from fusekit.storage.url import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

# With one of these the library takes the credentials from the environment by itself.
_FROM_ENVIRONMENT: Final = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE",
)  # fmt: skip
_BY_OTHERS: Final = ("role_arn", "sso_session", "sso_start_url", "credential_process")


def s3_options() -> tuple[dict[str, Any], bool]:
    """Give what obstore's ``S3Store`` is to be made with, beside what it reads itself.

    Looked for in this order: the environment; the profile ``AWS_PROFILE`` (or ``default``) in
    ``~/.aws/credentials`` and ``~/.aws/config``; then, by the library, the container's or the
    instance's role. Profiles with a role, single sign-on or a process need ``boto3``.

    Returns:
        Keyword arguments, and whether plain HTTP is allowed: to this machine, or with
        ``AWS_ALLOW_HTTP``.

    Raises:
        StorageError: ``AWS_PROFILE`` names none, a file can't be read, the profile needs boto3
            and it is not installed, or the endpoint is no URL or would be reached unencrypted.
    """
    profile = _profile()
    environment = os.environ
    options: dict[str, Any] = {}
    endpoint = (
        environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        or profile.get("endpoint_url")
    )  # fmt: skip
    region = (
        environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        or profile.get("region")
    )  # fmt: skip
    if region:
        options["region"] = region
    if not any(environment.get(name) for name in _FROM_ENVIRONMENT):
        options |= _credentials(profile)
    if not endpoint:
        return options, False
    options["endpoint"] = endpoint.rstrip("/")
    return options, _plain_http(endpoint)


def _plain_http(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc:
        # Not repeated: it may hold a password.
        raise StorageError("AWS_ENDPOINT_URL", "is no plain URL", "https://HOST")
    if parts.scheme == "https":
        return False
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true", "yes"}
    if not allowed and not is_loopback(parts.hostname):
        raise StorageError(
            "AWS_ENDPOINT_URL", f"reaches {parts.hostname} unencrypted", "https://",
            "AWS_ALLOW_HTTP=true allows it",
        )  # fmt: skip
    return True


def _credentials(profile: Mapping[str, str]) -> dict[str, Any]:
    key, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
    if key and secret:
        found = {"access_key_id": key, "secret_access_key": secret}
        token = profile.get("aws_session_token")
        return found | ({"session_token": token} if token else {})
    if not any(profile.get(name) for name in _BY_OTHERS):
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise StorageError(
            _profile_place(), "takes its credentials from a role or a login",
            None, "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from None  # fmt: skip
    return {"credential_provider": Boto3CredentialProvider()}


def _profile_name() -> str:
    return os.environ.get("AWS_PROFILE") or "default"


def _profile_place() -> str:
    return f"AWS profile {_profile_name()!r}"


def _profile() -> dict[str, str]:
    """Read the profile; what stands in the credentials file goes before the config file."""
    name = _profile_name()
    config = "default" if name == "default" else f"profile {name}"
    found: dict[str, str] = {}
    known = False
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "~/.aws/config", config),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", name),
    ):
        path = Path(os.environ.get(variable) or file).expanduser()
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            # The parser's own words would repeat the line.
            raise StorageError(path, "can't be read as an AWS profile file") from None
        if parser.has_section(section):
            found |= dict(parser[section])
            known = True
    if os.environ.get("AWS_PROFILE") and not known:
        raise StorageError(_profile_place(), "is in neither profile file")
    return found
