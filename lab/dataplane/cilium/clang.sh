#!/bin/sh
# clang for cilium-agent, which compiles the same datapath anew on every node of every lab: where
# options and sources are the same, the object comes from ccache, without a look at the compiler.
#
# What would make them differ is taken out. The headers that the agent writes lie in a folder that is
# named anew each time, so they are copied to where the compiler finds them by the same relative
# path. The cookie of the node's network namespace is another number in every lab: the object is
# compiled with a mark in its place, and gets the cookie when it is handed out. The agent asks for
# the object on standard output (its last words are `-o -`), which ccache does not cache; so it goes
# by a file.
#
# Set by the lab: CLANG, CCACHE_DIR, and HEADERS, the folder that the agent's headers lie below.
export LC_ALL=C
mark=2127800773 # c5 a9 d3 7e: a positive 32-bit number, as cookies are, so the same instructions
last=
for word; do last=$word; done
[ "$last" = - ] || exec "$CLANG" "$@"
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cookie=
copied=0
left=$#
for word; do
    shift
    left=$((left - 1))
    case $word in
    "-I$HEADERS"*)
        copied=$((copied + 1))
        mkdir "$folder/$copied"
        for header in "${word#-I}"/*.h; do
            [ -f "$header" ] || continue
            read=$(sed -n 's/^#define HOST_NETNS_COOKIE //p' "$header")
            cookie=${read:-$cookie}
            sed -e "s|^#define HOST_NETNS_COOKIE .*|#define HOST_NETNS_COOKIE $mark|" \
                -e '/^\/\/ JSON_OUTPUT/d' "$header" >"$folder/$copied/${header##*/}" || exit 1
        done
        word=-I$copied
        ;;
    esac
    [ "$left" -eq 0 ] || set -- "$@" "$word"
done
cd "$folder" || exit 1
export CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=include_file_ctime,include_file_mtime
ccache "$CLANG" "$@" object || exit
for place in $(grep -obUaP '\xc5\xa9\xd3\x7e' object | cut -d: -f1); do
    for shift in 0 8 16 24; do
        # shellcheck disable=SC2059
        printf "\\$(printf %03o $((cookie >> shift & 255)))"
    done | dd of=object bs=1 seek="$place" conv=notrunc status=none || exit 1
done
cat object
