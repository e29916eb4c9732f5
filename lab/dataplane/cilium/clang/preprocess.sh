#!/bin/sh
# ccache's call of the preprocessor (CCACHE_PREFIX_CPP), without line markers.
exec "$@" -P
