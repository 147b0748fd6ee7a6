"""How the bytes of a text file begin."""

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte-order mark, which PowerShell and Excel write."""


def wide_encoding(document: bytes) -> str:
    """UTF-16 or UTF-32 if a document is that, as some editors and shells write it; else ""."""
    if not document.startswith((b"\xff\xfe", b"\xfe\xff", b"\0")) and b"\0" not in document[:4]:
        return ""
    return "UTF-32" if document[:4].count(0) > 2 or document.startswith(b"\xff\xfe\0\0") else "UTF-16"
