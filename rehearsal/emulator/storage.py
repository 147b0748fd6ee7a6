"""Patches the emulator's S3: a range request for a version returns that range (unpatched: the whole version), a bucket
from a template has the encryption of the template, and an upload in parts has AWS's limit and its checksum of the whole
object.
"""

from collections.abc import Callable
from typing import Any

from ministack.services import s3
from ministack.services.cloudformation import provisioners

_ENCRYPTION = (
    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>"
    "<KMSMasterKeyID>{key}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>"
    "</ServerSideEncryptionConfiguration>"
)


_LEAST_PART = 5 << 20
"""Bytes of each part but the last (S3 user guide, "Amazon S3 multipart upload limits")."""
_WHOLE = "CRC64NVME"
"""The algorithm whose checksum of an upload in parts is of the whole object, unless a composite is asked for; S3 makes
it itself (S3 user guide, "Checking object integrity")."""


def install() -> None:
    s3._complete_multipart_upload = _joining_parts(s3._complete_multipart_upload)
    get = s3._get_object

    def get_range(bucket: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> Any:
        status, answer_headers, body = get(bucket, key, headers, query)
        wanted = headers.get("range", "")
        if status != 200 or not wanted or not (query or {}).get("versionId"):
            return status, answer_headers, body
        limits = s3._parse_range(wanted, len(body))
        if limits is None:
            refusal = s3._xml_body(s3._range_error_xml(bucket, key))
            return 416, {"Content-Type": "application/xml", "Content-Range": f"bytes */{len(body)}"}, refusal
        first, last = limits
        # A checksum is of the whole object: beside a part of it, clients would take the part for damaged.
        kept = {name: value for name, value in answer_headers.items() if not name.lower().startswith("x-amz-checksum")}
        part = body[first : last + 1]
        sizes = {"Content-Length": str(len(part)), "Content-Range": f"bytes {first}-{last}/{len(body)}"}
        return 206, kept | sizes, part

    s3._get_object = get_range
    buckets = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create = buckets["create"]

    def create_encrypted(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        created = create(logical_id, properties, stack)
        for rule in properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", []):
            if key := rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID"):
                s3._put_bucket_encryption(created[0], _ENCRYPTION.format(key=key).encode())
        return created

    provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"] = {**buckets, "create": create_encrypted}


def _joining_parts(complete: Callable[..., Any]) -> Callable[..., Any]:
    def join(bucket: str, key: str, body: bytes, query: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
        parts = [upload["parts"][number]["body"] for number in sorted(upload["parts"])] if upload else []
        if any(len(part) < _LEAST_PART for part in parts[:-1]):
            message = "Your proposed upload is smaller than the minimum allowed object size."
            return s3._error("EntityTooSmall", message, 400, f"/{bucket}/{key}")
        answer = complete(bucket, key, body, query, headers)
        if upload and answer[0] == 200 and upload["checksum_algorithm"] == _WHOLE:
            checksum = s3._compute_s3_checksum(_WHOLE, b"".join(parts))
            versions = s3._object_versions.get((bucket, key), [])
            for record in (s3._buckets[bucket]["objects"][key], *versions[-1:]):
                record |= {"checksums": {_WHOLE: checksum}, "checksum_type": "FULL_OBJECT"}
        return answer

    return join
