//go:build tools

// Package tools pins the upstream programs that are built from this module.
package tools

import (
	_ "github.com/aws/amazon-vpc-cni-k8s/cmd/aws-k8s-agent"
	_ "github.com/aws/amazon-vpc-cni-k8s/cmd/routed-eni-cni-plugin"
)
