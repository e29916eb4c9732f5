"""Clients of the lab's EC2 API, and who they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

#: Access keys, by which the recorded calls tell callers apart (a CNI has its component's name);
#: nobody checks a signature.
OWNER = "lab"
RECONCILER = "reconciler"
SECRET = "unchecked"
#: An abstract datagram socket, which belongs to a network namespace: rung after every change.
DOORBELL = "\0cni-benchmark-ec2-changes"


def connect(endpoint: str, region: str, caller: str) -> EC2Client:
    """A client of the API; it must be used inside the sandbox's network namespace.

    :param caller: an access key.
    """
    # Labs without ENIs do without half a second of importing it.
    import boto3
    from botocore.config import Config

    return boto3.client(
        "ec2",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=caller,
        aws_secret_access_key=SECRET,
        # A proxy from the environment must never see the traffic of a sandbox.
        config=Config(proxies={}, connect_timeout=5, read_timeout=30, retries={"mode": "standard"}),
    )
