//go:build tools

// Package tools pins the upstream programs that are built from this module.
// Helm and CoreDNS share it, so that the Kubernetes libraries they have in
// common are compiled once.
package tools

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
