"""A local ENS endpoint: signed, paged, throttled, and faulty on request.

Try the pipeline, or a tool of your own, against it.

    making      one realistic image after another, from a seed
    accounts    accounts: from a file, or made and living from day to day
    refusals    the published errors
    signature   who signed a request, and rightly
    stock       an account's images, rendered once, cut into pages
    faults      what goes wrong on request, by name
    service     DescribeSelfImages: a request in, an answer out
    server      the socket: Endpoint in a thread, serve until a signal

A room imports only from the rooms above it, and nothing else of the pipeline.
"""

from pipeline.emulator.accounts import Account, living_account, read_account
from pipeline.emulator.faults import FAULTS, Fault
from pipeline.emulator.server import Endpoint, serve
from pipeline.emulator.service import Answer
from pipeline.emulator.signature import Key

__all__ = ["FAULTS", "Account", "Answer", "Endpoint", "Fault", "Key", "living_account", "read_account", "serve"]
