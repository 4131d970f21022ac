#!/bin/sh
# What the official image has compiled in: a published port's clients do not come from the container's loopback.
set -eu
if [ "${1:-}" = redis-server ]; then
    set -- "$@" --bind 0.0.0.0 --protected-mode no --dir /data
fi
exec "$@"
