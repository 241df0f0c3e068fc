"""The attacks in which it matters what a replica is made with, once more under each OCI runtime.

As an ordinary user, crun and runc need ids to give: `tests/attack/test_as_ordinary_user.py` runs this module with some.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import psutil
import pytest

from attack.function.test_output import test_a_function_holds_nothing_of_its_log_that_it_could_change
from attack.function.test_remains import test_what_a_function_leaves_is_removed
from attack.function.test_system_calls import (
    mailbox,
    shared,
    test_attributes_of_files_that_may_be_read_stay_as_they_are,
    test_files_that_others_open_are_not_leased_or_watched,
    test_metadata_of_closed_files_stays_as_it_is,
    test_no_socket_reaches_what_is_not_the_network,
    test_nothing_is_shared_by_keys_or_names,
    test_processes_of_others_are_neither_limited_nor_slowed,
)
from contract.providers.test_isolation import (
    test_a_read_only_root,
    test_each_replica_has_a_network_of_its_own,
    test_no_network_means_none,
)
from hilbert.runtimes.oci.engines import GVISOR
from support.processes import ENGINES, ProcessHarness, is_of

pytestmark = pytest.mark.anyio

__all__ = [
    "mailbox",
    "shared",
    "test_a_function_holds_nothing_of_its_log_that_it_could_change",
    "test_a_read_only_root",
    "test_attributes_of_files_that_may_be_read_stay_as_they_are",
    "test_each_replica_has_a_network_of_its_own",
    "test_files_that_others_open_are_not_leased_or_watched",
    "test_metadata_of_closed_files_stays_as_it_is",
    "test_no_network_means_none",
    "test_no_socket_reaches_what_is_not_the_network",
    "test_nothing_is_shared_by_keys_or_names",
    "test_processes_of_others_are_neither_limited_nor_slowed",
    "test_what_a_function_leaves_is_removed",
]


_OWN_NUMBERS = {
    "test_a_function_holds_nothing_of_its_log_that_it_could_change": "its descriptors of the machine's files are its kernel's own",
    "test_each_replica_has_a_network_of_its_own": "its kernel gives namespaces numbers of its own",
}
"""Of what these tests look at, gVisor shows something else than what there is on the machine."""


@pytest.fixture(params=ENGINES)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHarness]:
    """Without a bystander: one under gVisor has its own pace."""
    if request.param == GVISOR and request.node.originalname in _OWN_NUMBERS:
        pytest.skip(f"gVisor: {_OWN_NUMBERS[request.node.originalname]}")
    harness = ProcessHarness(request.param, probe_period=2)
    await harness.start()
    try:
        yield harness
    finally:
        await harness.close()
    assert not [process for process in psutil.process_iter() if is_of(process, harness.folder)]
