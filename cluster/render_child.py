"""The rendering process of the local fleet: ``python -P -m cluster.render_child FD``.

What comes through the pipe: first a renderer's factory, then calls. What goes back: None once it is
ready, a call's answer, or an error that ends the job. It ends when the other end of the pipe is gone.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from multiprocessing.connection import Connection

from manifests.errors import JobError, PagefleetError


def serve(pipe: Connection) -> None:
    """Calls in, answers out, until the parent is gone."""
    warnings.simplefilter("ignore")  # a decoder's, about a document: its row tells what matters
    try:
        renderer = pipe.recv()()
        pipe.send(None)
        while True:
            call = pipe.recv()
            pipe.send(renderer.render(call))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except PagefleetError as error:
        pipe.send(error)
    except Exception:  # noqa: BLE001 - a bug must end the job with its traceback, not hang it
        pipe.send(JobError(f"the renderer failed: {traceback.format_exc()}"))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
