"""Logging in as kubectl does, by a kubeconfig file."""

from __future__ import annotations

from kubernetes import client, config
from kubernetes.config import ConfigException

from components.kubernetes.api import Api
from components.kubernetes.errors import KubernetesError


def connect(path: str | None, context: str | None) -> Api:
    """The API server of a context.

    :param path: of the file; None is ``$KUBECONFIG`` or ``~/.kube/config``.
    :param context: None is the file's current one.
    :raises KubernetesError: no readable file, or no such context in it.
    """
    settings = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            path, context=context, client_configuration=settings
        )
    except (ConfigException, OSError, ValueError) as error:
        raise KubernetesError(f"kubeconfig {path or 'of kubectl'}: {error}") from None
    return Api(settings)
