#!/bin/sh
# clang for cilium-agent, which compiles the same datapath anew on every node of every lab: where
# options and preprocessed source are the same, the object comes from ccache.
#
# The agent asks for the object on standard output (its last words are `-o -`), which ccache does
# not cache; so it goes by a file. Line markers would put the agent's changing header folder into
# the comparison, so the preprocessor leaves them out (preprocess.sh). ccache's direct mode, which
# needs them, is off.
#
# Set by the lab: CLANG, CCACHE_DIR, CCACHE_PREFIX_CPP.
last=
for word; do last=$word; done
[ "$last" = - ] || exec "$CLANG" "$@"
object=$(mktemp) || exit 1
trap 'rm -f "$object"' EXIT
left=$#
for word; do
    shift
    left=$((left - 1))
    [ "$left" -eq 0 ] || set -- "$@" "$word"
done
export CCACHE_NODIRECT=1 CCACHE_NOHASHDIR=1
ccache "$CLANG" "$@" "$object" && cat "$object"
