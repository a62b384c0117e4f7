"""The whole corpus, in an order that fails early on the cheapest layer."""

from tests.hostile.archives import ARCHIVES
from tests.hostile.case import HostileCase
from tests.hostile.configs import CONFIGS
from tests.hostile.headers import HEADERS
from tests.hostile.weights import WEIGHTS_CASES

CORPUS: tuple[HostileCase, ...] = (*ARCHIVES, *CONFIGS, *HEADERS, *WEIGHTS_CASES)
