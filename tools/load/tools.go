//go:build tools

// Package tools pins the upstream programs that are built from this module.
package tools

import (
	_ "fortio.org/fortio"
	_ "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin"
)
