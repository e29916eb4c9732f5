# Unpacks an archive into the folder of the first argument: it comes on standard input, as many bytes
# as the second argument says.
set -e
head -c "$2" | tar -xzf - -C "$1"
