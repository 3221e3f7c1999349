"""The keys of an LMDB file, read page by page with every number checked.

The lmdb library maps the file into memory and trusts it: in a file that was cut short,
or that holds wrong bytes, it ends the process with a bus error. It can read what `keys`
accepts.
"""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = struct.Struct("<QHHHH")  # page number, padding, flags, lower, upper
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, 3 counts, entries, root
_LAST = struct.Struct("<QQ")  # last page, transaction
_NODE = struct.Struct("<HHHH")  # size or page in two parts, flags, size of the key
_BRANCH, _LEAF = 1, 2  # flags of a page
_BIG = 1  # flag of a node whose value has pages of its own
_NONE = 2**64 - 1  # root of an empty tree
_MOST_DEPTH = 32


class _Tree(NamedTuple):
    page_size: int
    last: int
    entries: int
    root: int


def keys(path: str) -> Iterator[bytes]:
    """Yields the keys of the main database of an LMDB file, sorted.

    Raises:
      ValueError: the file is damaged.
      OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        tree = _newest_tree(os.pread(file.fileno(), 2**17, 0))
        pages = min(tree.last + 1, size // tree.page_size)
        waiting = [] if tree.root == _NONE else [(tree.root, 1)]
        found = read = 0
        while waiting:
            number, depth = waiting.pop()
            read += 1
            if number >= pages:
                raise ValueError(f"page {number} is missing in {size} bytes")
            if read > pages or depth > _MOST_DEPTH:
                raise ValueError(f"page {number} is used twice")
            page = os.pread(file.fileno(), tree.page_size, number * tree.page_size)
            for key, child in _nodes(page, number, pages):
                if child is None:
                    found += 1
                    yield key
                else:
                    waiting.append((child, depth + 1))
    if found != tree.entries:
        raise ValueError(f"{found} keys instead of {tree.entries}")


def _newest_tree(head: bytes) -> _Tree:
    """Returns the main tree of the newer one of the two first pages."""
    if len(head) < 1024:
        raise ValueError(f"it has only {len(head)} bytes")
    (page_size, *_) = _TREE.unpack_from(head, _HEADER.size + _META.size)
    if page_size not in [2**n for n in range(9, 17)] or len(head) < 2 * page_size:
        raise ValueError("its first page is damaged")
    trees = []
    for start in (0, page_size):
        at = start + _HEADER.size
        magic, version, *_ = _META.unpack_from(head, at)
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError("its first pages are not those of an LMDB file")
        free, main = at + _META.size, at + _META.size + _TREE.size
        _, flags, *_, entries, root = _TREE.unpack_from(head, main)
        if _TREE.unpack_from(head, free)[0] != page_size or flags:
            raise ValueError("it is not a plain database")
        last, transaction = _LAST.unpack_from(head, main + _TREE.size)
        trees.append((transaction, _Tree(page_size, last, entries, root)))
    return max(trees)[1]


def _nodes(page: bytes, number: int, pages: int) -> Iterator[tuple[bytes, int | None]]:
    """Yields key and None for each entry of a leaf, last branch first for a branch."""
    own, _, flags, lower, _ = _HEADER.unpack_from(page)
    if own != number or flags & 3 not in (_BRANCH, _LEAF) or lower > len(page):
        raise ValueError(f"page {number} is damaged")
    try:
        starts = struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, 16)
        branch = flags & _BRANCH
        for start in reversed(starts) if branch else starts:
            low, high, kind, key_size = _NODE.unpack_from(page, start)
            body = start + _NODE.size + key_size
            if branch:
                yield b"", low | high << 16 | kind << 32
                continue
            size, rest = low | high << 16, len(page) - body
            if kind & ~_BIG or (8 if kind else size) > rest:
                raise ValueError(f"page {number} is damaged")
            if kind:
                (first,) = struct.unpack_from("<Q", page, body)
                if first + -(-(_HEADER.size + size) // len(page)) > pages:
                    raise ValueError(f"page {first} and later ones are missing")
            yield page[body - key_size : body], None
    except struct.error:
        raise ValueError(f"page {number} is damaged") from None
