"""URLs of object stores, and where credentials for S3 come from."""

import configparser
from traceback import format_exception

import pytest

from fusekit.errors import StorageError
from fusekit.storage.aws import s3_options
from fusekit.storage.folder import open_storage
from fusekit.storage.url import Place, split_url


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ALLOW_HTTP",
        "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def write(path, **sections):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict({name.replace("_", " "): values for name, values in sections.items()})
    with path.open("w") as file:
        parser.write(file)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://faces", Place("s3", "faces", "")),
        ("s3://faces/a//store/", Place("s3", "faces", "a/store")),
        ("gs://faces/store", Place("gs", "faces", "store")),
        ("https://example.org:8443/x", Place("https", "example.org:8443", "x")),
        ("http://127.0.0.1:9000/x", Place("http", "127.0.0.1:9000", "x")),
    ],
)
def test_a_url_is_taken_apart(url, place):
    assert split_url(url) == place
    assert split_url(place.url) == place


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "ftp://host/x: ftp:// can't be read; expected s3://, gs:// or https://"),
        ("s3:///x", "s3:///x: names no bucket or host"),
        ("s3://[x/y", r"^s3://…: names no host or bucket that can be; expected BUCKET, or HOST:"),
        ("https://[zz]/x", "^https://…: names no host or bucket that can be"),
        ("https://h:99999/x", "^https://…: names no host or bucket that can be"),
        ("https://h:0/x", "^https://…: names no host or bucket that can be"),
        ("s3://a b/x", "^s3://…: names no host or bucket that can be"),
        ("s3://faces/../x", r"holds '\.' or '\.\.'"),
        ("http://example.org/x", "is not encrypted; expected https://, or http:// on this machine"),
        ("https://h/x#part", "has a query or a fragment; expected a folder's URL"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url, message):
    with pytest.raises(StorageError, match=message):
        split_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@faces/store", "https://me:hunter2@example.org/x",
        "https://hunter2@example.org/x", "https://example.org/x?X-Amz-Signature=hunter2",
        "s3://me:hun@hunter2@faces/x", "ftp://me:hunter2@host/",
    ],
)  # fmt: skip
def test_a_secret_in_a_url_is_refused_and_not_repeated(url):
    for open_ in (split_url, open_storage):
        if open_ is open_storage and "?" in url:
            continue
        with pytest.raises(StorageError, match="by the environment, never in a URL") as error:
            open_(url)
        assert "hunter2" not in repr(error.value) + str(error.value)


@pytest.mark.parametrize("url", ["https://me:hunter2@[h/x", "https://me:hunter2@h:x/y"])
def test_a_secret_in_a_damaged_url_is_not_repeated(url):
    with pytest.raises(StorageError, match=r"^https://…: names no host") as error:
        split_url(url)
    assert "hunter2" not in "".join(format_exception(error.value))


def test_the_environment_is_left_to_the_library(home, monkeypatch):
    write(home / "credentials", default={"aws_access_key_id": "a", "aws_secret_access_key": "b"})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://example.org/")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    options, plain = s3_options()
    assert options == {"region": "eu-north-1", "endpoint": "https://example.org"}
    assert not plain


def test_a_profile_gives_credentials_region_and_endpoint(home, monkeypatch):
    write(
        home / "credentials",
        default={"aws_access_key_id": "a", "aws_secret_access_key": "b%"},
        lab={"aws_access_key_id": "c", "aws_secret_access_key": "d", "aws_session_token": "e"},
    )
    write(
        home / "config",
        default={"region": "us-west-2"},
        profile_lab={"region": "eu-west-1", "endpoint_url": "http://127.0.0.1:9000"},
    )
    assert s3_options() == (
        {"region": "us-west-2", "access_key_id": "a", "secret_access_key": "b%"}, False,
    )  # fmt: skip
    monkeypatch.setenv("AWS_PROFILE", "lab")
    options, plain = s3_options()
    assert plain
    assert options == {
        "region": "eu-west-1", "endpoint": "http://127.0.0.1:9000", "access_key_id": "c",
        "secret_access_key": "d", "session_token": "e",
    }  # fmt: skip


def test_a_profile_that_is_nowhere_is_named(home, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with pytest.raises(StorageError, match="AWS profile 'lab': is in neither profile file"):
        s3_options()


def test_a_profile_with_a_role_asks_boto3(home, monkeypatch):
    write(home / "config", default={"role_arn": "arn:aws:iam::1:role/x", "region": "us-east-1"})
    monkeypatch.setitem(__import__("sys").modules, "obstore.auth.boto3", None)
    with pytest.raises(StorageError, match=r"'default': takes its credentials from a role or a lo"):
        s3_options()


def test_without_any_credentials_the_instance_is_asked(home):
    assert s3_options() == ({}, False)


def test_a_damaged_profile_file_is_named_and_not_repeated(home):
    (home / "credentials").write_text("aws_secret_access_key = hunter2\n")
    with pytest.raises(StorageError, match=r"credentials: can't be read as an AWS pro") as error:
        s3_options()
    assert "hunter2" not in str(error.value)


def test_an_unencrypted_endpoint_elsewhere_is_refused_unless_allowed(home, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example.org:9000")
    with pytest.raises(StorageError, match=r"reaches minio.example.org unencrypted; .*AWS_ALLOW_H"):
        s3_options()
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert s3_options()[1]


@pytest.mark.parametrize(
    "endpoint",
    ["minio:9000", "https://me:hunter2@minio", "ftp://x", "https://[::1", "https://hunter2:x"],
)
def test_an_endpoint_that_is_no_url_is_refused_and_not_repeated(home, monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL: is no plain URL") as error:
        s3_options()
    assert "hunter2" not in str(error.value)
