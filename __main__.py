"""A stack is one scenario: its settings, the deployment on its target, and the results."""

import json
import os
import signal

import pulumi

from components.scenario import ScenarioStack
from components.settings import SettingsError
from components.targets import settings_of

# The engine ends a program by SIGINT once a step has failed: a traceback would bury that error.
signal.signal(signal.SIGINT, lambda *_: os._exit(130))

try:
    settings = settings_of(json.loads(os.environ.get("PULUMI_CONFIG", "{}")), pulumi.get_stack())
except SettingsError as error:
    raise pulumi.RunError(str(error)) from None

stack = ScenarioStack("scenario", settings)

pulumi.export("results", stack.results)
pulumi.export("toggles", stack.toggles)
pulumi.export("environment", stack.environment)
pulumi.export("warnings", stack.warnings)
pulumi.export("session", stack.session)
if stack.experiments is not None:
    pulumi.export("experiments", stack.experiments)
if stack.cluster is not None:
    pulumi.export("cluster", stack.cluster)
