"""What the records say belongs together, whatever a model thinks.

Contents are known by their identity: media by digest, texts without regard to case and spaces.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from data.records import ContentRef, PartRef, Record
from model.content import Modality

Key = tuple[str, ...]
Relation = Literal["positive", "equal_query", "same_group", "linked_group", "same_part", "query_itself", "sibling"]


def part_key(part: PartRef) -> str:
    """Identity of a part."""
    if part.modality is Modality.TEXT:
        plain = unicodedata.normalize("NFKC", part.text or "").casefold()
        return f"text:{' '.join(plain.split())}"
    return f"{part.modality.value}:{part.media}"


def content_key(content: ContentRef) -> Key:
    """Identity of a content."""
    return tuple(map(part_key, content))


def kind_of(content: ContentRef) -> str:
    """``text``, ``image``, ..., or ``interleaved`` for a mixture."""
    kinds = {part.modality for part in content}
    return next(iter(kinds)).value if len(kinds) == 1 else "interleaved"


@dataclass
class Document:
    """A distinct positive of the corpus.

    Attributes:
        key: identity.
        ref: as it is stored.
        records: those that have it as a positive.
        groups: theirs.
    """

    key: Key
    ref: ContentRef
    records: list[Record] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)


@dataclass
class Query:
    """A distinct query of the corpus, with the positives and groups of all its records."""

    key: Key
    ref: ContentRef
    record: Record
    positives: set[Key] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)


class Knowledge:
    """Who belongs to whom, over all given records.

    Args:
        records: of the train split, of all tasks.
        siblings: see ``Rules.siblings``.
        never_across: see ``Rules.never_across``.
    """

    def __init__(
        self, records: Iterable[Record], *, siblings: bool = True, never_across: Sequence[Sequence[str]] = ()
    ) -> None:
        self.documents: dict[Key, Document] = {}
        self.queries: dict[Key, Query] = {}
        self._asked: dict[Key, set[Key]] = {}
        self._answers: dict[Key, frozenset[Key]] = {}
        self._positive_parts: dict[Key, frozenset[str]] = {}
        self._siblings = siblings
        for record in records:
            self._add(record)
        groups = {group for query in self.queries.values() for group in query.groups}
        self._links = _links(groups, never_across)

    def _add(self, record: Record) -> None:
        asked = content_key(record.query)
        query = self.queries.setdefault(asked, Query(asked, record.query, record))
        query.groups.add(record.group)
        for ref in record.positives:
            key = content_key(ref)
            document = self.documents.setdefault(key, Document(key, ref))
            document.records.append(record)
            document.groups.add(record.group)
            query.positives.add(key)
            self._asked.setdefault(key, set()).add(asked)

    def relation(
        self, query: Query, document: Document, *, own: Iterable[Key] = (), hidden: Key | None = None
    ) -> Relation | None:
        """Why ``document`` may not be a negative of ``query``; None where nothing is known.

        Args:
            query: whose negative it would be.
            document: a candidate.
            own: positives of the record at hand; it only decides between two names for a positive.
            hidden: a positive that is treated as if no record said that it is one (nor named its group): the parts of
                it are all that is known. It is how the estimate of false negatives plants what it then looks for.
        """
        positives = query.positives - {hidden} if hidden else query.positives
        if document.key in positives:
            return "positive" if document.key in own else "equal_query"
        if document.key == query.key:
            return "query_itself"
        if document.key != hidden:
            if not query.groups.isdisjoint(document.groups):
                return "same_group"
            if self._links and not self._linked(query.groups).isdisjoint(self._linked(document.groups)):
                return "linked_group"
        if not self._parts(query, positives, hidden).isdisjoint(document.key):
            return "same_part"
        if self._siblings and document.key != hidden and not positives.isdisjoint(self.answers_beside(document.key)):
            return "sibling"
        return None

    def _parts(self, query: Query, positives: set[Key], hidden: Key | None) -> frozenset[str]:
        """Texts and media of the positives of a query."""
        if hidden:
            return frozenset(part for key in positives for part in key)
        if query.key not in self._positive_parts:
            self._positive_parts[query.key] = frozenset(part for key in positives for part in key)
        return self._positive_parts[query.key]

    def answers_beside(self, key: Key) -> frozenset[Key]:
        """Positives of all queries that a document is a positive of."""
        if key not in self._answers:
            sets = [self.queries[asked].positives for asked in self._asked.get(key, ())]
            self._answers[key] = frozenset().union(*sets)
        return self._answers[key]

    def _linked(self, groups: Iterable[str]) -> set[int]:
        return {number for group in groups for number in self._links.get(group, ())}


def _links(groups: Iterable[str], lists: Sequence[Sequence[str]]) -> Mapping[str, tuple[int, ...]]:
    found = {
        group: tuple(i for i, patterns in enumerate(lists) if any(fnmatchcase(group, p) for p in patterns))
        for group in (groups if lists else ())
    }
    return {group: numbers for group, numbers in found.items() if numbers}
