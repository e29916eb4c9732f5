"""The settings of a stack on an existing cluster."""

from pydantic import BaseModel

from cni.settings import SETTINGS as MODEL
from components.kubernetes.unexplained import UNEXPLAINED
from components.settings import TargetSettings


class KubeconfigSettings(BaseModel):
    """An existing cluster; None is kubectl's own default."""

    model_config = MODEL

    path: str | None = None
    context: str | None = None


SETTINGS = TargetSettings(
    name="kubeconfig",
    sections={"kubeconfig": KubeconfigSettings},
    unexplained=UNEXPLAINED,
)
