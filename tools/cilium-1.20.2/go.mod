module cni-benchmark/tools/cilium-1.20.2

go 1.26.0

require github.com/cilium/cilium v1.20.2

// Neither is to be had at the version that cilium's own go.mod asks for: the same day's release, and a
// module of the one constant that is used.
replace (
	github.com/osrg/gobgp/v4 => github.com/osrg/gobgp/v4 v4.7.0
	sigs.k8s.io/mcs-api/controllers => ./mcs-api-controllers
)
