"""The AWS VPC CNI: versions, the daemon's settings, and its part in the service path."""
