//go:build tools

// Package tools pins the upstream programs that are built from this module.
package tools

import (
	_ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
)
