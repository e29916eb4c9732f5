module cni-benchmark/tools/turns

go 1.24
