"""The VPC CNI in the lab."""
