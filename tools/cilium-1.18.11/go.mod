module cni-benchmark/tools/cilium-1.18.11

go 1.25.0

require github.com/cilium/cilium v1.18.11

// As in cilium's own go.mod, but for its fork of k8s.io/apimachinery, which is not to be had: omitzero in
// the tags of types, which that adds, serves the operator's look for policies' unknown fields alone.
replace (
	github.com/osrg/gobgp/v3 => github.com/cilium/gobgp/v3 v3.0.0-20250717193620-26a4abb75464
	sigs.k8s.io/controller-tools => github.com/cilium/controller-tools v0.16.5-1
)
