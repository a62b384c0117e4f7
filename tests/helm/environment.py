"""What a pod's process reads from its environment."""

import pytest

from app.settings import PREFIX, Settings
from tests.helm.release import Pod

SECRETS = {
    "LORA_API_AUTH__SECRET": "a-pepper-of-thirty-two-characters-or-more",
    "LORA_API_DATABASE__URL": "postgresql+asyncpg://user@host/database",
    "LORA_API_RATE_LIMITS__STORAGE_URL": "redis://host:6379/0",
}


def settings_of(pod: Pod) -> Settings:
    """Read the settings as the pod's process would, with a value for each secret."""
    with pytest.MonkeyPatch.context() as patch:
        for name, variable in pod.env.items():
            if name.startswith(PREFIX):
                patch.setenv(name, variable.get("value", SECRETS.get(name, "")))
        return Settings()
