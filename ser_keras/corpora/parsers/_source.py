"""Source: where a corpus is published, and under which licence."""

import dataclasses

#: Licence of several corpora.
CC_BY_NC_SA = (
    "CC BY-NC-SA 4.0, https://creativecommons.org/licenses/by-nc-sa/4.0"
)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a corpus is published, and under which licence.

    Args:
        licence: Name and address of its licence.
        page: Web page of its owners.
        record: Number of its Zenodo record, if it has one.
        file: Name of the file in the record.
        checksum: Of the file, such as `"md5:..."`; None takes the one that
            the record states.
        audb: Name and version in audEERING's public repository, if it is
            there.
    """

    licence: str
    page: str
    record: str | None = None
    file: str | None = None
    checksum: str | None = None
    audb: tuple[str, str] | None = None

    @property
    def automatic(self) -> bool:
        """Whether `download_corpus` can fetch it."""
        return bool(self.record or self.audb)
