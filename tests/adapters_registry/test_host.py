"""A host that stands before another one."""

from adapters_registry.host import AdapterHost, HostProxy
from adapters_registry.testing import RecordingHost

PROPERTIES = [name for name, member in vars(AdapterHost).items() if isinstance(member, property)]


def test_a_proxy_has_every_property_of_the_host_that_is_its_target_now():
    hosts = [RecordingHost(2, slots=1), RecordingHost(9, slots=4)]
    proxy = HostProxy(lambda: hosts[0])
    assert len(PROPERTIES) == 6
    for _ in range(len(hosts)):
        for name in PROPERTIES:
            assert getattr(proxy, name) == getattr(hosts[0], name)
        hosts.reverse()
