"""A local ENS endpoint: signed, paged, throttled, and faulty on request.

Run the pipeline, or another client of the API, against it without a cloud account.

    rng               repeatable randomness
    days              the days of an account, each computed from the day before
    image_generator   realistic images from a seed
    instance_generator, living_instances    realistic instances, which run from the images of the day
    accounts          accounts: read from a file, or generated and changing from day to day
    api_errors        the published errors
    signature         verify requests: ACS3-HMAC-SHA256
    older_signature   the HMAC-SHA1 scheme of older clients, off by default
    action            how an API action is declared
    actions/          the API actions, one module each
    account_state     the items of an account: encoded once, cut into pages, edited
    draft             a response built in stages, with faults applied
    state_faults      faults of time: old states, TotalCount beside the rows, creation times, the clock
    faults            the catalog of faults, by name
    fault_injector    which fault hits which response
    service           a request in, a response out
    server            HTTP: Endpoint in a thread, serve until a signal

A module imports only from modules above it, and from the rest of the pipeline only `resources/` and the ground.
"""

from pipeline.emulator.accounts import EmulatedAccount, living_account, read_account
from pipeline.emulator.fault_injector import Fault
from pipeline.emulator.faults import FAULTS
from pipeline.emulator.server import Endpoint, serve
from pipeline.emulator.service import Answer
from pipeline.emulator.signature import Key

__all__ = ["FAULTS", "Answer", "EmulatedAccount", "Endpoint", "Fault", "Key", "living_account", "read_account", "serve"]
