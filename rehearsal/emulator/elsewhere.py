"""Other accounts, each emulated by a process of its own: what a role asks of their buckets, keys and registries.

As in AWS both accounts must allow it: the role's own policies, and the policy of what is in the other account. The
emulator of the role's account evaluates both; then it fetches what was asked for.

Not emulated: that another account's objects are written or listed, and other services. Such requests are refused by the
policies before.
"""

import http.client
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from ministack.services import kms, s3

from rehearsal.emulator.identity import ACCOUNT

Answer = tuple[int, dict[str, str], bytes]
_MASTER_KEY = re.compile(r"<KMSMasterKeyID>(.+?)</KMSMasterKeyID>")
_NOT_RELAYED = {"host", "authorization", "content-length", "connection", "x-amz-security-token"}


@dataclass(frozen=True)
class Neighbour:
    """The emulator of another account."""

    account: str
    url: str

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """As whoever operates that account: the policies were evaluated before."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        signed = f"AWS4-HMAC-SHA256 Credential={self.account}/20260101/us-east-1/s3/aws4_request"
        try:
            connection.request(method, path, body, {**headers, "authorization": signed})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def policy(self, resource: str) -> dict[str, Any] | None:
        """`{policy, key}` of the resource: its own policy, and ARN of the key that encrypts it; None if there is no
        such resource."""
        status, _, body = self.request("GET", f"/_rehearsal/policy?{urlencode({'resource': resource})}", {})
        found: dict[str, Any] | None = json.loads(body) if status == 200 else None
        return found


_neighbours: dict[str, Neighbour] = {}


def add_neighbour(account: str, url: str) -> None:
    _neighbours[account] = Neighbour(account, url)


def install() -> None:
    """Lets S3 read what is in another account. The policies are evaluated by `permissions`."""
    s3._get_object = _reading("GET", s3._get_object)
    s3._head_object = _reading("HEAD", s3._head_object)
    s3._copy_object = _copying(s3._copy_object)
    s3._upload_part_copy = _copying_a_part(s3._upload_part_copy)
    s3.validate_object_request = _knowing_other_buckets(s3.validate_object_request)


def own_policy(resource: str, group_policy: Callable[[str], str | None]) -> dict[str, Any] | None:
    """What `Neighbour.policy` answers about a bucket, an object, a key or a version in the registry of this account."""
    service, name = resource.split(":")[2], resource.split(":", 5)[5]
    if service == "s3":
        bucket = name.partition("/")[0]
        if bucket not in s3._buckets:
            return None
        key = _MASTER_KEY.search(str(s3._bucket_encryption.get(bucket)))
        return {"policy": s3._bucket_policies.get(bucket) or "", "key": key and key.group(1)}
    if service == "kms":
        known = kms.key_policy_for_arn(resource)
        return known and {"policy": known[0]}
    policy = group_policy(name.split("/")[1]) if service == "sagemaker" and "/" in name else None
    return None if policy is None else {"policy": policy}


def foreign_policy(resource: str) -> tuple[str, str] | None:
    """The policy of a resource in another account, and that account; None for one of this account, or of none."""
    if (found := _found(resource)) is None:
        return None
    neighbour, known = found
    return known["policy"], neighbour.account


def key_of_bucket(bucket: str) -> str | None:
    """ARN of the key that encrypts a bucket of another account."""
    found = _found(f"arn:aws:s3:::{bucket}")
    return found[1].get("key") if found else None


def owner_of(arn: str) -> Neighbour | None:
    """The other account in whose ARN this is."""
    return _neighbours.get(arn.split(":")[4]) if arn.startswith("arn:") and arn.count(":") >= 5 else None


def _found(resource: str) -> tuple[Neighbour, dict[str, Any]] | None:
    if not resource.startswith("arn:"):
        return None
    service, account, name = (resource.split(":", 5)[place] for place in (2, 4, 5))
    if service == "s3":
        if name.partition("/")[0] in s3._buckets:
            return None
        candidates = list(_neighbours.values())
    else:
        candidates = [_neighbours[account]] if account != ACCOUNT and account in _neighbours else []
    for neighbour in candidates:
        if (known := neighbour.policy(resource)) is not None:
            return neighbour, known
    return None


def _holder(bucket: str) -> Neighbour | None:
    found = _found(f"arn:aws:s3:::{bucket}")
    return found[0] if found else None


def _knowing_other_buckets(validate: Callable[..., Answer | None]) -> Callable[..., Answer | None]:
    """Before it evaluates policies the emulator refuses what names a bucket that it does not have."""

    def validate_anywhere(method: str, path: str, *rest: Any) -> Answer | None:
        refused = validate(method, path, *rest)
        absent = refused is not None and b"NoSuchBucket" in refused[2]
        return None if absent and _holder(path.strip("/").partition("/")[0]) else refused

    return validate_anywhere


def _reading(method: str, read: Callable[..., Answer]) -> Callable[..., Answer]:
    def read_anywhere(bucket: str, key: str, headers: Any = None, query: dict[str, Any] | None = None) -> Answer:
        holder = None if bucket in s3._buckets else _holder(bucket)
        if holder is None:
            return read(bucket, key, headers, query)
        return _fetched(holder, method, bucket, key, headers or {}, (query or {}).get("versionId"))

    return read_anywhere


def _fetched(
    holder: Neighbour, method: str, bucket: str, key: str, headers: dict[str, str], version: Any = None
) -> Answer:
    version = version[0] if isinstance(version, list) else version
    asked = f"?{urlencode({'versionId': version})}" if version else ""
    relayed = {name: value for name, value in headers.items() if name.lower() not in _NOT_RELAYED}
    return holder.request(method, f"/{quote(f'{bucket}/{key}')}{asked}", relayed)


def _copying(copy: Callable[..., Answer]) -> Callable[..., Answer]:
    def copy_from_anywhere(bucket: str, key: str, headers: dict[str, str]) -> Answer:
        found = _copied(headers, {"x-amz-checksum-mode": "ENABLED"})
        if found is None:
            return copy(bucket, key, headers)
        status, described, body = found
        if status != 200:
            return status, {"Content-Type": "application/xml"}, body
        kept = _of_the_copy(headers)
        # CopyObject computes the checksum that is asked for; PutObject does under this name.
        if algorithm := kept.pop("x-amz-checksum-algorithm", ""):
            kept["x-amz-sdk-checksum-algorithm"] = algorithm
        kept["content-type"] = described.get("Content-Type", "binary/octet-stream")
        return _as_copied("CopyObjectResult", s3._put_object(bucket, key, body, kept))

    return copy_from_anywhere


def _copying_a_part(copy: Callable[..., Answer]) -> Callable[..., Answer]:
    def copy_from_anywhere(bucket: str, key: str, query: dict[str, Any], headers: dict[str, str]) -> Answer:
        asked = {"range": headers.get("x-amz-copy-source-range"), "if-match": headers.get("x-amz-copy-source-if-match")}
        found = _copied(headers, {name: value for name, value in asked.items() if value})
        if found is None:
            return copy(bucket, key, query, headers)
        status, _, body = found
        if status not in (200, 206):
            return status, {"Content-Type": "application/xml"}, body
        return _as_copied("CopyPartResult", s3._upload_part(bucket, key, body, query, _of_the_copy(headers)))

    return copy_from_anywhere


def _copied(headers: dict[str, str], asked: dict[str, str]) -> Answer | None:
    """What is copied, or what of it `asked` names; None if this account has it."""
    source, _, version = headers.get("x-amz-copy-source", "").lstrip("/").partition("?")
    bucket, _, key = unquote(source).partition("/")
    holder = None if bucket in s3._buckets else _holder(bucket)
    if holder is None:
        return None
    return _fetched(holder, "GET", bucket, key, asked, unquote(version.partition("versionId=")[2]) or None)


def _of_the_copy(headers: dict[str, str]) -> dict[str, str]:
    dropped = ("x-amz-copy-source", "content-md5")
    return {name: value for name, value in headers.items() if not name.startswith(dropped)}


def _as_copied(result: str, written: Answer) -> Answer:
    status, made, _ = written
    if status != 200:
        return written
    document = f"<{result}><ETag>{made['ETag']}</ETag></{result}>"
    return 200, {**made, "Content-Type": "application/xml"}, document.encode()
