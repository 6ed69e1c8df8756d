"""Every error pagefleet raises on purpose, sorted by who must act.

PagefleetError
├── UserError             the user fixes an argument, the config, the manifest or the output
│   ├── ConfigError
│   ├── InputError        a path, prefix or glob that names nothing readable
│   ├── ManifestError     a malformed manifest line: ``file:line: field: what is allowed``
│   └── OutputRefused     the output folder belongs to another job
├── PageError             recorded as the reason of a ``failed`` row; nothing else is lost
│   ├── DocumentError     this document cannot be opened: its one row has ``page=0``
│   └── EngineError       the engine refused or spoiled one page
├── SourceUnavailable     sources do not answer at present: the job waits, then stops; no row is made
├── EngineDead            the replica's process is replaced
├── StoreError            the output store cannot be read or written; the job stops
└── JobError              the job stops: stalled, environment at fault, counts do not match
    └── EngineUnavailable what the engine asks (servers) does not answer; the pages are asked again

All carry their message as the only argument, so that they survive pickling between processes.
"""


class PagefleetError(Exception):
    """Base of every deliberate error. ``str(error)`` is a sentence for a person, remedy included."""

    exit_status = 1


class UserError(PagefleetError):
    """The user can fix this; printed without a traceback."""

    exit_status = 2


class ConfigError(UserError):
    """A configuration value is unknown or not allowed."""


class InputError(UserError):
    """An input argument names nothing that can be read."""


class ManifestError(UserError):
    """A manifest row is malformed. The message starts with ``file:line: field:``."""


class OutputRefused(UserError):
    """The output holds something this job must not touch."""


class PageError(PagefleetError):
    """One page cannot be read; the message becomes the row's reason."""


class DocumentError(PageError):
    """Something is wrong with this document, not with the place it is read from; the message becomes the
    reason of its row ``page=0``."""


class EngineError(PageError):
    """The engine could not read one page; its neighbours are unaffected."""


class SourceUnavailable(PagefleetError):
    """Sources cannot be read at present (a timeout, a 5xx, credentials that expired, a mount that is
    gone): no document is to blame. Whoever reads them waits and tries again."""


class EngineDead(PagefleetError):
    """The engine will not answer again; its process must end so that the replica is replaced."""


class StoreError(PagefleetError):
    """The output store failed for good (no space, no permission, wrong credentials)."""


class JobError(PagefleetError):
    """The job cannot go on; what is stored stays stored and the job can be resumed."""


class EngineUnavailable(JobError):
    """What an engine depends on (its servers) has not answered for as long as it may: no page is to
    blame, none becomes a row, and the job stops resumable."""
