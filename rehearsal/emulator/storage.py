"""Patches the emulator's S3: a range request for a version returns that range (unpatched: the whole version), and a
bucket from a template has the encryption of the template."""

from typing import Any

from ministack.services import s3
from ministack.services.cloudformation import provisioners

_ENCRYPTION = (
    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>"
    "<KMSMasterKeyID>{key}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>"
    "</ServerSideEncryptionConfiguration>"
)


def install() -> None:
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
