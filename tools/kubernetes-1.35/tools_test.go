//go:build tools

package tools

// For tests only.
import _ "k8s.io/kubernetes/cmd/kube-scheduler"
