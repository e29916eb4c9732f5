module cni-benchmark/tools/cilium-1.19.0

go 1.25.0

require github.com/cilium/cilium v1.19.0

// As in cilium's own go.mod.
replace (
	github.com/osrg/gobgp/v3 => github.com/cilium/gobgp/v3 v3.0.0-20260130142103-27e5da2a39e6
	sigs.k8s.io/controller-tools => github.com/cilium/controller-tools v0.16.5-1
)
