"""How much of an upload a function holds or does at once. docs/limits.md lists every limit; exceeding one is an error
that names it and the place.
"""

MAX_RECORD = 16 << 20
"""Bytes of one record: a line, a JSON value, a CSV row, a row of a Parquet file."""

BATCH_BYTES = 32 << 20
"""Records taken together hold so many bytes, or one record more: parsed, they take several times as much memory."""

BATCH_RECORDS = 1000

DENSE_BATCH = 20_000
SHORT_LINE = 32
REFUSED_KEPT = 10_000
"""A megabyte of line ends is a million records. In a batch of more than `DENSE_BATCH` records, blank lines and lines
that were refused before are counted without being read: of the refused ones, `REFUSED_KEPT` of at most `SHORT_LINE`
bytes are remembered."""

MAX_COLUMNS = 2000
MAX_COLUMN_NAMES = 100_000
"""Columns of a file's first row, and characters of their names together: plan.json and each step's report have them."""

KEYS_NAMED = 20
NAME_SHOWN = 60
"""Columns or keys that a message names, the rest are counted; and characters of each."""

IGNORED_LISTED = 100
IGNORED_KEPT = 10_000
"""Unused columns that a report lists, those with the most rows first; and that are kept while rows are counted, once
there are twice as many."""

LAYOUT_NAMES = 1_000_000
"""Characters of column names that are remembered with how rows with these columns are read."""

SAMPLE_SHOWN = 20_000
"""Characters of a sample row in a report."""

ENCODED_AT_ONCE = 20_000
"""Characters that tiktoken gets at once: its regular expressions overflow the stack on a million spaces, and the time
for one long word grows faster than its length. A cut adds at most one token."""

COUNTED_WHOLE = 64 << 10
"""Bytes of a row whose tokens are counted whole; those of a larger one are estimated by excerpts."""

MAX_INFLATED = 16 << 30
"""Bytes of a gzip stream once it is decompressed: more than one function reads in its 15 minutes."""

EXPANSION_RATIO = 200
EXPANSION_ALLOWED = 1 << 30
"""Bytes of JSON Lines that a Parquet file may be written out to: so many times its size, and this much in any case. A
text that stands in a dictionary once may be used by any number of rows."""

COLUMN_BUFFER = 8 << 20
COLUMN_BUFFERS = 256 << 20
"""Bytes of a Parquet file's column that are read at a time, each time with a request to S3; and of all its columns."""

MAX_BATCH_BYTES = 512 << 20
"""Bytes of the rows of a Parquet file that are read at once, if each had all bytes of its row group's texts."""

DICTIONARY_ROWS = 10_000
MAX_ROW_GROUP = 320 << 20
"""Rows that are read at once where texts are read as dictionaries, of which each batch has a copy; and bytes of a row
group's texts and values that are then held in any case, or may all be in one row. They take up to 5.5 times as much
memory."""

COMPARED_UNASKED = 128 << 20
"""Bytes of an upload whose rows are compared to count near-duplicates, where run.json does not ask to drop them. The
comparison takes about 15 µs a row, several times as long as the rest does for rows of 200 bytes: here, seconds."""

MAX_COMPARED = 25_000_000
"""Rows that are compared to find near-duplicates. Their signatures have 1.6 GB, on the disk of one function."""

MAX_DIGESTED = 40 * 10**9
"""Bytes of a training file whose SHA-256 is computed: reading them takes FinishDataset 8 of its 15 minutes, at 80 MB/s
(assumed). A larger file is known by its ETag and version in S3 alone."""
