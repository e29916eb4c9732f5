"""The EKS target: the real cluster, with pulumi-aws, pulumi-eks and pulumi-kubernetes."""
