# Puts a program at the first argument: packed, it comes on standard input, as many bytes as the second
# argument says. It is there whole or not at all.
set -e
head -c "$2" | gzip -dc >"$1.new"
chmod 755 "$1.new"
mv "$1.new" "$1"
