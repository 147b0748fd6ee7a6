"""Uploads in parts."""

from typing import Any

LEAST_PART = 5 << 20
"""Bytes: no part but the last may have less."""


def upload_in_parts(s3: Any, bucket: str, key: str, body: bytes, length: int = LEAST_PART) -> None:
    """With the checksum that S3 gives an object whose writer names none. boto3 would compute that one itself."""
    place = {"Bucket": bucket, "Key": key}
    place |= {"UploadId": s3.create_multipart_upload(**place, ChecksumAlgorithm="CRC64NVME")["UploadId"]}
    starts = range(0, len(body), length)
    etags = [
        s3.upload_part(**place, PartNumber=number, Body=body[start : start + length])["ETag"]
        for number, start in enumerate(starts, 1)
    ]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
