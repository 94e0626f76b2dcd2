"""kazoo's own test suite, as it ships in the package, against a server that already runs.

Usage: python kazoo_suite HOST:PORT

kazoo's harness starts three servers of its own. Here three proxies stand for them, all of them before the one server
under test: what the suite stops and starts is a proxy, which looks the same to a client. The suite mostly waits, so it
is split over several processes. Ends with a line of counts; exits with 1 if anything failed.
"""

import re
import subprocess
import sys
import types
import warnings

SHARDS = 6

ELSEWHERE = {
    "TestSSLClient": "needs TLS",
    "TestReconfig": "changes the members of the ensemble, which Apache refuses unless reconfigEnabled is set",
    "TestReadOnlyMode": "needs a server that has lost its ensemble",
    "TestBuildEnvironment": "looks at kazoo's own build",
    "SelectTestCase": "talks to no server",
}
"""Tests that are left out, by class, and why."""


def main() -> int:
    address = sys.argv[1]
    if len(sys.argv) > 2:
        return run_shard(address, int(sys.argv[2]))
    command = [sys.executable, sys.argv[0], address]
    shards = [
        subprocess.Popen([*command, str(shard)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for shard in range(SHARDS)
    ]
    outputs = [shard.communicate()[0] for shard in shards]
    failed = any(shard.returncode for shard in shards)
    if failed:
        print("\n".join(outputs))
    passed = sum(int(count) for output in outputs for count in re.findall(r"(\d+) passed", output))
    print(f"kazoo suite: {passed} passed, {'some' if failed else 'none'} failed")
    return int(failed)


class Shard:
    """A pytest plugin that keeps one part of the tests."""

    def __init__(self, number):
        self.number = number

    def pytest_collection_modifyitems(self, items):
        missing = set(ELSEWHERE) - {item.cls.__name__ for item in items if item.cls}
        assert not missing, f"not in kazoo's suite: {missing}"
        kept = [item for item in items if not (item.cls and item.cls.__name__ in ELSEWHERE)]
        items[:] = kept[self.number :: SHARDS]


def run_shard(address, number):
    import pytest
    from cluster import Cluster

    # kazoo's own module of this name starts Java processes, and imports packages to make certificates.
    common = types.ModuleType("kazoo.testing.common")
    common.ZookeeperCluster = Cluster
    sys.modules["kazoo.testing.common"] = common
    from kazoo.testing import harness

    cluster = Cluster(address)
    harness.get_global_cluster = lambda: cluster
    warnings.simplefilter("ignore")
    options = ["-p", "no:cacheprovider", "-p", "no:warnings", "-q", "--tb=short"]
    return pytest.main([*options, "--pyargs", "kazoo.tests"], plugins=[Shard(number)])


if __name__ == "__main__":
    sys.exit(main())
