"""Both vendors simulated as strict HTTP servers on loopback, able to misbehave on demand.

with start(Options(tenants=10)) as sandbox:
    use(sandbox.sophos_url, sandbox.connectwise_url, sandbox.env())
"""

from sandbox.faults import FAULT_KINDS, Fault, FaultKind
from sandbox.log import Entry
from sandbox.options import Options
from sandbox.running import Sandbox, start

__all__ = ["FAULT_KINDS", "Entry", "Fault", "FaultKind", "Options", "Sandbox", "start"]
