"""A person's kubeconfig, read by the library, with what it raises for a wrong one."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from kubernetes_asyncio.client.configuration import Configuration
from kubernetes_asyncio.config import ConfigException, load_kube_config_from_dict
from kubernetes_asyncio.config.kube_config import KubeConfigMerger
from yaml import YAMLError

from istio.settings import KubernetesSettings

_MALFORMED = (AttributeError, TypeError, LookupError, AssertionError)
"""What the library raises for a list in a map's place, an empty file, and the like."""

REFUSED = (ConfigException, OSError, ValueError, YAMLError, *_MALFORMED)
"""All that it raises for a kubeconfig, and for files that it names."""

_ASKED_ELSEWHERE = ("exec", "auth-provider")


async def load_kubeconfig(
    configuration: Configuration, settings: KubernetesSettings, *, asks_for_tokens: bool = True
) -> None:
    """Put into ``configuration`` what the kubeconfig of the settings, or else the user's, says of its context.

    Without ``asks_for_tokens`` no plugin is run and no cloud asked for a token. Raises what is in ``REFUSED``.
    """
    # A missing file is told in one line, by our error.
    logging.getLogger("kubernetes_asyncio.config.kube_config").setLevel(logging.ERROR)
    found = _read(settings.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config")
    if not asks_for_tokens:
        _take_out_plugins(found.value["users"])
    await load_kube_config_from_dict(found, settings.context or None, client_configuration=configuration)


def why_refused(error: Exception) -> str:
    """Return what a person is told; of the library's words not those that say a whole user, with its token."""
    if isinstance(error, _MALFORMED):
        return "a malformed kubeconfig"
    return re.sub(r"/\{.*", "", str(error), flags=re.DOTALL)


def _read(files: str) -> Any:
    if not any(os.path.isfile(os.path.expanduser(one)) for one in files.split(os.pathsep)):
        raise ConfigException(f"no file {files}")  # the library would miss a key in it instead
    return KubeConfigMerger(files).config


def _take_out_plugins(users: Any) -> None:
    for one in users:
        user = one.value.get("user")
        for plugin in _ASKED_ELSEWHERE if isinstance(user, dict) else ():
            user.pop(plugin, None)
